package cmd

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"
)

const generalHelp = `castar stores trees of files, deduplicated and compressed, names each with one digest, and gives them back byte for
byte. Digests are those of the castore model: two trees have one digest exactly if they are the same, wherever and
whenever they were stored.

A root is what ingest prints: 64 hexadecimal digits. Where a command takes a ROOT it also takes the first 8 or more of
them, the forms blake3-<base64> and b3:<base64>, or a tag; and, after a colon, the path of something inside it.`

const generalEnd = `
Environment:
  CASTAR_STORE    the store to use where -s does not say
  XDG_DATA_HOME   where the default store is: $XDG_DATA_HOME/castar, otherwise ~/.local/share/castar
  XDG_CACHE_HOME  where ingest remembers what it has read; safe to delete
  NO_COLOR        no control sequences but carriage return in the progress bar

With --json, an error or a warning is an object on stderr: level (error or warning), command, text, hint, and of an
error status, the exit status. A text that is not UTF-8 is also there in base64, as text_base64.

Signals: SIGINT, SIGTERM and SIGHUP end castar without debris, a second one at once; SIGUSR1 prints a line of progress.

Exit status:
  0    done
  1    failed
  2    the command line is wrong
  3    finished, but damage was found or input was left out
  10   there is no such store or root
  11   another process has the store for itself
  130  interrupted

'castar COMMAND --help' is the manual of a command.
`

func (e *env) helpCommand(app *cli.App) *cli.Command {
	return &cli.Command{
		Name:      "help",
		Usage:     "show this help, or that of a command",
		UsageText: "castar help [COMMAND]",
		Action: func(c *cli.Context) error {
			switch c.NArg() {
			case 0:
				printHelp(e.stdout, app)
				return nil
			case 1:
				name := c.Args().First()
				if cmd := app.Command(name); cmd != nil {
					printCommandHelp(e.stdout, cmd)
					return nil
				}
				return unknownCommand(app, name)
			}
			return usagef("help", "more than one command")
		},
	}
}

// printHelp writes the help of the whole program.
func printHelp(w io.Writer, app *cli.App) {
	fmt.Fprintf(w, "castar - %s\n\nUsage: castar COMMAND [flags] [arguments]\n\n%s\n\nCommands:\n", app.Usage, generalHelp)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range app.VisibleCommands() {
		aliases := ""
		if len(c.Aliases) > 0 {
			aliases = " (also " + strings.Join(c.Aliases, ", ") + ")"
		}
		fmt.Fprintf(tw, "  %s\t%s%s\n", c.Name, c.Usage, aliases)
	}
	tw.Flush()
	printFlags(w, app.VisibleFlagCategories())
	fmt.Fprint(w, generalEnd)
}

// printCommandHelp writes the help of one command.
func printCommandHelp(w io.Writer, c *cli.Command) {
	fmt.Fprintf(w, "castar %s - %s\n\nUsage: %s\n", c.Name, c.Usage, c.UsageText)
	if len(c.Aliases) > 0 {
		fmt.Fprintf(w, "Also: %s\n", strings.Join(c.Aliases, ", "))
	}
	if c.Description != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(c.Description))
	}
	printFlags(w, c.VisibleFlagCategories())
}

// printFlags writes a table for each category of flags.
func printFlags(w io.Writer, categories []cli.VisibleFlagCategory) {
	for _, category := range categories {
		name := category.Name()
		if name == "" {
			name = "Flags"
		}
		fmt.Fprintf(w, "\n%s:\n", name)
		var spelled, texts []string
		longest := 0
		for _, f := range category.Flags() {
			if d, ok := f.(cli.DocGenerationFlag); ok {
				s, text := describeFlag(d)
				spelled, texts, longest = append(spelled, s), append(texts, text), max(longest, len(s))
			}
		}
		for i, text := range texts {
			for j, line := range wrap(text, helpWidth-longest-4) {
				if j > 0 {
					spelled[i] = ""
				}
				fmt.Fprintf(w, "  %-*s  %s\n", longest, spelled[i], line)
			}
		}
	}
}

// helpWidth is how long the lines of the help may be.
const helpWidth = 120

// wrap breaks text between words into lines of up to width.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

// describeFlag returns a flag as it is typed, short form first, and what it does. The word in backquotes in its usage
// names its value.
func describeFlag(f cli.DocGenerationFlag) (spelled, text string) {
	text = f.GetUsage()
	if before, rest, ok := strings.Cut(text, "`"); ok {
		value, after, _ := strings.Cut(rest, "`")
		spelled, text = " "+value, before+value+after
	}
	long := f.Names()[0]
	spelled = "--" + long + spelled
	if names := f.Names(); len(names) > 1 {
		spelled = "-" + names[1] + ", " + spelled
	} else {
		spelled = "    " + spelled
	}
	if d := f.GetDefaultText(); d != "" && f.TakesValue() {
		text += " (default: " + strings.Trim(d, `"`) + ")"
	}
	return spelled, text
}

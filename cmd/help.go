package cmd

import (
	"cmp"
	"embed"
	"fmt"
	"io"
	"iter"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

const generalHelp = `
castar stores trees of files, deduplicated and compressed, names each with one digest, and restores them byte for byte.
Digests follow the castore model: two trees have the same digest if and only if they are equal, no matter where and when
they were stored.

A root is what ingest prints: 64 hexadecimal digits. A command that takes a ROOT also takes the first 8 or more of its
digits, the forms blake3-<base64> and b3:<base64>, a tag, or a name of an ingest such as @1, home~1 or home@2026-11-01:
see 'castar log --help'. A colon and a path after it name something inside the root.

A remote store is a server or a bucket. A SIZE or a number of BYTES may end in K, M, G or T, in units of 1024. A
DURATION is such as 90s, 10m or 1h30m; it cannot be in days.

Examples:
  castar ingest --tag home ~            # store the home directory
  castar export home ~/restored         # write it to another place
  castar diff home~1 home               # what changed since the last time
  castar verify                         # check the whole store`

const generalEnd = `
Environment:
  CASTAR_STORE    the store to use if -s is not given
  XDG_DATA_HOME   the default store is $XDG_DATA_HOME/castar, or ~/.local/share/castar if the variable is not set
  XDG_CACHE_HOME  ingest remembers in $XDG_CACHE_HOME/castar what it has read; the directory is safe to delete
  NO_COLOR        if set, castar prints no colors, and no control sequences except the carriage return of the progress bar
  TERM            if it is "dumb", castar prints a line a minute instead of a progress bar

With --json, each line is an object whose type says what it is. Errors and warnings are objects on stderr: type (error
or warning; level is its old name), command, text, hint, and, for an error, status (the exit status). If text is not
UTF-8, text_base64 holds its bytes in base64.

With --progress=json, there is an object on stderr when work begins and once a second: type (progress), command,
entries, unit (what entries counts: files or objects), bytes, total (0 if not known yet), seconds.

With --json, a command that used a remote store ends with an object on stderr: type (traffic), command, requests,
bytes_sent, bytes_received. With --verbose, a line says the same.

SIGINT, SIGTERM and SIGHUP make castar clean up and exit. A second one kills it at once. SIGUSR1 prints a line of
progress.

Exit status:
  0    done
  1    failed
  2    the command line is wrong
  3    finished, but damage was found or input was left out
  10   no such store or root
  11   another process has locked the store
  130  interrupted

'castar COMMAND --help' is the manual of a command. 'castar help recipes', 'castar help server', 'castar help
coming-from' and 'castar help changes' say more.
`

const helpHelp = `
Shows this help, the manual of a command, or a text about a TOPIC:
  recipes      cron lines, and how to do common things
  server       how to run a server for other machines
  coming-from  the castar commands for users of restic, borg or git
  changes      the changelog
With --man, help writes a man page instead.

Examples:
  castar help ingest
  castar help recipes
  castar help server
  castar help --man ingest >castar-ingest.1         # for man 1 castar-ingest`

func (e *env) helpCommand(app *cli.App) *cli.Command {
	var man bool
	return &cli.Command{
		Name:        "help",
		Usage:       "show this help, the manual of a command, or a text about a topic",
		UsageText:   "castar help [flags] [COMMAND | TOPIC]",
		Description: helpHelp,
		Flags:       []cli.Flag{boolFlag("man", "", &man, "write a man page")},
		Action: func(c *cli.Context) error {
			if c.NArg() > 1 {
				return usagef("want one COMMAND, got %s", plural(uint64(c.NArg()), "argument"))
			}
			return e.help(app, c.Args().First(), man)
		},
	}
}

// topicFiles has a file for each topic.
//
//go:embed topics
var topicFiles embed.FS

// topics returns the texts of 'castar help TOPIC', by name.
func topics() map[string]string {
	texts := map[string]string{}
	files, _ := topicFiles.ReadDir("topics") // embedded files can always be read
	for _, f := range files {
		text, _ := topicFiles.ReadFile("topics/" + f.Name())
		texts[strings.TrimSuffix(f.Name(), ".txt")] = string(text)
	}
	return texts
}

// help shows the help of the command or topic of that name, or of the whole program if it is "".
func (e *env) help(app *cli.App, name string, man bool) error {
	command, topic := app.Command(name), topics()[name]
	switch {
	case name != "" && command == nil && topic == "":
		return unknownTopic(app, name)
	case topic != "" && man:
		return usagef("--man is for commands, and not for the topic %s", name)
	case topic != "":
		fmt.Fprint(e.stdout, reflow(topic, e.helpWidth()))
	case man:
		printMan(e.stdout, app, command)
	case command != nil:
		printCommandHelp(e.stdout, command, e.helpWidth())
	default:
		printHelp(e.stdout, app, e.helpWidth())
	}
	return nil
}

// printHelp writes the help of the whole program, in lines of up to width columns.
func printHelp(w io.Writer, app *cli.App, width int) {
	io.WriteString(w, reflow("castar - "+app.Usage+"\n\nUsage: castar COMMAND [flags] [arguments]\n"+generalHelp+"\n\n", width))
	printCommands(w, app, width)
	printFlags(w, app.VisibleFlagCategories(), width)
	fmt.Fprint(w, "\n", reflow(generalEnd, width))
}

func printCommands(w io.Writer, app *cli.App, width int) {
	fmt.Fprintln(w, "\nCommands:")
	printTable(w, func(yield func(name, text string) bool) {
		for _, c := range app.VisibleCommands() {
			text := c.Usage
			if len(c.Aliases) > 0 {
				text += " (also " + strings.Join(c.Aliases, ", ") + ")"
			}
			if !yield(c.Name, text) {
				return
			}
		}
	}, width)
}

// printCommandHelp writes the help of one command, in lines of up to width columns.
func printCommandHelp(w io.Writer, c *cli.Command, width int) {
	fmt.Fprint(w, reflow("castar "+c.Name+" - "+c.Usage, width))
	fmt.Fprint(w, "\n", reflow("Usage: "+c.UsageText, width))
	if len(c.Aliases) > 0 {
		fmt.Fprintf(w, "Also: %s\n", strings.Join(c.Aliases, ", "))
	}
	if c.Description != "" {
		fmt.Fprint(w, "\n", reflow(c.Description, width))
	}
	printFlags(w, c.VisibleFlagCategories(), width)
}

func printFlags(w io.Writer, categories []cli.VisibleFlagCategory, width int) {
	for _, category := range categories {
		fmt.Fprintf(w, "\n%s:\n", cmp.Or(category.Name(), "Flags"))
		printTable(w, describeFlags(category), width)
	}
}

// describeFlags yields what describeFlag returns for the flags of a category.
func describeFlags(category cli.VisibleFlagCategory) iter.Seq2[string, string] {
	return func(yield func(spelled, text string) bool) {
		for _, f := range category.Flags() {
			if d, ok := f.(cli.DocGenerationFlag); ok && !yield(describeFlag(d)) {
				return
			}
		}
	}
}

// printTable writes rows of a term and its meaning, in lines of up to width columns.
func printTable(w io.Writer, rows iter.Seq2[string, string], width int) {
	longest := 0
	for term := range rows {
		longest = max(longest, len(term))
	}
	var b strings.Builder
	for term, text := range rows {
		writeRow(&b, fmt.Sprintf("  %-*s  ", longest, term), text, width)
	}
	io.WriteString(w, b.String())
}

// describeFlag returns how a flag is typed, short form first, and what it does. The word in backquotes in its usage names
// its value.
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

const (
	// helpColumns is the longest line of a help text.
	helpColumns = 80
	// leastColumns is the narrowest terminal that help texts are wrapped for.
	leastColumns = 40
)

// helpWidth returns how long the lines of the help may be: 80 columns, or as many as the terminal has if those are fewer.
func (e *env) helpWidth() int {
	if columns := columnsOf(e.stdout); columns > 0 {
		return min(helpColumns, max(columns, leastColumns))
	}
	return helpColumns
}

// reflow wraps a help text at width columns. Lines that begin at the margin are a paragraph. An indented line is a row
// of a table if it has two columns, two spaces or more apart, and its second column is wrapped. Lines indented by more
// than four spaces continue the row above. Any other indented line is an example and stays as it is, and so does one
// with a comment in its second column.
func reflow(text string, width int) string {
	var b strings.Builder
	block, at := "", 0 // a paragraph or a row that is being read, and where the second column of the row begins
	flush := func() {
		if block != "" {
			writeRow(&b, block[:at], block[at:], width)
		}
		block, at = "", 0
	}
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		words := strings.TrimLeft(line, " ")
		indent := len(line) - len(words)
		switch second := secondColumn(line); {
		case at > 0 && indent > 4:
			block += " " + words
		case second > 0:
			flush()
			block, at = line, second
		case indent > 0 || line == "":
			flush()
			b.WriteString(line + "\n")
		default:
			if at > 0 {
				flush()
			}
			block = strings.TrimPrefix(block+" "+line, " ")
		}
	}
	flush()
	return b.String()
}

// writeRow writes a row of a table: term, which is as long as its column, and text wrapped beside it. If term takes more
// than half of the width, text stands below.
func writeRow(b *strings.Builder, term, text string, width int) {
	indent := strings.Repeat(" ", len(term))
	if term != "" && len(term) > width/2 {
		b.WriteString(strings.TrimRight(term, " ") + "\n")
		indent = "        "
		term = indent
	}
	for _, line := range wrap(text, width-len(indent)) {
		b.WriteString(term + line + "\n")
		term = indent
	}
}

// secondColumn returns where the second column of a line begins, or 0 if it is not indented, or has no second column but a
// comment.
func secondColumn(line string) int {
	text := strings.TrimLeft(line, " ")
	end := strings.Index(text, "  ")
	if end < 0 || text == line {
		return 0
	}
	second := strings.TrimLeft(text[end:], " ")
	if strings.HasPrefix(second, "#") {
		return 0
	}
	return len(line) - len(second)
}

// wrap breaks text between words into lines of up to width columns.
func wrap(text string, width int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}

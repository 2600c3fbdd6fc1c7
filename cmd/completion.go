package cmd

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"
)

// All scripts ask castar itself what may follow the words typed so far, so they are never out of date.
var (
	//go:embed completion/castar.bash
	bashCompletion string
	//go:embed completion/castar.zsh
	zshCompletion string
	//go:embed completion/castar.fish
	fishCompletion string
)

func (e *env) completionCommand(_ *cli.App) *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a shell script that completes commands, flags, tags and paths",
		UsageText: "castar completion [flags] bash|zsh|fish",
		Description: `
Prints a script for a shell. For bash, the first example sets up completion in the current shell. Put it in ~/.bashrc
for every new shell. The other examples install the script for every new shell.

Examples:
  source <(castar completion bash)
  castar completion zsh > "${fpath[1]}/_castar"
  castar completion fish > ~/.config/fish/completions/castar.fish`,
		Action: func(c *cli.Context) error {
			scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
			script, ok := scripts[c.Args().First()]
			if !ok || c.NArg() != 1 {
				return usagef("want one of bash, zsh and fish")
			}
			_, err := e.stdout.Write([]byte(script))
			return err
		},
	}
}

// completeCommand is what the scripts call: castar __complete WORD..., with the words typed so far; the last is being
// typed. It prints what the last word could become, one candidate a line, and nothing if file names are wanted. The shell
// quotes what it inserts. Candidates with a newline or a tab are left out, because the shell would misread them. The last
// word of __complete_typed and __complete_described is as it was typed, with quotes that may be open. The latter also
// prints after each candidate a tab and what it is. Scripts of older versions call the others.
func (e *env) completeCommand(app *cli.App, name string) *cli.Command {
	return &cli.Command{
		Name:            name,
		Hidden:          true,
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			words := c.Args().Slice()
			if len(words) == 0 {
				return nil
			}
			last := words[len(words)-1]
			if name != "__complete" {
				last = parseWord(last).value
			}
			for _, s := range e.candidates(c.Context, app, words[:len(words)-1], last) {
				switch {
				case strings.ContainsAny(s.word, "\n\t"):
				case name == "__complete_described" && s.about != "":
					fmt.Fprintf(e.stdout, "%s\t%s\n", s.word, s.about)
				default:
					fmt.Fprintln(e.stdout, s.word)
				}
			}
			return nil
		},
	}
}

// completeBashCommand is __complete for bash, which neither removes quotes nor adds them: castar __complete_bash LINE
// WORD... with COMP_LINE and COMP_WORDS up to the cursor. Each reply ends in a NUL and is already quoted.
func (e *env) completeBashCommand(app *cli.App) *cli.Command {
	return &cli.Command{
		Name:            "__complete_bash",
		Hidden:          true,
		SkipFlagParsing: true,
		Action: func(c *cli.Context) error {
			if c.NArg() < 3 {
				return nil
			}
			l := readBashLine(c.Args().First(), c.Args().Slice()[1:])
			if len(l.before) == 0 || l.last.code {
				return nil
			}
			for _, s := range e.candidates(c.Context, app, l.before[1:], l.last.value) {
				fmt.Fprint(e.stdout, l.reply(s.word), "\x00")
			}
			return nil
		},
	}
}

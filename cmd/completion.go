package cmd

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"castar/ingest/compare"
	"castar/store"
	"castar/store/tree"
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
		UsageText: "castar completion bash|zsh|fish",
		Description: `
Prints a script for a shell. For bash, the first example works in the current shell; in ~/.bashrc it works in every
new one. The other examples install the script for every new shell.

Examples:
  source <(castar completion bash)
  castar completion zsh > "${fpath[1]}/_castar"
  castar completion fish > ~/.config/fish/completions/castar.fish`,
		Action: func(c *cli.Context) error {
			scripts := map[string]string{"bash": bashCompletion, "zsh": zshCompletion, "fish": fishCompletion}
			script, ok := scripts[c.Args().First()]
			if !ok || c.NArg() != 1 {
				return usagef("completion", "want one of bash, zsh and fish")
			}
			_, err := e.stdout.Write([]byte(script))
			return err
		},
	}
}

// completeCommand is what the scripts call: castar __complete WORD..., with the words typed so far; the last is being
// typed. It prints what the last word could become, one candidate a line, and nothing if file names are wanted. The shell
// quotes what it inserts. Candidates with a newline or a tab are left out, because the shell would misread them. The last
// word of __complete_typed is as it was typed, with quotes that may be open.
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
			if name == "__complete_typed" {
				last = parseWord(last).value
			}
			for _, s := range e.candidates(c, app, words[:len(words)-1], last) {
				if !strings.ContainsAny(s, "\n\t") {
					fmt.Fprintln(e.stdout, s)
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
			for _, s := range e.candidates(c, app, l.before[1:], l.last.value) {
				fmt.Fprint(e.stdout, l.reply(s), "\x00")
			}
			return nil
		},
	}
}

// candidates returns what the last word could become after the words before.
func (e *env) candidates(c *cli.Context, app *cli.App, before []string, last string) []string {
	all := e.complete(c, app, before, last)
	return slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, last) })
}

// complete returns what may follow the words before. The caller drops what does not begin with last.
func (e *env) complete(c *cli.Context, app *cli.App, before []string, last string) []string {
	line, err := parseLine(app, before)
	if err != nil { // most likely a flag without its value
		return completeValue(app, line, before)
	}
	if isFlag(last) || last == "-" {
		return flagWords(line.known(app))
	}
	switch {
	case line.command == nil:
		var names []string
		for _, c := range app.VisibleCommands() {
			names = append(names, c.Name)
		}
		return names
	case line.command.Name == "completion":
		return []string{"bash", "fish", "zsh"}
	case line.command.Name == "help":
		return e.complete(c, app, nil, last)
	case wantsRoot(line):
		for _, f := range line.flags {
			if store, ok := strings.CutPrefix(f, "--store="); ok {
				e.store = store
			}
		}
		if root, _, ok := strings.Cut(strings.TrimPrefix(last, "b3:"), ":"); ok && root != "" && !compare.IsPath(last) {
			return e.pathNames(c.Context, last)
		}
		if strings.ContainsAny(last, "@~") {
			return e.ingestNames(c.Context)
		}
		return e.tagNames(c.Context)
	}
	return nil
}

// ingestNames returns the names of all recorded ingests: @1 and so on, and of those with a tag also TAG~0 and so on, and the
// days that they have.
func (e *env) ingestNames(ctx context.Context) (names []string) {
	_ = e.withTags(ctx, forRead, func(st *store.Store) error {
		ingests, _ := tree.History(ctx, st)
		of := make(map[string]int)
		for i := len(ingests) - 1; i >= 0; i-- {
			t := ingests[i]
			names = append(names, fmt.Sprint("@", len(ingests)-i))
			if t.Name == "" {
				continue
			}
			names = append(names, fmt.Sprintf("%s~%d", t.Name, of[t.Name]), t.Name+"@"+t.Time.Local().Format(time.DateOnly))
			of[t.Name]++
		}
		return nil
	})
	slices.Sort(names)
	return slices.Compact(names)
}

// pathNames returns the paths in a root that ref could become. Those of directories end in a slash.
func (e *env) pathNames(ctx context.Context, ref string) (names []string) {
	dir := ref[:strings.LastIndexAny(ref, "/:")+1]
	_ = e.withRef(ctx, strings.TrimSuffix(dir, "/"), func(st *store.Store, r tree.Ref) error {
		if r.Node.Kind != store.KindDirectory {
			return nil
		}
		entries, err := st.Directories.Get(ctx, r.Node.Digest)
		for _, n := range entries {
			name := dir + n.Name
			if n.Kind == store.KindDirectory {
				name += "/"
			}
			names = append(names, name)
		}
		return err
	})
	return names
}

// completeValue returns the values that the flag at the end of before may have.
func completeValue(app *cli.App, line *commandLine, before []string) []string {
	if len(before) > 0 {
		if f, ok := line.find(app, strings.TrimPrefix(before[len(before)-1], "--")).(*parsedFlag); ok {
			return f.values
		}
	}
	return nil
}

// wantsRoot reports whether the next argument of the command is a root or a tag.
func wantsRoot(l *commandLine) bool {
	switch l.command.Name {
	case "export", "ls", "find", "stat", "mount":
		return len(l.args) == 0
	case "cat", "stats", "copy", "verify", "forget":
		return true
	case "diff":
		return len(l.args) < 2
	case "tag":
		return len(l.args) < 2 || slices.Contains(l.flags, "--delete=true")
	}
	return false
}

// flagWords returns the long forms of flags.
func flagWords(flags []cli.Flag) []string {
	words := []string{"--help"}
	for _, f := range flags {
		words = append(words, "--"+f.Names()[0])
	}
	return words
}

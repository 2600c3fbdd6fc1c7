package cmd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"castar/ingest/sides"
	"castar/store"
	"castar/store/tree"
)

// candidate is what the last word of a command line could become.
type candidate struct {
	word  string
	about string // what it is, for people, or ""
}

// candidates returns what the last word could become after the words before.
func (e *env) candidates(ctx context.Context, app *cli.App, before []string, last string) []candidate {
	all := e.complete(ctx, app, before, last)
	return slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.word, last) })
}

// complete returns what may follow the words before. The caller drops what does not begin with last.
func (e *env) complete(ctx context.Context, app *cli.App, before []string, last string) []candidate {
	line, err := parseLine(app, before)
	e.storeOf(line)
	name, _, hasValue := strings.Cut(last, "=")
	switch {
	case err != nil: // most likely a flag without its value
		return e.flagValues(ctx, line.find(strings.TrimLeft(before[len(before)-1], "-")), last)
	case line.dash < 0 && hasValue && strings.HasPrefix(name, "--"):
		all := e.flagValues(ctx, line.find(name[2:]), last[len(name)+1:])
		for i := range all {
			all[i].word = name + "=" + all[i].word
		}
		return all
	case line.dash < 0 && strings.HasPrefix(last, "-"):
		return flagWords(line.command.Flags)
	case line.command.Name == "":
		return commandWords(app, last)
	case wantsRoot(line):
		return e.rootNames(ctx, last)
	case len(line.args) > 0:
		return nil
	}
	switch line.command.Name {
	case "completion":
		return wordsOnly("bash", "fish", "zsh")
	case "config":
		return []candidate{{"check", "check a composition file, and show what it would build"}}
	case "help":
		return append(commandWords(app, last), wordsOnly(slices.Sorted(maps.Keys(topics()))...)...)
	}
	return nil
}

// storeOf sets the store that the flags of a line name, which roots and tags are of.
func (e *env) storeOf(line *commandLine) {
	of := "--store="
	if line.command.Name == "copy" && slices.ContainsFunc(line.flags, func(f string) bool { return strings.HasPrefix(f, "--from=") }) {
		of = "--from="
	}
	for _, f := range line.flags {
		if spec, ok := strings.CutPrefix(f, of); ok {
			e.store = spec
		}
	}
	if rest, ok := strings.CutPrefix(e.store, "~/"); ok { // the shell has not replaced it yet
		if home, err := os.UserHomeDir(); err == nil {
			e.store = filepath.Join(home, rest)
		}
	}
}

// wordsOnly returns candidates that need no explanation.
func wordsOnly(words ...string) (all []candidate) {
	for _, w := range words {
		all = append(all, candidate{word: w})
	}
	return all
}

// commandWords returns the commands, and their other names if a part of one was typed.
func commandWords(app *cli.App, last string) (all []candidate) {
	for _, c := range app.VisibleCommands() {
		all = append(all, candidate{c.Name, c.Usage})
		for _, alias := range c.Aliases {
			if last != "" {
				all = append(all, candidate{alias, c.Usage})
			}
		}
	}
	return all
}

// flagWords returns the long forms of flags.
func flagWords(flags []cli.Flag) []candidate {
	words := []candidate{{"--help", "show the manual of the command"}}
	for _, f := range flags {
		c := candidate{word: "--" + f.Names()[0]}
		if d, ok := f.(cli.DocGenerationFlag); ok {
			_, c.about = describeFlag(d)
		}
		words = append(words, c)
	}
	return words
}

// flagValues returns the values that a flag may have. flag may be nil.
func (e *env) flagValues(ctx context.Context, flag cli.Flag, last string) []candidate {
	if f, ok := flag.(*parsedFlag); ok && f.values != nil {
		return wordsOnly(f.values...)
	}
	switch {
	case flag == nil:
		return nil
	case flag.Names()[0] == "tag":
		return e.tagNames(ctx)
	case valueName(flag) == "ROOT":
		return e.rootNames(ctx, last)
	}
	return nil
}

// wantsRoot reports whether the next argument of the command is a root or a tag. Its usage tells: ROOT is the first
// argument, and with dots after it each argument.
func wantsRoot(l *commandLine) bool {
	usage, _, _ := strings.Cut(l.command.UsageText, "\n")
	_, after, found := strings.Cut(usage, "ROOT")
	word, _, _ := strings.Cut(after, " ")
	switch {
	case l.command.Name == "diff": // A and B are roots, too
		return len(l.args) < 2
	case l.command.Name == "tag": // NAME is an old or a new one
		return len(l.args) < 2 || slices.Contains(l.flags, "--delete=true")
	case slices.Contains(l.flags, "--all=true"): // of find, which then looks at all roots; gc takes no argument
		return false
	}
	return found && (len(l.args) == 0 || strings.Contains(word, "..."))
}

// rootNames returns what a ROOT that begins like last could be.
func (e *env) rootNames(ctx context.Context, last string) (all []candidate) {
	if root, _, ok := strings.Cut(strings.TrimPrefix(last, "b3:"), ":"); ok && root != "" && !sides.IsPath(last) {
		return e.pathNames(ctx, last)
	}
	if strings.ContainsAny(last, "@~") {
		return e.ingestNames(ctx)
	}
	all = e.tagNames(ctx)
	if last != "" && strings.Trim(last, "0123456789abcdef") == "" {
		all = append(all, e.digests(ctx)...)
	}
	return all
}

// tagNames returns the names of all tags, or none if there is no store.
func (e *env) tagNames(ctx context.Context) (names []candidate) {
	_ = e.withTags(ctx, forRead, func(st *store.Store) error {
		tags, _ := readTags(ctx, st)
		for _, t := range tags {
			names = append(names, candidate{t.Name, aboutIngest(t)})
		}
		return nil
	})
	return names
}

// ingestNames returns the names of all recorded ingests: @1 and so on, and of those with a tag also TAG~0 and so on, and the
// days that they have.
func (e *env) ingestNames(ctx context.Context) (names []candidate) {
	_ = e.withTags(ctx, forRead, func(st *store.Store) error {
		ingests, _ := tree.History(ctx, st)
		of := make(map[string]int)
		for i, t := range slices.Backward(ingests) {
			about := aboutIngest(t)
			names = append(names, candidate{fmt.Sprint("@", len(ingests)-i), about})
			if t.Name == "" {
				continue
			}
			names = append(names, candidate{fmt.Sprintf("%s~%d", t.Name, of[t.Name]), about},
				candidate{t.Name + "@" + t.Time.Local().Format(time.DateOnly), about})
			of[t.Name]++
		}
		return nil
	})
	return unique(names)
}

// digests returns the digests of all roots that tags and log name.
func (e *env) digests(ctx context.Context) (names []candidate) {
	_ = e.withTags(ctx, forRead, func(st *store.Store) error {
		kept := tree.ReadKept(ctx, st)
		slices.Reverse(kept.Ingests)
		for _, t := range append(kept.Ingests, kept.Tags...) {
			if d, err := t.Root.RootDigest(); err == nil {
				names = append(names, candidate{d.String(), strings.TrimSpace(t.Name + " " + aboutIngest(t))})
			}
		}
		return nil
	})
	return unique(names)
}

// unique sorts candidates by their words. Of equal words, the first stays.
func unique(all []candidate) []candidate {
	slices.SortStableFunc(all, func(a, b candidate) int { return cmp.Compare(a.word, b.word) })
	return slices.CompactFunc(all, func(a, b candidate) bool { return a.word == b.word })
}

// aboutIngest says when and where a root was ingested.
func aboutIngest(t store.Tag) string {
	about := t.Time.Local().Format(time.DateTime)
	if t.Source != "" {
		about += " " + quote(t.Source)
	}
	return about
}

// pathNames returns the paths in a root that ref could become. Those of directories end in a slash.
func (e *env) pathNames(ctx context.Context, ref string) (names []candidate) {
	dir := ref[:strings.LastIndexAny(ref, "/:")+1]
	_ = e.withRef(ctx, strings.TrimSuffix(dir, "/"), func(st *store.Store, r tree.Ref) error {
		if r.Node.Kind != store.KindDirectory {
			return nil
		}
		entries, err := st.Directories.Get(ctx, r.Node.Digest)
		for _, n := range entries {
			switch n.Kind {
			case store.KindDirectory:
				names = append(names, candidate{dir + n.Name + "/", "directory"})
			case store.KindSymlink:
				names = append(names, candidate{dir + n.Name, "-> " + quote(n.Target)})
			default:
				names = append(names, candidate{dir + n.Name, store.HumanBytes(n.Size)})
			}
		}
		return err
	})
	return names
}

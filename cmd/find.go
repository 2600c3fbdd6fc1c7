package cmd

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/tree"
)

const findHelp = `
Lists what matches a PATTERN in the directory ROOT, or in the directory at path inside it. Without a PATTERN it lists
everything. Paths are relative to that directory, and sorted; those of directories end in a slash.

Patterns are those of .gitignore files. ? stands for any byte except a slash, * for any run of such bytes, [a-z] for one
of a set, and ** between slashes for any directories. A pattern with a slash before its end must match the whole path;
any other must match the last name. A pattern that ends in a slash finds only directories. A pattern that begins with !
removes what the patterns before it have found. A matching directory does not make its contents match.

If nothing in a directory matches, find reads the directory once, however often it is in the tree. If a pattern has a
slash before its end, find may read it once for each part of the pattern. A tree with more than 8192 directories inside
each other is an error.

If a directory cannot be read, find names it on stderr and exits with status 3.

--all looks through everything that was ingested: all lines of 'castar log' and all tags. Instead of a ROOT it takes
only PATTERNs. It prints a line for each version of each path: its kind, as 'castar ls -l' shows it; its size; the first
digits of its digest; the path; and the lines and tags that contain it, each written so that you can use it as a ROOT.
find reads a directory that did not change from line to line only once.

Examples:
  castar find src '*.go'
  castar find src 'cmd/**/testdata/*' '!*.txt'
  castar find --type x src                          # executable files
  castar find --all notes.txt                       # its versions`

func (e *env) findCommand() *cli.Command {
	var types string
	var null, all bool
	return &cli.Command{
		Name:        "find",
		Usage:       "find names in a stored tree",
		UsageText:   "castar find [flags] ROOT[:path]|--all [PATTERN...]",
		Description: withJSON(findHelp, "there is an object for each entry", jsonEntry{}, "With --all it is", jsonVersion{}),
		Flags: []cli.Flag{
			typeFlag(&types),
			nullFlag(&null),
			boolFlag("all", "a", &all, "look through all lines of the log and all tags"),
		},
		Action: func(c *cli.Context) error {
			switch {
			case all && null:
				return usagef("--all and --null exclude each other")
			case all:
				return e.withTags(c.Context, forRead, func(st *store.Store) error {
					return e.findAll(c.Context, st, newMatcher(c.Args().Slice(), types))
				})
			case c.NArg() == 0:
				return usagef("no ROOT given")
			case null && e.json:
				return usagef("--null and --json exclude each other")
			}
			return e.withRef(c.Context, c.Args().First(), func(st *store.Store, r tree.Ref) error {
				return e.find(c.Context, st, r.Node, newMatcher(c.Args().Tail(), types), null)
			})
		},
	}
}

func typeFlag(to *string) cli.Flag {
	usage := "find only `LETTERS`: d directories, f files, x executable files, l symbolic links"
	return newFlag("type", "t", to, "all of these", usage, "letters among d, f, x and l", func(value string) (string, error) {
		if value == "" || strings.Trim(value, "dfxl") != "" {
			return "", errUnwanted
		}
		return value, nil
	})
}

// matcher is what to look for.
type matcher struct {
	patterns ignore.Stack
	byName   bool // only the last name of a path matters
	all      bool // there are no patterns
	types    string
}

// newMatcher returns a matcher of patterns and types. No patterns match everything, and no types are all.
func newMatcher(patterns []string, types string) matcher {
	list := ignore.New(patterns...)
	return matcher{ignore.Root(list), list.ByName(), len(patterns) == 0, types}
}

func (m *matcher) match(path string, n *store.Node) bool {
	return isType(*n, m.types) && (m.all || m.patterns.Match(path, n.Kind == store.KindDirectory))
}

// search returns what package tree searches with.
func (m *matcher) search() tree.Matcher {
	return tree.Matcher{State: m.patterns.State, Match: func(path func() string, n *store.Node) bool {
		if m.byName {
			return m.match(n.Name, n)
		}
		return m.match(path(), n)
	}}
}

// find lists what in the tree root matches.
func (e *env) find(ctx context.Context, st *store.Store, root store.Node, m matcher, null bool) error {
	st.Expect(ctx, root)
	entries := tree.Walk(ctx, st.Directories, root, -1)
	if root.Kind == store.KindDirectory {
		entries = tree.Search(ctx, st.Directories, root, m.search())
	}
	out := e.newLinePrinter(null)
	err := e.walk(ctx, entries, func(entry tree.Entry) {
		isDir := entry.Node.Kind == store.KindDirectory
		if entry.Depth == 0 {
			if isDir {
				return
			}
			entry.Path = root.Name
		}
		if !m.match(entry.Path, &entry.Node) {
			return
		}
		if e.json {
			out.json(jsonEntry{jsonPath: newJSONPath(entry.Path), JSONNode: tree.NewJSONNode(entry.Node)})
			return
		}
		out.line(out.name(entry.Path, isDir))
	})
	out.Flush()
	return err
}

// isType reports whether n is of one of the types, letters of --type. No types are all.
func isType(n store.Node, types string) bool {
	letters := "f"
	switch {
	case n.Kind == store.KindDirectory:
		letters = "d"
	case n.Kind == store.KindSymlink:
		letters = "l"
	case n.Executable:
		letters = "fx"
	}
	return types == "" || strings.ContainsAny(types, letters)
}

// jsonVersion is a line of castar find --all --json.
type jsonVersion struct {
	jsonPath
	tree.JSONNode
	Lines []int    `json:"lines" help:"the numbers of the lines of 'castar log' in which it is"` // never null
	Tags  []string `json:"tags"`                                                                 // likewise
}

func (jsonVersion) lineType() string { return "version" }

// findAll lists what matches in all that the log and the tags name: each version of it, and where it is.
func (e *env) findAll(ctx context.Context, st *store.Store, m matcher) error {
	kept := tree.ReadKept(ctx, st)
	unread := slices.Concat(kept.TagErrors, kept.LogErrors)
	if err := e.warnUnread(unread); err != nil {
		return err
	}
	slices.Reverse(kept.Ingests) // line 1 is the newest
	var roots []store.Node
	for _, t := range slices.Concat(kept.Ingests, kept.Tags) {
		if t.Root.Kind != store.KindDirectory && t.Source != "" {
			t.Root.Name = filepath.Base(t.Source)
		}
		roots = append(roots, t.Root)
	}
	if len(roots) > 0 {
		st.Expect(ctx, roots[0]) // most of the others is in it
	}
	out := e.newLinePrinter(false)
	var at []int // which roots have the entry
	where := func() (lines []int, tags []string) {
		split, _ := slices.BinarySearch(at, len(kept.Ingests))
		lines, tags = []int{}, []string{}
		for _, i := range at[:split] {
			lines = append(lines, i+1)
		}
		for _, i := range at[split:] {
			tags = append(tags, kept.Tags[i-len(kept.Ingests)].Name)
		}
		return lines, tags
	}
	err := e.walk(ctx, func(yield func(tree.Entry, error) bool) {
		for v, err := range tree.Versions(ctx, st.Directories, roots, m.search()) {
			if at = v.In; err != nil && !store.IsServerError(err) {
				err = fmt.Errorf("%s: %w", foundIn(where()), err)
			}
			if !yield(tree.Entry{Path: v.Path, Node: v.Node, Depth: 1}, err) {
				return
			}
		}
	}, func(v tree.Entry) {
		lines, tags := where()
		if e.json {
			out.json(jsonVersion{newJSONPath(v.Path), tree.NewJSONNode(v.Node), lines, tags})
			return
		}
		text := (&lsFlags{long: true}).longFields(nil, v.Path, v.Node) + out.name(v.Path, v.Node.Kind == store.KindDirectory)
		if v.Node.Kind == store.KindSymlink {
			text += " -> " + quote(v.Node.Target)
		}
		out.line(text + "  " + foundIn(lines, tags))
	})
	out.Flush()
	return partly(err, len(unread) > 0)
}

// maxSpans is how many runs of lines are printed.
const maxSpans = 12

// foundIn says for people where something is: in lines, such as @1-@3, and behind tags.
func foundIn(lines []int, tags []string) string {
	var names []string
	for len(lines) > 0 && len(names) < maxSpans {
		n := 1
		for n < len(lines) && lines[n] == lines[0]+n {
			n++
		}
		name := fmt.Sprint("@", lines[0])
		if n > 1 {
			name += fmt.Sprint("-@", lines[n-1])
		}
		names, lines = append(names, name), lines[n:]
	}
	if len(lines) > 0 {
		names = append(names, fmt.Sprintf("and %d more", len(lines)))
	}
	return quoteAll(append(names, tags...), " ")
}

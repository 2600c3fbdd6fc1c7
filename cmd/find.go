package cmd

import (
	"context"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/tree"
)

const findHelp = `
Lists what matches a PATTERN in the directory ROOT, or in the directory at path inside it. Without a PATTERN it lists
everything. It prints paths from that directory on, sorted; those of directories end in a slash.

Patterns are those of .gitignore files. ? stands for any byte except a slash, * for any run of such bytes, [a-z] for
one of a set, and ** between slashes for any directories. A pattern with a slash before its end is matched with the
whole path, any other with the last name. A pattern that ends in a slash finds only directories. One that begins with
! takes back what the patterns before it have found. A matching directory does not make its contents match.

If a directory occurs many times and nothing below it matches, it is read once. If a pattern is matched with whole paths,
it is read once for each part of the pattern that its paths have reached. A tree with more than 8192 directories inside
each other is an error.

If a directory cannot be read, find names it on stderr and exits with status 3.

--all looks through everything that was ingested: all lines of 'castar log' and all tags. Instead of a ROOT it takes
only PATTERNs. It prints a line for each different thing that was at a path: a letter as 'castar ls -l' does, the
beginning of the digest, the path, and the lines and tags in which it is, as names of a ROOT. A directory that did not
change from line to line is read once.

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
				return usagef("find", "--all and --null exclude each other")
			case all:
				return e.withTags(c.Context, forRead, func(st *store.Store) error {
					return e.findAll(c.Context, st, newMatcher(c.Args().Slice(), types))
				})
			case c.NArg() == 0:
				return usagef("find", "no ROOT given")
			case null && e.json:
				return usagef("find", "--null and --json exclude each other")
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
	err := e.walk(ctx, "find", entries, func(entry tree.Entry) {
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
			out.json(jsonEntry{jsonPath: newJSONPath(entry.Path), jsonNode: newJSONNode(entry.Node)})
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

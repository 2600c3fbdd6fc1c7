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
Lists what matches a PATTERN in the directory ROOT, or in the one at path inside it: the paths from there, sorted, those
of directories with a slash at their end. Without a PATTERN it lists everything.

Patterns are those of .gitignore files: ? stands for a byte but a slash, * for any run of them, [a-z] for one of a set,
and ** between slashes for any directories. A pattern with a slash before its end is matched with the whole path, one
without with the last name. One that ends in a slash finds directories only; one that begins with ! takes back what
those before it have found. What is inside a directory that matches does not match for that.

Where nothing matches below a directory that occurs many times, it is read once, unless a pattern is matched with whole
paths. A tree with more than 8192 directories below each other is an error.

A directory that cannot be read is named on stderr, and the exit status is 3.

With --json, one object for each entry: path, kind, size, executable, digest, target. A path or target that is not
UTF-8 is also there in base64, as path_base64 or target_base64.

Examples:
  castar find src '*.go'
  castar find src 'cmd/**/testdata/*' '!*.txt'
  castar find --type x src                          # what may be run`

func (e *env) findCommand() *cli.Command {
	var types string
	var null bool
	return &cli.Command{
		Name:        "find",
		Usage:       "find names in a stored tree",
		UsageText:   "castar find [flags] ROOT[:path] [PATTERN...]",
		Description: findHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "type", Aliases: []string{"t"}, Destination: &types, DefaultText: "all of them",
				Usage: "find only what is one of the `LETTERS`: d directories, f files, x those that may be run, l symbolic links"},
			nullFlag(&null),
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.NArg() == 0:
				return usagef("find", "no ROOT given")
			case null && e.json:
				return usagef("find", "--null and --json exclude each other")
			case strings.Trim(types, "dfxl") != "":
				return usagef("find", "invalid value %s for --type: want letters among d, f, x and l", quote(types))
			}
			return e.withRef(c.Context, c.Args().First(), func(st *store.Store, r tree.Ref) error {
				return e.find(c.Context, st, r.Node, c.Args().Tail(), types, null)
			})
		},
	}
}

// find lists what in the tree root matches the patterns, if there are some, and is of one of the types, likewise.
func (e *env) find(ctx context.Context, st *store.Store, root store.Node, patterns []string, types string, null bool) error {
	list := ignore.New(patterns...)
	matching := ignore.Root(list)
	matches := func(path string, n store.Node) bool {
		return isType(n, types) && (len(patterns) == 0 || matching.Match(path, n.Kind == store.KindDirectory))
	}
	entries := tree.Walk(ctx, st.Directories, root, -1)
	if list.ByName() {
		entries = tree.Search(ctx, st.Directories, root, func(n *store.Node) bool { return n.Name == "" || matches(n.Name, *n) })
	}
	out := e.newListing(null)
	err := e.walk(ctx, "find", entries, func(entry tree.Entry) {
		isDir := entry.Node.Kind == store.KindDirectory
		if entry.Depth == 0 {
			if isDir {
				return
			}
			entry.Path = root.Name
		}
		if !matches(entry.Path, entry.Node) {
			return
		}
		if e.json {
			out.json(newJSONEntry(entry.Path, entry.Node))
			return
		}
		out.line(out.name(entry.Path, isDir))
	})
	out.Flush()
	return err
}

// isType reports whether n is one of the types, letters as --type has them. None are all.
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

package cmd

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/tree"
)

const lsHelp = `
Lists the directory ROOT, or what is at path inside it. A file or symbolic link is listed itself. Names of directories
end in a slash. Lines are sorted by name, bytewise, slash included.

With -l, each line begins with the kind: d for a directory, - for a file, x for an executable file, l for a symbolic
link. If ROOT is a tag or a line of the log for which the store keeps a listing (see 'castar export --help'), the
permission bits, the owner, the group and the modification time come next. Then come the size and the first 16 digits of
the digest, or with --full all 64. The size of a file is in bytes, with -h in larger units; that of a directory is its
number of entries at any depth. After the name of a symbolic link come -> and its target. --sort size lists the largest
files first, and directories after them, by entries.

If a directory cannot be read, ls names it on stderr, lists the rest, and exits with status 3. A tree with more than
8192 directories inside each other is an error.

Examples:
  castar ls src                                     # by tag
  castar ls -lR 4fc3b6c1:cmd                        # everything below cmd
  castar ls -Rz src | xargs -0 -n 1 echo            # safe for any name`

// lsFlags is what was typed after castar ls.
type lsFlags struct {
	long, full, human, recursive, tree, null bool
	sort                                     string
}

func (e *env) lsCommand() *cli.Command {
	var f lsFlags
	return &cli.Command{
		Name:        "ls",
		Aliases:     []string{"list"},
		Usage:       "list what is in a stored directory",
		UsageText:   "castar ls [flags] ROOT[:path]",
		Description: withJSON(lsHelp, "there is an object for each entry", jsonEntry{}),
		Flags: []cli.Flag{
			boolFlag("long", "l", &f.long, "also show kind, mode, owner, time, size and digest"),
			boolFlag("full", "", &f.full, "with -l, show whole digests"),
			boolFlag("human", "h", &f.human, "with -l, show sizes of files in units such as MiB"),
			choiceFlag("sort", &f.sort, "name", "sort by `WHAT`: name, or size", "name", "size"),
			boolFlag("recursive", "R", &f.recursive, "list directories inside it too"),
			boolFlag("tree", "", &f.tree, "draw the tree"),
			nullFlag(&f.null),
		},
		Action: func(c *cli.Context) error {
			switch {
			case f.tree && (f.null || e.json):
				return usagef("--tree does not work with --null or --json")
			case f.tree && f.sort == "size":
				return usagef("--tree does not work with --sort size")
			case f.null && e.json:
				return usagef("--null and --json exclude each other")
			}
			return e.withOneRef(c, func(st *store.Store, r tree.Ref) error {
				return e.ls(c.Context, &f, st, r, c.Args().First())
			})
		},
	}
}

// ls lists what is at r. ref is as it was typed.
func (e *env) ls(ctx context.Context, f *lsFlags, st *store.Store, r tree.Ref, ref string) error {
	depth := 1
	if f.recursive || f.tree {
		depth = -1
		st.Expect(ctx, r.Node)
	}
	out, left := e.newLinePrinter(f.null), complaints{e: e}
	var kept *factsReader
	if f.long || e.json {
		facts, err := openFacts(ctx, st, r, left.listing)
		if err != nil {
			left.listing(err) // the rest is known without it
		}
		defer facts.close()
		kept = newFactsReader(facts, left.listing)
	}
	var branches []string // what --tree draws before the entries, for each depth
	entries := tree.Walk(ctx, st.Directories, r.Node, depth)
	if f.sort == "size" {
		entries = bySize(entries)
	}
	err := e.walk(ctx, entries, func(entry tree.Entry) {
		isDir := entry.Node.Kind == store.KindDirectory
		at := entry.Path // as the listing has it
		long := f.longFields(kept, at, entry.Node)
		switch {
		case entry.Depth == 0 && f.tree:
			out.line(long + quote(ref))
			return
		case entry.Depth == 0 && isDir:
			return
		case entry.Depth == 0:
			entry.Path = r.Node.Name
		}
		if e.json {
			j := jsonEntry{jsonPath: newJSONPath(entry.Path), JSONNode: tree.NewJSONNode(entry.Node)}
			if said, ok := kept.find(at, &entry.Node); ok {
				j.jsonFacts = newJSONFacts(&said)
			}
			out.json(j)
			return
		}
		text := out.name(entry.Path, isDir)
		if f.tree {
			twig, branch := "├── ", "│   "
			if entry.Last {
				twig, branch = "└── ", "    "
			}
			text = strings.Join(branches[:entry.Depth-1], "") + twig + out.name(entry.Node.Name, isDir)
			branches = append(branches[:entry.Depth-1], branch)
		}
		text = long + text
		if f.long && entry.Node.Kind == store.KindSymlink {
			text += " -> " + out.name(entry.Node.Target, false)
		}
		out.line(text)
	})
	out.Flush()
	return cmp.Or(err, left.end())
}

// longFields returns what -l prints before the name of the entry n, which is at a path below the root.
func (f *lsFlags) longFields(kept *factsReader, path string, n store.Node) string {
	if !f.long {
		return ""
	}
	kind, digest := byte('-'), n.Digest.String()
	switch {
	case n.Kind == store.KindDirectory:
		kind = 'd'
	case n.Kind == store.KindSymlink:
		kind, digest = 'l', strings.Repeat("-", len(digest))
	case n.Executable:
		kind = 'x'
	}
	said := ""
	if kept != nil {
		said = fmt.Sprintf("%-4s %-12s %-19s ", "-", "-", "-")
		if e, ok := kept.find(path, &n); ok {
			said = fmt.Sprintf("%04o %-12s %s ", e.Mode, ownerOf(&e), timeOf(&e).Local().Format(time.DateTime))
		}
	}
	if !f.full {
		digest = digest[:shortDigits]
	}
	size := strconv.FormatUint(n.Size, 10)
	if f.human && n.Kind == store.KindFile {
		size = store.HumanBytes(n.Size)
	}
	return fmt.Sprintf("%c %s%11s %s ", kind, said, size, digest)
}

// bySize returns the entries with the largest files first, and directories after files. Errors come before all entries,
// and so does the entry of depth 0.
func bySize(entries iter.Seq2[tree.Entry, error]) iter.Seq2[tree.Entry, error] {
	return func(yield func(tree.Entry, error) bool) {
		var all []tree.Entry
		for entry, err := range entries {
			if err == nil && entry.Depth > 0 {
				all = append(all, entry)
			} else if !yield(entry, err) {
				return
			}
		}
		slices.SortStableFunc(all, func(a, b tree.Entry) int {
			aDir, bDir := a.Node.Kind == store.KindDirectory, b.Node.Kind == store.KindDirectory
			switch {
			case aDir != bDir && bDir:
				return -1
			case aDir != bDir:
				return 1
			}
			return cmp.Compare(b.Node.Size, a.Node.Size)
		})
		for _, entry := range all {
			if !yield(entry, nil) {
				return
			}
		}
	}
}

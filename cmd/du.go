package cmd

import (
	"context"
	"math"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/tree"
)

const duHelp = `
Prints how much space each directory in ROOT takes, or each directory in the one at path inside ROOT. The total comes
last.

SIZE is the size of all files in it, each counted wherever it occurs. UNIQUE is the compressed space in the store of
contents that nothing else in ROOT needs. SHARED is the compressed space of contents that are also elsewhere in ROOT,
outside the directory. A remote store knows neither, and du prints "-".

Examples:
  castar du src                                     # the directories in it
  castar du --depth 3 src:doc`

func (e *env) duCommand() *cli.Command {
	depth := 1
	return &cli.Command{
		Name:        "du",
		Usage:       "show how much space the directories of a tree take",
		UsageText:   "castar du [flags] ROOT[:path]",
		Description: withJSON(duHelp, "there is an object for each directory", jsonDirUsage{}),
		Flags: []cli.Flag{
			rangeFlag("depth", "d", &depth, 0, math.MaxInt, "1", "show directories up to `N` levels down; 0 is the whole only"),
		},
		Action: func(c *cli.Context) error {
			return e.withOneRef(c, func(st *store.Store, r tree.Ref) error {
				return e.du(c.Context, st, r, depth)
			})
		},
	}
}

// jsonDirUsage is a line of castar du --json.
type jsonDirUsage struct {
	jsonPath
	Kind string `json:"kind"`
	store.Counts
	UniqueBytes *uint64 `json:"unique_bytes,omitempty"` // missing if the store cannot tell
	SharedBytes *uint64 `json:"shared_bytes,omitempty"`
}

func (jsonDirUsage) lineType() string { return "directory" }

func (e *env) du(ctx context.Context, st *store.Store, r tree.Ref, depth int) error {
	r.Node.Name = ""
	usages, err := tree.DirUsages(ctx, st, r.Node, depth)
	if err != nil {
		return err
	}
	w := e.newRows("SIZE\tUNIQUE\tSHARED\tPATH")
	for _, usage := range usages {
		j := jsonDirUsage{jsonPath: newJSONPath(usage.Path), Kind: usage.Node.Kind.String(), Counts: usage.Counts}
		unique, shared, name := "-", "-", "."
		if st.Sizer != nil {
			j.UniqueBytes, j.SharedBytes = &usage.Unique, &usage.Shared
			unique, shared = store.HumanBytes(usage.Unique), store.HumanBytes(usage.Shared)
		}
		if usage.Path != "" {
			name = quote(usage.Path + "/")
		}
		w.row(j, store.HumanBytes(usage.Counts.Bytes), unique, shared, name)
	}
	return w.Flush()
}

package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/tree"
	"castar/store/tree/repair"
)

const repairHelp = `
Restores as much of a damaged store as it can. It reads and checks everything. It rebuilds lost or damaged indexes from
the packs, and moves what is whole in damaged packs to new ones. It makes missing directories again. It makes a missing
config again, with a new ID. It restores unreadable tags from the log, and removes temporary files of processes that
were killed. If a symbolic link stands in place of tags, log or config, it copies back what the link leads to. It writes
new files before it removes old ones. It does not change a sound store.

With --from, repair then fetches from another store what the tags reach and this store lacks, and checks it as it
arrives. It also restores from there the tags that the log does not know.

repair prints each thing that it did, and then what is still lost: a tag and a path for each file and directory. The
exit status is 3 if anything is lost: such a file, a tag whose name is unknown, the log, or the folder of the packs.
After a loss of tags, 'castar verify' reports it, 'castar log' lists the roots that the tags may have named, and
'castar gc' removes nothing until --all confirms that no other tag is needed.

repair locks the store. If another process uses the store, repair exits with status 11, unless --wait says how long to
wait.

Examples:
  castar repair
  castar repair --from /mnt/backup       # a store made by 'castar copy'`

// repairFlags is what was typed after castar repair.
type repairFlags struct {
	from string
	wait time.Duration
}

func (e *env) repairCommand() *cli.Command {
	var f repairFlags
	return &cli.Command{
		Name:      "repair",
		Usage:     "repair a damaged store",
		UsageText: "castar repair [flags]",
		Description: withJSON(repairHelp, "there is an object for each thing done", jsonMended{},
			"There is one for each loss", jsonLost{}, "The last object is the sum", jsonRepaired{}),
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Destination: &f.from, Usage: "fetch what is missing from `STORE`"},
			waitFlag(&f.wait),
		},
		Action: func(c *cli.Context) error { return e.repair(c.Context, &f) },
	}
}

// repair mends the store, fetches what it lacks, and says what is still lost.
func (e *env) repair(ctx context.Context, f *repairFlags) error {
	began := time.Now()
	st, err := e.openAlone(ctx, config.Options{Wait: f.wait, Tolerate: true})
	if err != nil {
		return err
	}
	defer st.Close()
	var from *store.Store
	if f.from != "" {
		if from, err = e.open(ctx, f.from, config.Options{ReadOnly: true}); err != nil {
			return err
		}
		defer from.Close()
	}
	o := repair.Options{Did: e.printMended, Lost: e.printLost, Progress: &store.Progress{}, Fetched: &tree.CopyCounts{},
		TooDeep: func(path string, err error) {
			e.warn(store.ShortPath(path) + ": not looked through: " + err.Error())
		}}
	stop := e.startProgress(func() sample {
		objects := o.Progress.Objects.Load() + o.Fetched.NewBlobs.Load()
		return sample{files: objects, bytes: o.Progress.Bytes.Load() + o.Fetched.NewBytes.Load(), unit: "objects"}
	})
	defer stop()
	r, err := repair.Run(ctx, st, from, o)
	if err != nil {
		return err
	}
	stop()
	e.printRepaired(r, o.Fetched, time.Since(began))
	return partly(nil, !r.Whole())
}

// jsonWhere is a path in a store, or a tag and a path as TAG:path.
type jsonWhere struct {
	Where       string `json:"where"`
	WhereBase64 string `json:"where_base64,omitempty"`
}

func newJSONWhere(where string) (j jsonWhere) {
	j.Where, j.WhereBase64 = store.JSONName(where)
	return j
}

// jsonMended is a line of castar repair --json for each thing that was done.
type jsonMended struct {
	Did string `json:"did" help:"what was done"`
	jsonWhere
}

func (jsonMended) lineType() string { return "mended" }

func (e *env) printMended(where, what string) {
	e.print(jsonMended{what, newJSONWhere(where)}, quote(where)+": "+store.Escape(what))
}

// jsonLost is a line of castar repair --json for each thing that is still lost.
type jsonLost struct {
	Lost string `json:"lost" help:"why"`
	Tag  string `json:"tag"`
	jsonWhere
}

func (jsonLost) lineType() string { return "lost" }

func (e *env) printLost(tag, path string, err error) {
	e.print(jsonLost{err.Error(), tag, newJSONWhere(path)}, "lost: "+quote(path)+": "+store.Escape(store.ShortMessage(err.Error())))
}

// jsonRepaired is the last line of castar repair --json.
type jsonRepaired struct {
	store.RepairResult
	FetchedBlobs       uint64  `json:"fetched_blobs"`
	FetchedBytes       uint64  `json:"fetched_bytes"`
	FetchedDirectories uint64  `json:"fetched_directories"`
	StillLost          uint64  `json:"still_lost" help:"files and directories that tags reach"`
	Seconds            float64 `json:"seconds"`
}

func (jsonRepaired) lineType() string { return "summary" }

func (e *env) printRepaired(r repair.Result, c *tree.CopyCounts, took time.Duration) {
	j := jsonRepaired{r.RepairResult, c.NewBlobs.Load(), c.NewBytes.Load(), c.NewDirectories.Load(), r.StillLost, took.Seconds()}
	lost := "lost " + plural(r.StillLost, "entry")
	if r.LostTags > 0 {
		lost += ", " + plural(r.LostTags, "tag")
	}
	if r.LostContainers > 0 {
		lost += ", and everything in " + plural(r.LostContainers, "place")
	}
	e.print(j, fmt.Sprintf("%s whole; fetched %s (%s) and %s; %s", plural(r.Objects, "object"), plural(j.FetchedBlobs, "blob"),
		store.HumanBytes(j.FetchedBytes), plural(j.FetchedDirectories, "directory"), lost))
}

package cmd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/tree"
)

const repairHelp = `
Mends a damaged store as far as what is left allows. It reads and checks everything. It makes lost or damaged indexes
anew from the packs, and moves what is whole in damaged packs to new ones. It makes missing folders again, and the
config, with a new ID. It restores tags that cannot be read from the log, and removes the temporary files of processes
that were killed. It writes new files before it removes old ones. It does not change a sound store.

With --from, repair then fetches what the tags reach and the store lacks from another store, and checks it as it
arrives. Tags that the log does not know are restored from there.

repair prints each thing that it did, and then what is still lost: a tag and a path for each file and directory. The
exit status is 3 if anything is lost: such a file, a tag whose name is unknown, the log, or the folder of the packs.
After tags were lost, 'castar verify' reports it, and 'castar gc' removes nothing until --all confirms that no other tag
is needed; 'castar log' lists the roots that they may have named. If a symbolic link stands in the place of tags, log or
config, repair copies back what it leads to.

repair locks the store. If another process uses it, the exit status is 11, unless --wait says how long to wait.

With --json, there is an object for each thing done: did and where; one for each loss: lost, where (both as for people),
tag; and one at the end: objects, lost, lost_tags, lost_containers (folders and files, if any), fetched_blobs,
fetched_bytes, fetched_directories, still_lost, seconds. A name that is not UTF-8 is also there in base64, as
where_base64.

Examples:
  castar repair
  castar repair --from /mnt/backup       # a store with copies, see 'castar copy'`

// repairFlags is what was typed after castar repair.
type repairFlags struct {
	from string
	wait time.Duration
}

func (e *env) repairCommand() *cli.Command {
	var f repairFlags
	return &cli.Command{
		Name:        "repair",
		Usage:       "mend a damaged store",
		UsageText:   "castar repair [--from STORE]",
		Description: repairHelp,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Destination: &f.from, Usage: "fetch what is missing from `STORE`"},
			waitFlag(&f.wait),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("repair", "unexpected argument %s", quote(c.Args().First()))
			}
			return e.repair(c.Context, &f)
		},
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
	if st.Repairer == nil || st.Tags == nil {
		return store.ErrUnsupported
	}
	progress, counts := &store.RepairProgress{}, &tree.CopyCounts{}
	from, o := nothing(), store.RepairOptions{Did: e.printMended, Progress: progress}
	if f.from != "" {
		if from, err = config.Open(ctx, f.from, config.Options{ReadOnly: true}); err != nil {
			return err
		}
		defer from.Close()
		o.Tags = readableTags(ctx, from)
	}
	stop := e.startProgress("repair", func() sample {
		objects := progress.Objects.Load() + counts.NewBlobs.Load()
		return sample{files: objects, bytes: progress.Bytes.Load() + counts.NewBytes.Load(), unit: "objects"}
	})
	defer stop()
	r, err := st.Repairer.Repair(ctx, o)
	if err != nil {
		return err
	}
	lost, unseen, err := e.fetch(ctx, st, from, counts)
	if err != nil {
		return err
	}
	stop()
	e.printRepaired(r, counts, lost, time.Since(began))
	if lost > 0 || unseen || r.LostTags > 0 || r.LostContainers > 0 {
		return errPartial
	}
	return nil
}

// readableTags returns the tags of a store, as many as can be read.
func readableTags(ctx context.Context, st *store.Store) (all []store.Tag) {
	if st.Tags == nil {
		return nil
	}
	for t, err := range st.Tags.All(ctx) {
		if err == nil {
			all = append(all, t)
		}
	}
	return all
}

// fetch copies what the tags reach and st lacks from another store, and returns how much is still missing, and whether
// there is something that it could not look through.
func (e *env) fetch(ctx context.Context, st, from *store.Store, counts *tree.CopyCounts) (lost int, unseen bool, err error) {
	both := *from
	both.NewSet = st.NewSet // its sets have what need not be fetched
	both.Directories = either{st.Directories, from.Directories}
	for t, err := range st.Tags.All(ctx) {
		switch {
		case errors.Is(err, store.ErrTagsLost):
			continue // Repair has said so
		case err != nil:
			return lost, unseen, err
		}
		copier := tree.NewCopier(&both, st, tree.CopyOptions{Progress: counts, Problem: func(path string, err error) {
			if errors.Is(err, store.ErrTooDeep) { // nobody knows whether something is missing
				unseen = true
				e.warn("repair", store.ShortPath(path)+": not looked through: "+err.Error())
				return
			}
			lost++
			e.printLost(t.Name, path, err)
		}})
		err := copier.Copy(ctx, tree.Root{Name: t.Name, Node: t.Root})
		if err != nil && !errors.Is(err, tree.ErrIncomplete) {
			return lost, unseen, err
		}
	}
	return lost, unseen, st.Sync(ctx)
}

// either is Directories of which Get looks into two stores.
type either struct {
	store.Directories
	second store.Directories
}

func (e either) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	dir, err := e.Directories.Get(ctx, d)
	if err == nil || ctx.Err() != nil {
		return dir, err
	}
	return e.second.Get(ctx, d)
}

// nothing returns a store that has nothing to fetch.
func nothing() *store.Store {
	return &store.Store{Blobs: noBlobs{}, Directories: noDirectories{}}
}

type noBlobs struct{ store.Blobs }

func (noBlobs) Open(context.Context, store.Digest) (store.Blob, error) { return nil, store.ErrNotFound }

type noDirectories struct{ store.Directories }

func (noDirectories) Get(context.Context, store.Digest) (store.Directory, error) {
	return nil, store.ErrNotFound
}

// jsonMended is a line of castar repair --json for each thing that was done.
type jsonMended struct {
	Did         string `json:"did"`
	Where       string `json:"where"`
	WhereBase64 string `json:"where_base64,omitempty"` // where that is not UTF-8
}

func (e *env) printMended(where, what string) {
	if !e.json {
		fmt.Fprintf(e.stdout, "%s: %s\n", quote(where), store.Escape(what))
		return
	}
	j := jsonMended{Did: what}
	j.Where, j.WhereBase64 = jsonName(where)
	e.stdout.json(j)
}

// jsonLost is a line of castar repair --json for each thing that is still lost.
type jsonLost struct {
	Lost        string `json:"lost"` // why
	Tag         string `json:"tag"`
	Where       string `json:"where"` // TAG:path
	WhereBase64 string `json:"where_base64,omitempty"`
}

func (e *env) printLost(tag, path string, err error) {
	if !e.json {
		fmt.Fprintf(e.stdout, "lost: %s: %s\n", quote(path), store.Escape(store.ShortMessage(err.Error())))
		return
	}
	j := jsonLost{Lost: err.Error(), Tag: tag}
	j.Where, j.WhereBase64 = jsonName(path)
	e.stdout.json(j)
}

// jsonRepaired is the last line of castar repair --json.
type jsonRepaired struct {
	store.RepairResult         // objects, lost, lost_tags, lost_containers
	FetchedBlobs       uint64  `json:"fetched_blobs"`
	FetchedBytes       uint64  `json:"fetched_bytes"`
	FetchedDirectories uint64  `json:"fetched_directories"`
	StillLost          int     `json:"still_lost"` // files and directories that tags reach
	Seconds            float64 `json:"seconds"`
}

func (e *env) printRepaired(r store.RepairResult, c *tree.CopyCounts, lost int, took time.Duration) {
	j := jsonRepaired{r, c.NewBlobs.Load(), c.NewBytes.Load(), c.NewDirectories.Load(), lost, took.Seconds()}
	if e.json {
		e.stdout.json(j)
		return
	}
	tags := ""
	if r.LostTags > 0 {
		tags = ", and " + plural(r.LostTags, "tag")
	}
	if r.LostContainers > 0 {
		tags += ", and all that was in " + plural(r.LostContainers, "folder or file")
	}
	fmt.Fprintf(e.stdout, "%d objects are whole, %d blobs (%s) and %d directories were fetched, %d are lost%s\n",
		r.Objects, j.FetchedBlobs, humanBytes(j.FetchedBytes), j.FetchedDirectories, lost, tags)
}

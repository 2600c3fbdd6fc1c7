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
	"castar/store/tree/advice"
)

const gcHelp = `
Removes what no tag reaches, and frees its space. It deletes packs that have nothing left, and rewrites packs that are
more than a quarter dead. That includes roots that 'castar ingest' stored without --tag, and roots whose tag was moved
or deleted, unless --keep names them. 'castar log' still lists such roots.

gc removes nothing if something that a tag reaches is missing, or if a tag cannot be read: see 'castar verify'. If
there is no tag, or if 'castar repair' could not restore all tags, it removes nothing unless --all is given. Before
you give --all, set again the tags that you need. Trees may have any depth.

gc works on a full disk: it first removes what it can without writing. If it needs more room, it keeps packs that are
partly dead, and the error says how much room it needs.

gc locks the store. If another process uses the store, gc exits with status 11, unless --wait says how long to wait.
Ingests and exports that start during a gc wait for it. You may interrupt gc at any time: nothing that is kept can be
lost, and the next gc continues.

Examples:
  castar tag -d old && castar gc
  castar gc -n                       # what would be freed
  castar gc --keep 4fc3b6c1          # keep a root that has no tag
  castar gc --wait 1h                # let a long ingest finish first`

// gcFlags is what was typed after castar gc.
type gcFlags struct {
	keep   []string
	all    bool
	dryRun bool
	wait   time.Duration
}

func (e *env) gcCommand() *cli.Command {
	var f gcFlags
	return &cli.Command{
		Name:        "gc",
		Aliases:     []string{"prune"},
		Usage:       "remove what no tag reaches, and free its space",
		UsageText:   "castar gc [flags]",
		Description: withJSON(gcHelp, "there is one object", jsonGC{}),
		Flags: []cli.Flag{
			listFlag("keep", "", &f.keep, "also keep `ROOT`"),
			boolFlag("all", "", &f.all, "remove what tags and --keep do not reach even if there is no tag, or if tags were lost"),
			boolFlag("dry-run", "n", &f.dryRun, "remove nothing; print what would be freed"),
			waitFlag(&f.wait),
		},
		Action: func(c *cli.Context) error { return e.gc(c.Context, &f) },
	}
}

// gc removes what the tags and --keep do not reach.
func (e *env) gc(ctx context.Context, f *gcFlags) error {
	st, err := e.openAlone(ctx, config.Options{Wait: f.wait, ReadOnly: f.dryRun})
	if err != nil {
		return err
	}
	defer st.Close()
	if st.Sweeper == nil || st.NewSet == nil || st.Tags == nil {
		return store.ErrUnsupported
	}
	began := time.Now()
	roots, tags, err := e.gcRoots(ctx, f, st)
	if err != nil {
		return err
	}
	keep := st.NewSet()
	if err := tree.Mark(ctx, st, roots, keep); err != nil {
		return refuseGC(ctx, err)
	}
	damaged := false
	var moved store.SweepProgress
	stop := e.startProgress("gc", func() sample {
		return sample{files: moved.Objects.Load(), bytes: moved.Bytes.Load(), unit: "objects moved"}
	})
	defer stop()
	o := store.SweepOptions{DryRun: f.dryRun, TagsLost: f.all, Progress: &moved, Damaged: func(err error) {
		damaged = true
		e.warn("gc", "damaged, and kept: "+err.Error())
	}}
	result, err := st.Sweeper.Sweep(ctx, keep, o)
	stop()
	if err != nil {
		return err
	}
	e.printGC(result, tags, f.dryRun, time.Since(began))
	if damaged {
		return errPartial
	}
	return nil
}

// gcRoots returns the roots to keep, and how many of them are tags.
func (e *env) gcRoots(ctx context.Context, f *gcFlags, st *store.Store) (roots []tree.Root, tags int, err error) {
	for t, err := range st.Tags.All(ctx) {
		switch {
		case errors.Is(err, store.ErrTagsLost) && f.all:
			continue
		case err != nil:
			return nil, 0, refuseGC(ctx, err)
		}
		roots = append(roots, tree.Root{Name: t.Name, Node: t.Root})
	}
	tags = len(roots)
	if tags == 0 && !f.all {
		return nil, 0, &failure{err: errors.New("there is no tag, so everything would be removed"), status: statusFailed,
			hint: "'castar tag NAME ROOT' keeps a root; --all removes everything"}
	}
	kept, err := rootsOf(ctx, st, f.keep)
	return append(roots, kept...), tags, err
}

// refuseGC is the error if it is not known what is alive.
func refuseGC(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return &failure{err: fmt.Errorf("nothing was removed: %w", err), status: statusFailed, hint: advice.OnRefusedGC(err)}
}

// jsonGC is what castar gc --json prints.
type jsonGC struct {
	Tags int `json:"tags" help:"whose roots were kept"`
	store.SweepResult
	Seconds float64 `json:"seconds"`
	DryRun  bool    `json:"dry_run" help:"then the numbers are estimates"`
}

func (e *env) printGC(r store.SweepResult, tags int, dryRun bool, took time.Duration) {
	freed, kept := "freed", "kept"
	if dryRun {
		freed, kept = "would free about", "would keep"
	}
	e.print(jsonGC{tags, r, took.Seconds(), dryRun}, fmt.Sprintf("%s %s: %s, %s; %s %s: %s", freed, humanBytes(r.FreedBytes),
		plural(r.FreedObjects, "object"), plural(r.FreedPacks, "pack"), kept, humanBytes(r.KeptBytes), plural(r.KeptObjects, "object")))
}

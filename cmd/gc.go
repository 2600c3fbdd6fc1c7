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

const gcHelp = `
Removes what no tag reaches, and gives its space back: packs in which nothing is left go, and packs of which more than a
quarter is dead are written anew without it. What 'castar ingest' stored without --tag, and what a tag that was moved or
deleted pointed at, is gone after this, unless --keep names it; 'castar log' still lists it.

Nothing is removed where something that a tag reaches is missing, or a tag cannot be read: see 'castar verify'. Without
any tag, nothing is removed unless --all is given. The same holds after a 'castar repair' that could not restore tags:
set them again, and confirm with --all that nothing else is needed. Trees may be of any depth.

gc works on a full disk. It removes first what it can remove without writing. Where more room is needed, packs that are
partly dead stay, and the error says how much room it takes.

gc has the store for itself. If somebody else uses it, the exit status is 11, unless --wait says how long to wait;
ingests and exports that begin meanwhile wait for it. It may be interrupted at any moment: nothing that is kept can be
lost, and the next gc goes on.

With --json, one object: tags, kept_objects, kept_bytes, freed_objects, freed_bytes, freed_packs, rewritten, seconds,
dry_run. Bytes are as stored on disk; rewritten are those that were moved to new packs; with --dry-run, estimates.

Examples:
  castar tag -d old && castar gc
  castar gc -n                       # what would be freed
  castar gc --keep 4fc3b6c1          # keep a root that has no tag
  castar gc --wait 1h                # let a long ingest end first`

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
		Description: gcHelp,
		Flags: []cli.Flag{
			listFlag("keep", "", &f.keep, "keep `ROOT` as well"),
			boolFlag("all", "", &f.all, "also if there is no tag, or if tags were lost: remove all that the other tags and --keep do not reach"),
			boolFlag("dry-run", "n", &f.dryRun, "remove nothing; say what would be freed"),
			waitFlag(&f.wait),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("gc", "unexpected argument %s", quote(c.Args().First()))
			}
			return e.gc(c.Context, &f)
		},
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
		e.warn("gc", "kept as it is: "+err.Error())
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

// gcRoots returns what is to be kept, and how many tags are among it.
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
			hint: "'castar tag NAME ROOT' keeps a root, --all removes everything"}
	}
	for _, ref := range f.keep {
		node, err := resolve(ctx, st, ref)
		if err != nil {
			return nil, 0, err
		}
		roots = append(roots, tree.Root{Name: ref, Node: node})
	}
	return roots, tags, nil
}

// refuseGC is the error for a store of which nobody can say what is alive.
func refuseGC(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	hint := "'castar verify' says what is damaged, 'castar repair --from STORE' fetches what is missing"
	if errors.Is(err, store.ErrTagsLost) {
		hint = "set them again with 'castar tag', 'castar log' lists the roots; then --all removes what no tag reaches"
	}
	return &failure{err: fmt.Errorf("nothing was removed: %w", err), status: statusFailed, hint: hint}
}

// jsonGC is what castar gc --json prints.
type jsonGC struct {
	Tags              int     `json:"tags"` // whose roots were kept
	store.SweepResult         // kept_objects, kept_bytes, freed_objects, freed_bytes, freed_packs, rewritten
	Seconds           float64 `json:"seconds"`
	DryRun            bool    `json:"dry_run"`
}

func (e *env) printGC(r store.SweepResult, tags int, dryRun bool, took time.Duration) {
	if e.json {
		e.stdout.json(jsonGC{tags, r, took.Seconds(), dryRun})
		return
	}
	verb := "freed"
	if dryRun {
		verb = "would free about"
	}
	fmt.Fprintf(e.stdout, "%s %s: %d objects, %d packs; %s with %d objects remain\n",
		verb, humanBytes(r.FreedBytes), r.FreedObjects, r.FreedPacks, humanBytes(r.KeptBytes), r.KeptObjects)
}

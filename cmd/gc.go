package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"castar/store"
	"castar/store/config"
	"castar/store/tree"
	"castar/store/tree/advice"
)

const gcHelp = `
Removes what neither a tag nor a line of 'castar log' reaches, and frees its space. So an ingest is kept until
'castar forget' removes its lines and no tag names its root. gc deletes packs that have nothing left, and rewrites
packs that are more than a quarter dead. --keep names further roots to keep. Trees may have any depth.

gc removes nothing if something that a tag or the log keeps is missing, or if a tag or a line of the log cannot be
read: see 'castar verify'. It removes nothing either if there is no tag and no line in the log, or if 'castar repair'
could not restore all tags. Then --all lets it go on, without what cannot be read. Before you give --all, set again
the tags that you need.

With -v, gc names the roots that it drops, and with -n those that it would drop: of ingests that were forgotten and of
tags that were deleted since the last gc, with their times and sources.

Older versions of castar kept only what tags reach. The lines of ingests that they removed are not shown by
'castar log' and name nothing. gc drops such lines; with -v it lists them, with their dates and sources.

gc works on a full disk: it first removes what it can without writing. If it needs more room, it keeps packs that are
partly dead, and the error says how much room it needs.

gc locks the store. If another process uses the store, gc exits with status 11, unless --wait says how long to wait.
Ingests and exports that start during a gc wait for it. You may interrupt gc at any time: nothing that is kept can be
lost, and the next gc continues.

Examples:
  castar forget --keep-daily 7 --keep-weekly 4 && castar gc
  castar tag -d old && castar gc     # if the log does not keep it
  castar gc -n                       # what would be freed
  castar gc --keep 4fc3b6c1          # keep another root
  castar gc --wait 1h                # let a long ingest finish first`

// gcFlags is what was typed after castar gc.
type gcFlags struct {
	keep   []string
	all    bool
	dryRun bool
	wait   time.Duration
	grace  time.Duration

	forgotten []store.Tag // lines of the log that do not count any more
}

func (e *env) gcCommand() *cli.Command {
	var f gcFlags
	return &cli.Command{
		Name:        "gc",
		Aliases:     []string{"prune"},
		Usage:       "remove what neither tags nor the log keep, and free its space",
		UsageText:   "castar gc [flags]",
		Description: withJSON(gcHelp, "there is one object", jsonGC{}),
		Flags: []cli.Flag{
			listFlag("keep", "", &f.keep, "also keep `ROOT`"),
			boolFlag("all", "", &f.all, "go on even if there is no tag and no log, if tags were lost, or if lines of the log cannot be read"),
			boolFlag("dry-run", "n", &f.dryRun, "remove nothing; print what would be freed"),
			waitFlag(&f.wait),
			graceFlag(&f.grace),
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
	return e.gcOpen(ctx, f, st)
}

// graceFlag is how long a gc leaves files in a bucket.
func graceFlag(grace *time.Duration) cli.Flag {
	return durationFlag("grace", grace, gcGrace.String(), "in a bucket, delete only what was given up `DURATION` ago")
}

// gcGrace is longer than anybody reads or stores without a look at what others have done.
const gcGrace = 24 * time.Hour

// gcOpen is gc in a store that is open exclusively. In a bucket nothing is exclusive, and gc begins again if another process
// has changed the store meanwhile.
func (e *env) gcOpen(ctx context.Context, f *gcFlags, st *store.Store) error {
	if st.Sweeper == nil || st.NewSet == nil || st.Tags == nil {
		return store.ErrUnsupported
	}
	for {
		if err := e.gcOnce(ctx, f, st); !errors.Is(err, store.ErrChanged) {
			return err
		}
		e.note("gc", "another process has changed the store: begins again")
	}
}

func (e *env) gcOnce(ctx context.Context, f *gcFlags, st *store.Store) error {
	began := time.Now()
	keep := st.NewSet() // before the tags are read
	kept, err := e.gcKept(ctx, f, st)
	if err != nil {
		return err
	}
	also, err := rootsOf(ctx, st, f.keep)
	if err != nil {
		return err
	}
	roots, _ := kept.Roots(ctx, st)
	if err := tree.Mark(ctx, st, append(roots, also...), keep); err != nil {
		return refuseGC(ctx, err, false)
	}
	if err := markHeld(ctx, f, st, keep); err != nil {
		return refuseGC(ctx, err, false)
	}
	dropped := givenUp(ctx, f, st, keep)
	damaged := false
	var moved store.SweepProgress
	stop := e.startProgress("gc", func() sample {
		return sample{files: moved.Objects.Load(), bytes: moved.Bytes.Load(), unit: "objects moved"}
	})
	defer stop()
	o := store.SweepOptions{DryRun: f.dryRun, TagsLost: f.all, Grace: f.grace, Progress: &moved, Damaged: func(err error) {
		damaged = true
		e.warn("gc", "damaged, and kept: "+err.Error())
	}}
	result, err := st.Sweeper.Sweep(ctx, keep, o)
	stop()
	if err != nil {
		return err
	}
	if err := e.dropGone(ctx, f, st); err != nil {
		return err
	}
	if err := e.printGC(result, kept, dropped, f.dryRun, time.Since(began)); err != nil {
		return err
	}
	if damaged {
		return errPartial
	}
	return nil
}

// markHeld marks what others have just stored, or are about to record.
func markHeld(ctx context.Context, f *gcFlags, st *store.Store, keep store.ObjectSet) error {
	const many = 10000
	var some []tree.Root
	mark := func() error {
		err := tree.Mark(ctx, st, some, keep)
		if store.IsNotFound(err) { // of one of them not all is there, or not yet: then what there is
			for i := range some {
				if err = tree.Mark(ctx, st, some[i:i+1], keep); err != nil && !store.IsNotFound(err) {
					return err
				}
			}
			err = nil
		}
		some = some[:0]
		return err
	}
	for n, err := range st.Sweeper.Held(ctx, f.grace) {
		if err != nil {
			return err
		}
		if some = append(some, tree.Root{Name: n.Digest.String(), Node: n}); len(some) == many {
			if err := mark(); err != nil {
				return err
			}
		}
	}
	return mark()
}

// givenUp returns what was deleted and forgotten since the last gc and is not kept all the same, the newest first, each root
// once.
func givenUp(ctx context.Context, f *gcFlags, st *store.Store, keep store.ObjectSet) (dropped []store.Tag) {
	all := append(st.Sweeper.GivenUp(ctx), f.forgotten...) // a dry run has not forgotten them
	slices.SortStableFunc(all, func(a, b store.Tag) int { return b.Time.Compare(a.Time) })
	present, known := st.NewSet(), make(map[store.Node]bool)
	for _, t := range all {
		if known[t.Root] || t.Root.Kind == store.KindSymlink || keep.Has(t.Root.Kind, t.Root.Digest) {
			continue
		}
		known[t.Root] = true
		if _, err := present.Add(t.Root.Kind, t.Root.Digest); err == nil {
			dropped = append(dropped, t)
		}
	}
	return dropped
}

// gcKept returns what tags and log keep. It is an error if not all of that is known, or if it is nothing, unless --all was
// given.
func (e *env) gcKept(ctx context.Context, f *gcFlags, st *store.Store) (tree.Kept, error) {
	kept := tree.ReadKept(ctx, st)
	kept.Ingests = slices.DeleteFunc(kept.Ingests, store.AmongTags(f.forgotten))
	for _, err := range kept.TagErrors {
		if !errors.Is(err, store.ErrTagsLost) || !f.all {
			return kept, refuseGC(ctx, err, false)
		}
	}
	for _, err := range kept.LogErrors {
		if errors.Is(err, store.ErrNewer) || !store.IsCorrupt(err) || !f.all {
			return kept, refuseGC(ctx, err, store.IsCorrupt(err))
		}
		e.warn("gc", err.Error())
	}
	if len(kept.Tags)+len(kept.Ingests) == 0 && !f.all {
		return kept, &failure{err: errors.New("there is no tag and no ingest in the log, so everything would be removed"), status: statusFailed,
			hint: "'castar tag NAME ROOT' keeps a root; --all removes everything"}
	}
	return kept, ctx.Err()
}

// dropGone takes the lines out of the log whose roots an older castar has removed, and lists them with --verbose.
func (e *env) dropGone(ctx context.Context, f *gcFlags, st *store.Store) error {
	gone := tree.Gone(ctx, st)
	for _, t := range gone {
		if e.verbose {
			e.note("gc", fmt.Sprintf("gone since an older castar's gc: %s of %s, %s", tree.ShortName(t),
				t.Time.Local().Format(time.DateTime), quote(t.Source)))
		}
	}
	if f.dryRun || len(gone) == 0 {
		return nil
	}
	return st.Tags.Forget(ctx, gone)
}

// refuseGC is the error if it is not known what is alive.
func refuseGC(ctx context.Context, err error, isLog bool) error {
	if ctx.Err() != nil {
		return err
	}
	return &failure{err: fmt.Errorf("nothing was removed: %w", err), status: statusFailed, hint: advice.OnRefusedGC(err, isLog)}
}

// jsonGC is what castar gc --json prints.
type jsonGC struct {
	Tags int `json:"tags" help:"whose roots were kept"`
	store.SweepResult
	Seconds float64 `json:"seconds"`
	DryRun  bool    `json:"dry_run" help:"then the numbers are estimates"`
	Ingests int     `json:"ingests" help:"lines of the log whose roots were kept"`

	Dropped []jsonRecord `json:"dropped" help:"roots of ingests that were forgotten and tags that were deleted, as in castar log"` // never null
}

func (jsonGC) lineType() string { return "summary" }

func (e *env) printGC(r store.SweepResult, kept tree.Kept, dropped []store.Tag, dryRun bool, took time.Duration) error {
	freed, keeps, drops := "freed", "kept", "dropped"
	if dryRun {
		freed, keeps, drops = "would free about", "would keep", "would drop"
	}
	j := jsonGC{len(kept.Tags), r, took.Seconds(), dryRun, len(kept.Ingests), []jsonRecord{}}
	for _, t := range dropped {
		record, err := newJSONRecord(t, 0)
		if err != nil {
			return err
		}
		j.Dropped = append(j.Dropped, record)
		if e.verbose {
			e.note("gc", fmt.Sprintf("%s %s of %s, tag %s, source %s", drops, tree.ShortName(t), t.Time.Local().Format(time.DateTime),
				orDash(t.Name), orDash(t.Source)))
		}
	}
	e.print(j, fmt.Sprintf("%s %s: %s, %s; %s %s: %s", freed, humanBytes(r.FreedBytes),
		plural(r.FreedObjects, "object"), plural(r.FreedPacks, "pack"), keeps, humanBytes(r.KeptBytes), plural(r.KeptObjects, "object")))
	return nil
}

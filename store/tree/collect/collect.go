// Package collect collects garbage: it removes from a store what neither its tags nor its log reach.
package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"castar/store"
	"castar/store/tree"
	"castar/store/tree/advice"
)

// RefusedError says that nothing was removed, because it is not known what to keep, or because nothing would be kept.
type RefusedError struct {
	Err  error
	Hint string // what the user can do, or ""
}

// Error returns the reason.
func (e *RefusedError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *RefusedError) Unwrap() error { return e.Err }

// Options say what to keep, and what to tell.
type Options struct {
	store.CollectOptions
	Gone  func(store.Tag) // called for each line that is dropped because an older castar has removed its root; may be nil
	Again func()          // called when another process has changed the store, and the work begins again; may be nil
}

// Run collects garbage in st, which must be open exclusively unless it is a dry run. The error is store.ErrUnsupported for a
// store that cannot forget, and a *RefusedError if nothing was removed.
func Run(ctx context.Context, st *store.Store, o Options) (r store.CollectResult, err error) {
	if st.Sweeper == nil || st.NewSet == nil || st.Tags == nil {
		return r, store.ErrUnsupported
	}
	for tries := 1; ; tries++ {
		r, err = try(ctx, st, o)
		// A dry run may find a tag of something that was stored after it began.
		unseen := o.DryRun && tries < 3 && store.IsNotFound(err)
		if !errors.Is(err, store.ErrChanged) && !unseen || tries == mostTries {
			return r, err
		}
		if o.Again != nil {
			o.Again()
		}
	}
}

// mostTries is how often a collection begins again because others have changed the store.
const mostTries = 1000

// try is one attempt of Run. The error is store.ErrChanged if another process has changed the store.
func try(ctx context.Context, st *store.Store, o Options) (r store.CollectResult, err error) {
	keep := st.NewSet() // before the tags are read
	kept, err := readKept(ctx, st, &o)
	if err != nil {
		return r, err
	}
	roots, _ := kept.Roots(ctx, st)
	for _, n := range o.Keep {
		roots = append(roots, tree.Root{Name: tree.ShortName(store.Tag{Root: n}), Node: n})
	}
	if err := tree.Mark(ctx, st, roots, keep); err != nil {
		return r, refuse(ctx, err, false)
	}
	if err := markHeld(ctx, st, o.Grace, keep); err != nil {
		return r, refuse(ctx, err, false)
	}
	r.Tags, r.Ingests, r.Dropped = len(kept.Tags), len(kept.Ingests), givenUp(ctx, st, &o, keep)
	r.SweepResult, err = st.Sweeper.Sweep(ctx, keep, store.SweepOptions{
		DryRun: o.DryRun, TagsLost: o.All, Grace: o.Grace, Progress: o.Progress, Damaged: func(err error) {
			r.Damaged = true
			o.Warn(fmt.Errorf("damaged, and kept: %w", err))
		},
	})
	if err != nil {
		return r, err
	}
	return r, dropGone(ctx, st, &o)
}

// markHeld marks what others have just stored, or are about to record.
func markHeld(ctx context.Context, st *store.Store, grace time.Duration, keep store.ObjectSet) error {
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
	for n, err := range st.Sweeper.Held(ctx, grace) {
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
func givenUp(ctx context.Context, st *store.Store, o *Options, keep store.ObjectSet) (dropped []store.Tag) {
	all := append(st.Sweeper.GivenUp(ctx), o.Forgot...) // a dry run has not forgotten them
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

// readKept returns what tags and log keep. It is an error if not all of that is known, or if it is nothing, unless o.All is set.
func readKept(ctx context.Context, st *store.Store, o *Options) (tree.Kept, error) {
	kept := tree.ReadKept(ctx, st)
	kept.Ingests = slices.DeleteFunc(kept.Ingests, store.AmongTags(o.Forgot))
	for _, err := range kept.TagErrors {
		if !errors.Is(err, store.ErrTagsLost) || !o.All {
			return kept, refuse(ctx, err, false)
		}
	}
	for _, err := range kept.LogErrors {
		if errors.Is(err, store.ErrNewer) || !store.IsCorrupt(err) || !o.All {
			return kept, refuse(ctx, err, store.IsCorrupt(err))
		}
		o.Warn(err)
	}
	if len(kept.Tags)+len(kept.Ingests) == 0 && !o.All {
		return kept, &RefusedError{store.ErrNothingKept, "'castar tag NAME ROOT' keeps a root; --all removes everything"}
	}
	return kept, ctx.Err()
}

// dropGone takes the lines out of the log whose roots an older castar has removed.
func dropGone(ctx context.Context, st *store.Store, o *Options) error {
	gone := tree.Gone(ctx, st)
	for _, t := range gone {
		if o.Gone != nil {
			o.Gone(t)
		}
	}
	if o.DryRun || len(gone) == 0 {
		return nil
	}
	return st.Tags.Forget(ctx, gone)
}

// refuse is the error if it is not known what is alive. isLog says that err is about a line of the log.
func refuse(ctx context.Context, err error, isLog bool) error {
	if ctx.Err() != nil {
		return err
	}
	return &RefusedError{fmt.Errorf("nothing was removed: %w", err), advice.OnRefusedGC(err, isLog)}
}

// Package mend repairs a store: it mends what the store can mend itself, and fetches the rest from another store.
package mend

import (
	"context"
	"errors"

	"castar/store"
	"castar/store/tree"
)

// Options say how to repair. All fields may be zero.
type Options struct {
	// Did is called for each thing that the store did to itself; see store.RepairOptions.
	Did func(where, what string)
	// Lost is called for each file and directory that a tag reaches and no store has.
	Lost func(tag, path string, err error)
	// TooDeep is called for each directory that lies too deep to look through, so nobody knows what it lacks.
	TooDeep func(path string, err error)
	// Progress counts while the store repairs itself, and Fetched while objects are fetched.
	Progress *store.RepairProgress
	Fetched  *tree.CopyCounts
}

// Result is what a repair did.
type Result struct {
	store.RepairResult
	StillLost uint64 // files and directories that tags reach and no store has
	TooDeep   uint64 // directories that were not looked through
}

// Whole reports whether nothing was lost.
func (r Result) Whole() bool {
	return r.StillLost == 0 && r.TooDeep == 0 && r.LostTags == 0 && r.LostContainers == 0
}

// Store repairs st, and then fetches what its tags reach and it lacks from another store, or from nowhere if that is
// nil. No other process may have st open. A store that cannot repair itself is the error store.ErrUnsupported.
func Store(ctx context.Context, st, from *store.Store, o Options) (r Result, err error) {
	if st.Repairer == nil || st.Tags == nil {
		return r, store.ErrUnsupported
	}
	ro := store.RepairOptions{Did: o.Did, Progress: o.Progress}
	if from == nil {
		from = &store.Store{Blobs: noBlobs{}, Directories: noDirectories{}}
	} else {
		ro.Tags = readableTags(ctx, from)
	}
	if r.RepairResult, err = st.Repairer.Repair(ctx, ro); err != nil {
		return r, err
	}
	return r, fetch(ctx, st, from, o, &r)
}

// readableTags returns those tags of a store that can be read.
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

// fetch copies what the tags of st reach and st lacks, and counts in r what is still missing.
func fetch(ctx context.Context, st, from *store.Store, o Options, r *Result) error {
	both := *from
	both.NewSet = st.NewSet // its sets have what need not be fetched
	both.Directories = either{st.Directories, from.Directories}
	for t, err := range st.Tags.All(ctx) {
		switch {
		case errors.Is(err, store.ErrTagsLost):
			continue // Repair has said so
		case err != nil:
			return err
		}
		copier := tree.NewCopier(&both, st, tree.CopyOptions{Progress: o.Fetched, Problem: func(path string, err error) {
			if errors.Is(err, store.ErrTooDeep) {
				r.TooDeep++
				if o.TooDeep != nil {
					o.TooDeep(path, err)
				}
				return
			}
			r.StillLost++
			if o.Lost != nil {
				o.Lost(t.Name, path, err)
			}
		}})
		err := copier.Copy(ctx, tree.Root{Name: t.Name, Node: t.Root})
		if err != nil && !errors.Is(err, tree.ErrIncomplete) {
			return err
		}
	}
	return st.Sync(ctx)
}

// either is Directories whose Get also looks in a second store.
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

// noBlobs and noDirectories have nothing to fetch.
type noBlobs struct{ store.Blobs }

func (noBlobs) Open(context.Context, store.Digest) (store.Blob, error) { return nil, store.ErrNotFound }

type noDirectories struct{ store.Directories }

func (noDirectories) Get(context.Context, store.Digest) (store.Directory, error) {
	return nil, store.ErrNotFound
}

// Package repair repairs a store. What the store cannot restore by itself, it fetches from another store.
package repair

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
	// Lost is called for each file and directory that a tag reaches and no store has. Of an ingest that no tag names it is
	// called with the beginning of the digest instead of the tag, and not for files that were lost in another root.
	Lost func(tag, path string, err error)
	// TooDeep is called for each directory that lies too deep to look through, so nobody knows what it lacks.
	TooDeep func(path string, err error)
	// Progress counts while the store repairs itself, and Fetched while objects are fetched.
	Progress *store.Progress
	Fetched  *tree.CopyCounts
}

// Result is what a repair did.
type Result struct {
	store.RepairResult
	StillLost uint64 // how often Options.Lost was to be called
	TooDeep   uint64 // directories that were not looked through
}

// Whole reports whether nothing was lost.
func (r Result) Whole() bool {
	return r.StillLost == 0 && r.TooDeep == 0 && r.LostTags == 0 && r.LostContainers == 0
}

// Run repairs st, and then fetches what its tags and its log keep and it lacks from another store, or from nowhere if
// that is nil. No other process may have st open. A store that cannot repair itself is the error store.ErrUnsupported.
func Run(ctx context.Context, st, from *store.Store, o Options) (r Result, err error) {
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

// fetch copies what tags and log keep of st, and st lacks, and counts in r what is still missing.
func fetch(ctx context.Context, st, from *store.Store, o Options, r *Result) error {
	both := *from
	both.NewSet = st.NewSet // its sets have what need not be fetched
	both.Directories = either{st.Directories, from.Directories}
	kept := tree.ReadKept(ctx, st)
	for _, err := range kept.TagErrors {
		if !errors.Is(err, store.ErrTagsLost) { // Repair has said so
			return err
		}
	}
	isTag := make(map[string]bool)
	for _, t := range kept.Tags {
		isTag[t.Name] = true
	}
	f := fetcher{o: o, r: r}
	roots, listings := kept.Roots(ctx, st)
	for i, root := range roots {
		if n := &root.Node; n.Size == 0 && i >= len(roots)-int(listings) { // st does not know how long it is
			if b, err := from.Blobs.Open(ctx, n.Digest); err == nil {
				n.Size = b.Size()
				b.Close()
			}
		}
		if f.name = root.Name; f.copier == nil || isTag[root.Name] { // what is lost in a tag is named whole
			f.copier = tree.NewCopier(&both, st, tree.CopyOptions{Progress: o.Fetched, Problem: f.problem})
		}
		if err := f.copier.Copy(ctx, root); err != nil && !errors.Is(err, tree.ErrIncomplete) {
			return err
		}
	}
	return st.Sync(ctx)
}

// fetcher fetches what the root of some name reaches.
type fetcher struct {
	o      Options
	r      *Result
	name   string
	copier *tree.Copier
}

// problem takes in what cannot be fetched.
func (f *fetcher) problem(path string, err error) {
	if errors.Is(err, store.ErrTooDeep) {
		f.r.TooDeep++
		if f.o.TooDeep != nil {
			f.o.TooDeep(path, err)
		}
		return
	}
	f.r.StillLost++
	if f.o.Lost != nil {
		f.o.Lost(f.name, path, err)
	}
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

// noBlobs and noDirectories have nothing to fetch. Their error is store.ErrNotFound alone, without a
// digest, because users read it.
type noBlobs struct{ store.Blobs }

func (noBlobs) Open(context.Context, store.Digest) (store.Blob, error) { return nil, store.ErrNotFound }

type noDirectories struct{ store.Directories }

func (noDirectories) Get(context.Context, store.Digest) (store.Directory, error) {
	return nil, store.ErrNotFound
}

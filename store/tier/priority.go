package tier

import (
	"context"
	"fmt"
	"iter"

	"castar/store"
)

// Priority is the directories of several stores. A directory comes from the first store that has it. An error other than
// store.ErrNotFound ends the search. Priority implements store.Directories, but Put and Upload return store.ErrReadOnly.
type Priority []store.Directories

// Get asks the stores one after another.
func (p Priority) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	for _, ds := range p {
		if dir, err := ds.Get(ctx, d); !store.IsNotFound(err) {
			return dir, err
		}
	}
	return nil, fmt.Errorf("directory %s: %w", d, store.ErrNotFound)
}

// Walk walks the first store that has root. From the first directory that it lacks, it walks all stores.
func (p Priority) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	for _, ds := range p {
		if _, err := ds.Get(ctx, root); err == nil {
			return walkFirst(ctx, ds, p, root)
		} else if !store.IsNotFound(err) {
			break // WalkByGet meets the same error
		}
	}
	return store.WalkByGet(ctx, p, root)
}

// Put returns store.ErrReadOnly.
func (Priority) Put(context.Context, store.Directory) (store.Digest, error) {
	return store.Digest{}, store.ErrReadOnly
}

// Upload returns store.ErrReadOnly.
func (Priority) Upload(context.Context) (store.DirectoryWriter, error) { return nil, store.ErrReadOnly }

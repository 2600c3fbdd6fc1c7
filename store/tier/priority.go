package tier

import (
	"context"
	"fmt"
	"iter"

	"castar/store"
)

// Priority is the directories of several stores, of which the first that has one gives it. It implements
// store.Directories but takes nothing: the error is store.ErrReadOnly. An error of one store ends the search.
type Priority []store.Directories

// Get asks one store after the other.
func (p Priority) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	for _, ds := range p {
		if dir, err := ds.Get(ctx, d); !absent(err) {
			return dir, err
		}
	}
	return nil, fmt.Errorf("directory %s: %w", d, store.ErrNotFound)
}

// Walk walks the first store that has root. From where that lacks something on, it walks all.
func (p Priority) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	for _, ds := range p {
		if _, err := ds.Get(ctx, root); err == nil {
			return walkFirst(ctx, ds, p, root)
		} else if !absent(err) {
			break // and find the same error again
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

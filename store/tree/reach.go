package tree

import (
	"context"
	"fmt"
	"iter"

	"castar/store"
)

// Root is where a closure begins, and what errors call it.
type Root struct {
	Name string
	Node store.Node
}

// Mark adds to set all that the roots reach: directories, blobs, and the chunks of blobs that have some. It reads each
// directory once, and several at the same time. Trees may be of any depth. Mark ends with the first error. The error of
// what is missing is store.ErrNotFound, and names a path that leads there.
func Mark(ctx context.Context, st *store.Store, roots []Root, set store.ObjectSet) error {
	return reach(ctx, st, roots, set.Add, func(err error) error { return err })
}

// reach calls mark for all that the roots reach, and goes below what mark says is new. It calls failed with each error,
// and goes on if that returns nil. Both are called concurrently.
func reach(
	ctx context.Context, st *store.Store, roots []Root, mark func(store.Kind, store.Digest) (isNew bool, err error),
	failed func(error) error,
) error {
	w := walker{ctx: ctx, ds: st.Directories, deepest: anyDepth}
	w.failed = func(_ *trail, _ *store.Node, err error) error { return failed(err) }
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		if n.Kind == store.KindSymlink {
			return false, nil
		}
		isNew, err := mark(n.Kind, n.Digest)
		if isNew && err == nil && n.Kind == store.KindFile {
			err = markChunks(ctx, st.Blobs, n.Digest, mark)
		}
		if err != nil {
			return false, failed(at.wrap(err))
		}
		return isNew, nil
	}
	expectAll(ctx, st, roots)
	if err := w.anyOrder(roots); err != nil {
		return err
	}
	return ctx.Err()
}

// markChunks marks what a blob is made of.
func markChunks(
	ctx context.Context, blobs store.Blobs, d store.Digest, mark func(store.Kind, store.Digest) (bool, error),
) error {
	chunks, err := blobs.Chunks(ctx, d)
	if err != nil {
		return err
	}
	for _, c := range chunks {
		if _, err := mark(store.KindFile, c.Digest); err != nil {
			return fmt.Errorf("chunk %w", err)
		}
	}
	return nil
}

// Expect tells a remote store that most of what the roots reach will be read: the directories, and the files in about the
// order of Walk, except those that skip reports. It returns at once, and does nothing if the store is near. skip may be
// nil.
func Expect(ctx context.Context, st *store.Store, roots []Root, skip func(store.Digest) bool) {
	expectAll(ctx, st, roots)
	if st.RemoteBlobs != nil {
		st.RemoteBlobs.Expect(ctx, files(ctx, st.Directories, roots, skip))
	}
}

// expectAll tells a remote store that most directories that the roots reach will be read.
func expectAll(ctx context.Context, st *store.Store, roots []Root) {
	for i := range roots {
		st.Expect(ctx, roots[i].Node)
	}
}

// files yields the digests of the files that roots reach. It enters no directory twice, as far as it remembers, and leaves
// out what it cannot read.
func files(ctx context.Context, ds store.Directories, roots []Root, skip func(store.Digest) bool) iter.Seq[store.Digest] {
	return func(yield func(store.Digest) bool) {
		var seen memo[store.Digest, struct{}]
		stopped := false
		w := walker{ctx: ctx, ds: ds, skip: seen.has}
		w.enter = func(_ *trail, n *store.Node) (bool, error) {
			switch {
			case n.Kind == store.KindDirectory && !seen.has(n.Digest):
				seen.put(n.Digest, struct{}{})
				return true, nil
			case n.Kind == store.KindFile && (skip == nil || !skip(n.Digest)):
				if stopped = !yield(n.Digest); stopped {
					return false, errStop
				}
			}
			return false, nil
		}
		w.failed = func(*trail, *store.Node, error) error { return ctx.Err() }
		for i := range roots {
			if w.inOrder(rootTrail(""), roots[i].Node) != nil || stopped {
				return
			}
		}
	}
}

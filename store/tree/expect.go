package tree

import (
	"context"
	"iter"

	"castar/store"
)

// Expect tells a remote store that most of what the roots reach will be read: the directories, and the files in about the
// order of Walk, except those that skip reports. It returns at once, and does nothing if the store is near. skip may be
// nil.
func Expect(ctx context.Context, st *store.Store, roots []Root, skip func(store.Digest) bool) {
	for i := range roots {
		st.Expect(ctx, roots[i].Node)
	}
	if st.RemoteBlobs != nil {
		st.RemoteBlobs.Expect(ctx, files(ctx, st.Directories, roots, skip))
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

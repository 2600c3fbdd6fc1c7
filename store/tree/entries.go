package tree

import (
	"context"
	"iter"

	"castar/store"
)

// Entry is a node of a tree, and where it is.
type Entry struct {
	Path  string     // from the root, without a slash at its end; "" is the root
	Node  store.Node // with its name
	Depth int        // the number of components in Path
	Last  bool       // nothing follows in the same directory
}

// Walk yields root and what is below it, down to depth components from it, or everything if depth is negative.
//
// The order is that of the bytes of the paths, with a slash at the end of the path of each directory. A directory comes
// right before what it holds, and after all that sorts before a slash: "a-b" comes before "a/". It is the order of
// git's trees and of LC_ALL=C sort, and Diff has it too. Walk holds the directories from root to the entry, and a
// bounded number that it reads ahead.
//
// A directory that cannot be read is yielded again, with the error, and the walk goes on beside it. The error begins
// with the path. It is store.ErrNotFound if the store lacks the directory, and store.ErrTooDeep below store.MaxDepth
// levels.
func Walk(ctx context.Context, ds store.Directories, root store.Node, depth int) iter.Seq2[Entry, error] {
	return walkEntries(ctx, ds, root, depth, nil)
}

// Search is Walk of the whole tree, but it yields only errors and the nodes that match accepts. It does not enter a
// directory again if it has found nothing below it, so match must depend on nothing but the node.
func Search(ctx context.Context, ds store.Directories, root store.Node, match func(*store.Node) bool) iter.Seq2[Entry, error] {
	return walkEntries(ctx, ds, root, -1, match)
}

// walkEntries is Walk of the nodes that match accepts; nil accepts all.
func walkEntries(
	ctx context.Context, ds store.Directories, root store.Node, depth int, match func(*store.Node) bool,
) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var bare memo[store.Digest, struct{}] // directories below which match accepts nothing
		met, before := 0, []int{}             // entries that were yielded, and for each level those before it
		var path []byte                       // of the node
		ends := []int{0}                      // for each level, the length of its path with a slash
		hand := func(at *trail, n *store.Node, err error) error {
			met++
			if !yield(Entry{string(path), *n, at.depth - 1, at.last}, err) {
				return errStop
			}
			return nil
		}
		w := walker{ctx: ctx, ds: ds, skip: bare.has}
		if depth >= 0 {
			w.deepest = min(depth, store.MaxDepth)
		}
		w.enter = func(at *trail, n *store.Node) (bool, error) {
			if at.up != nil {
				path = append(path[:ends[at.depth-2]], at.name...)
			}
			if match == nil || match(n) {
				if err := hand(at, n, nil); err != nil {
					return false, err
				}
			}
			return at.depth-1 != depth && !bare.has(n.Digest), nil
		}
		w.open = func(at *trail, _ *store.Node, _ store.Directory) (bool, error) {
			if at.up != nil {
				path = append(path, '/')
			}
			before, ends = append(before, met), append(ends[:at.depth-1], len(path))
			return true, nil
		}
		w.leave = func(at *trail) {
			last := len(before) - 1
			if match != nil && met == before[last] {
				bare.put(*at.digest, struct{}{})
			}
			before = before[:last]
		}
		w.failed = func(at *trail, n *store.Node, err error) error {
			if err := hand(at, n, err); err != nil {
				return err
			}
			return ctx.Err()
		}
		w.inOrder(rootTrail(""), root) // its errors were yielded
	}
}

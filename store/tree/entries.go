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

// Matcher says what Search yields. Its functions get a function that returns a path, which takes as long as the path.
type Matcher struct {
	// Match reports whether to yield a node.
	Match func(path func() string, n *store.Node) bool
	// State returns what of the path of a directory matters to what Match says of all that is below it.
	State func(dir func() string) string
}

// Search is Walk of the whole tree, but it yields only errors and the nodes that m matches. It does not enter a directory
// again in a state in which it has found nothing below it. So where nothing is found, a tree that shares directories takes
// the time of its directories, once for each state, and not of its paths.
func Search(ctx context.Context, ds store.Directories, root store.Node, m Matcher) iter.Seq2[Entry, error] {
	return walkEntries(ctx, ds, root, -1, &m)
}

// searchKey is what decides what a search finds below a directory.
type searchKey struct {
	digest store.Digest
	state  string
}

// walkEntries is Walk of the nodes that m matches; nil matches all.
func walkEntries(ctx context.Context, ds store.Directories, root store.Node, depth int, m *Matcher) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var bare memo[searchKey, struct{}]        // directories below which nothing matches
		var bareOnce memo[store.Digest, struct{}] // in some state
		met, before := 0, []searchedLevel{}       // entries that were yielded; the levels down to the node
		var path []byte                           // of the node
		ends := []int{0}                          // for each level, the length of its path with a slash
		where := func() string { return string(path) }
		var key searchKey // of the node, if it is a directory
		hand := func(at *trail, n *store.Node, err error) error {
			met++
			if !yield(Entry{string(path), *n, at.depth - 1, at.last}, err) {
				return errStop
			}
			return nil
		}
		w := walker{ctx: ctx, ds: ds, skip: bareOnce.has}
		if depth >= 0 {
			w.deepest = min(depth, store.MaxDepth)
		}
		w.enter = func(at *trail, n *store.Node) (bool, error) {
			if at.up != nil {
				path = append(path[:ends[at.depth-2]], at.name...)
			}
			if m == nil || m.Match(where, n) {
				if err := hand(at, n, nil); err != nil {
					return false, err
				}
			}
			if m == nil || n.Kind != store.KindDirectory {
				return at.depth-1 != depth, nil
			}
			key = searchKey{n.Digest, m.State(where)}
			return !bare.has(key), nil
		}
		w.open = func(at *trail, _ *store.Node, _ store.Directory) (bool, error) {
			if at.up != nil {
				path = append(path, '/')
			}
			before, ends = append(before, searchedLevel{key, met}), append(ends[:at.depth-1], len(path))
			return true, nil
		}
		w.leave = func(at *trail) {
			l := before[len(before)-1]
			if m != nil && met == l.met {
				bare.put(l.key, struct{}{})
				bareOnce.put(l.key.digest, struct{}{})
			}
			before = before[:len(before)-1]
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

// searchedLevel is a directory on the way down to a node, and how many entries were yielded before it.
type searchedLevel struct {
	key searchKey
	met int
}

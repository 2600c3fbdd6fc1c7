package tree

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"castar/store"
)

// Entry is a node of a tree, and where it is.
type Entry struct {
	Path  string     // from the root, without a slash at its end; "" is the root
	Node  store.Node // with its name
	Depth int        // the number of components in Path
	Last  bool       // nothing follows in the same directory
}

// Walk yields root and what is below it, down to depth components from it, or all where depth is negative.
//
// The order is that of the bytes of the paths, where the path of a directory has a slash at its end: each directory comes
// right before what it holds, and after all that stands before a slash, so "a-b" comes before "a/". It is the order of
// git's trees and of LC_ALL=C sort, and it streams: no more is held than the directories from root to the entry.
// Diff has the same order.
//
// A directory that cannot be read is yielded once more, with the error, which begins with its path and is
// store.ErrNotFound where the store lacks it and store.ErrTooDeep where it is below too many others; what is not below it
// still follows.
func Walk(ctx context.Context, ds store.Directories, root store.Node, depth int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		w := walk{ctx: ctx, ds: ds, depth: depth, yield: yield}
		w.entry(rootPlace(), &root, true)
	}
}

// Search is Walk of the whole tree, but it yields only the nodes that match takes, and errors. It enters a directory below
// which it has found nothing once, wherever else that stands: match must depend on nothing but the node.
func Search(ctx context.Context, ds store.Directories, root store.Node, match func(*store.Node) bool) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		w := walk{ctx: ctx, ds: ds, depth: -1, match: match, yield: yield}
		w.entry(rootPlace(), &root, true)
	}
}

type walk struct {
	ctx   context.Context
	ds    store.Directories
	depth int
	match func(*store.Node) bool // what to yield; nil: everything
	bare  memo[struct{}]         // directories without anything below them that match takes
	met   uint64                 // entries that were yielded
	yield func(Entry, error) bool
}

// entry yields the node at a place and what is below it. It reports whether to go on.
func (w *walk) entry(at *place, n *store.Node, last bool) bool {
	if !w.hand(at, n, last, nil) {
		return false
	}
	if n.Kind != store.KindDirectory || at.depth-1 == w.depth {
		return true
	}
	key := pairKey{new: n.Digest}
	if _, ok := w.bare.get(key); ok {
		return true
	}
	dir, err := getDirectory(w.ctx, w.ds, at, n.Digest)
	if err != nil {
		return w.hand(at, n, last, err) && w.ctx.Err() == nil
	}
	dir, met := inPathOrder(dir), w.met
	for i := range dir {
		if !w.entry(at.child(dir[i].Name), &dir[i], i == len(dir)-1) {
			return false
		}
	}
	if w.match != nil && w.met == met {
		w.bare.put(key, struct{}{})
	}
	return true
}

// hand yields an entry if it is wanted, or an error.
func (w *walk) hand(at *place, n *store.Node, last bool, err error) bool {
	if err == nil && w.match != nil && !w.match(n) {
		return true
	}
	w.met++
	return w.yield(Entry{at.path(), *n, at.depth - 1, last}, err)
}

// getDirectory reads the directory at a place; its errors say where that is. It reads none that is too deep.
func getDirectory(ctx context.Context, ds store.Directories, at *place, d store.Digest) (store.Directory, error) {
	if ds == nil {
		return nil, fmt.Errorf("directories: %w", store.ErrUnsupported)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if at.depth > store.MaxDepth {
		return nil, at.wrap(store.ErrTooDeep)
	}
	dir, err := ds.Get(ctx, d)
	switch {
	case store.IsNotFound(err):
		return nil, fmt.Errorf("%s: directory %s: %w", at, d, store.ErrNotFound)
	case err != nil:
		return nil, at.wrap(err)
	}
	return dir, nil
}

// inPathOrder returns the nodes in the order of Walk. It does not change dir.
func inPathOrder(dir store.Directory) store.Directory {
	order := func(a, b store.Node) int {
		return comparePaths(a.Name, a.Kind == store.KindDirectory, b.Name, b.Kind == store.KindDirectory)
	}
	if !slices.IsSortedFunc(dir, order) {
		dir = slices.Clone(dir)
		slices.SortFunc(dir, order)
	}
	return dir
}

// comparePaths compares two different names of one directory, with a slash at the end of those that say so.
func comparePaths(a string, aSlash bool, b string, bSlash bool) int {
	n := min(len(a), len(b))
	if c := strings.Compare(a[:n], b[:n]); c != 0 {
		return c
	}
	return next(a, aSlash, n) - next(b, bSlash, n)
}

// next returns the byte of name at n, which may be the slash after it, or -1.
func next(name string, slash bool, n int) int {
	switch {
	case n < len(name):
		return int(name[n])
	case slash:
		return '/'
	}
	return -1
}

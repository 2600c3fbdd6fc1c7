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
// store.ErrNotFound where the store lacks it; what is not below it still follows.
func Walk(ctx context.Context, ds store.Directories, root store.Node, depth int) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		w := walk{ctx, ds, depth, yield}
		w.entry(Entry{Node: root, Last: true})
	}
}

type walk struct {
	ctx   context.Context
	ds    store.Directories
	depth int
	yield func(Entry, error) bool
}

// entry yields e and what is below it. It reports whether to go on.
func (w *walk) entry(e Entry) bool {
	if !w.yield(e, nil) {
		return false
	}
	if e.Node.Kind != store.KindDirectory || e.Depth == w.depth {
		return true
	}
	dir, err := getDirectory(w.ctx, w.ds, e.Path, e.Node.Digest)
	if err != nil {
		return w.yield(e, err) && w.ctx.Err() == nil
	}
	dir = inPathOrder(dir)
	for i := range dir {
		if !w.entry(Entry{join(e.Path, dir[i].Name), dir[i], e.Depth + 1, i == len(dir)-1}) {
			return false
		}
	}
	return true
}

// getDirectory reads the directory at path; its errors say where that is.
func getDirectory(ctx context.Context, ds store.Directories, path string, d store.Digest) (store.Directory, error) {
	if ds == nil {
		return nil, fmt.Errorf("directories: %w", store.ErrUnsupported)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dir, err := ds.Get(ctx, d)
	if path == "" {
		path = "."
	}
	switch {
	case store.IsNotFound(err):
		return nil, fmt.Errorf("%s: directory %s: %w", path, d, store.ErrNotFound)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return dir, nil
}

// join appends a name to a path.
func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "/" + name
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

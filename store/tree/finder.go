package tree

import (
	"context"

	"castar/store"
)

// Finder tells which trees a node is part of. It remembers in sets the directories that it has read, so it reads each
// directory once for many trees, except those on the way to one that cannot be read, and the few that a search has read
// ahead when it ends early. It is not for concurrent use.
type Finder struct {
	st             *store.Store
	node           store.Node
	visited, leads store.ObjectSet
	unknown        map[store.Digest]bool // directories that were visited, and below which something could not be read
}

// NewFinder returns a Finder of node, whose name does not matter.
func NewFinder(st *store.Store, node store.Node) *Finder {
	return &Finder{st, node, NewSet(st), NewSet(st), map[store.Digest]bool{}}
}

// In reports whether root is or contains the node: a directory or a file of equal digest, or a symlink of equal target.
func (f *Finder) In(ctx context.Context, root store.Node) (found bool, err error) {
	f.st.Expect(ctx, root)
	w := walker{ctx: ctx, ds: f.st.Directories}
	w.skip = func(d store.Digest) bool { return f.visited.Has(store.KindDirectory, d) && !f.unknown[d] }
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		isDir := n.Kind == store.KindDirectory
		is := n.Kind == f.node.Kind && n.Digest == f.node.Digest && n.Target == f.node.Target
		if is || isDir && f.leads.Has(n.Kind, n.Digest) {
			found = true
			at.addAbove(f.leads)
			return false, errStop
		}
		if !isDir {
			return false, nil
		}
		isNew, err := f.visited.Add(n.Kind, n.Digest)
		return isNew || err != nil || f.unknown[n.Digest], nil
	}
	w.failed = func(at *trail, n *store.Node, err error) error {
		f.unknown[n.Digest] = true
		for up := at.up; up != nil; up = up.up {
			f.unknown[*up.digest] = true
		}
		return err
	}
	return found, w.inOrder(rootTrail(""), root)
}

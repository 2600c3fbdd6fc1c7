package tree

import (
	"context"

	"castar/store"
)

// SizeRule tells by which rule the sizes of directories below root are counted. It is not known where the tree has no
// directory below another one with something in it, or follows neither rule. It reads one directory a level, and takes
// the first that has something in it as a sample: whether all follow the rule is for others to check.
func SizeRule(ctx context.Context, ds store.Directories, root store.Node) (rule store.SizeRule, known bool, err error) {
	if root.Kind != store.KindDirectory {
		return 0, false, nil
	}
	dir, err := getDirectory(ctx, ds, rootTrail(""), root.Digest)
	if err != nil {
		return 0, false, err
	}
	return sizeRule(ctx, ds, dir)
}

// sizeRule is SizeRule for the root dir.
func sizeRule(ctx context.Context, ds store.Directories, dir store.Directory) (rule store.SizeRule, known bool, err error) {
	for _, n := range dir {
		if n.Kind != store.KindDirectory || n.Size == 0 {
			continue
		}
		below, err := getDirectory(ctx, ds, rootTrail("").child(n.Name), n.Digest)
		if err != nil {
			return 0, false, err
		}
		for _, rule := range []store.SizeRule{store.SizeDocumented, store.SizeSnix} {
			if size, err := below.Size(rule); err == nil && size == n.Size && len(below) > 0 {
				return rule, true, nil
			}
		}
		return 0, false, nil
	}
	return 0, false, nil
}

// Entries returns how many entries a tree has, as its directories record it by rule; root itself is none.
func Entries(ctx context.Context, ds store.Directories, root store.Node, rule store.SizeRule) (uint64, error) {
	if root.Kind != store.KindDirectory {
		return 0, nil
	}
	dir, err := getDirectory(ctx, ds, rootTrail(""), root.Digest)
	if err != nil {
		return 0, err
	}
	size, err := dir.Size(rule)
	if rule == store.SizeSnix {
		size /= 2
	}
	return size, err
}

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
	w := walker{ctx: ctx, ds: f.st.Directories}
	w.skip = func(d store.Digest) bool { return f.visited.Has(store.KindDirectory, d) && !f.unknown[d] }
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		isDir := n.Kind == store.KindDirectory
		if n.Kind == f.node.Kind && n.Digest == f.node.Digest && n.Target == f.node.Target || isDir && f.leads.Has(n.Kind, n.Digest) {
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
			f.unknown[up.digest] = true
		}
		return err
	}
	return found, w.inOrder(rootTrail(""), root)
}

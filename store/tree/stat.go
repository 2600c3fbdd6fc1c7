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
	dir, err := getDirectory(ctx, ds, rootPlace(), root.Digest)
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
		below, err := getDirectory(ctx, ds, rootPlace().child(n.Name), n.Digest)
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
	dir, err := getDirectory(ctx, ds, rootPlace(), root.Digest)
	if err != nil {
		return 0, err
	}
	size, err := dir.Size(rule)
	if rule == store.SizeSnix {
		size /= 2
	}
	return size, err
}

// Finder tells which trees a node is part of. It remembers the directories that it has read in sets, so that asking
// about many trees reads each directory once, but for those on the way to one that cannot be read. It is not for
// concurrent use.
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
func (f *Finder) In(ctx context.Context, root store.Node) (bool, error) {
	return f.in(ctx, rootPlace(), root)
}

func (f *Finder) in(ctx context.Context, at *place, n store.Node) (bool, error) {
	if n.Kind == f.node.Kind && n.Digest == f.node.Digest && n.Target == f.node.Target {
		return true, nil
	}
	if n.Kind != store.KindDirectory {
		return false, nil
	}
	isNew, err := f.visited.Add(n.Kind, n.Digest)
	if err == nil && !isNew && !f.unknown[n.Digest] {
		return f.leads.Has(n.Kind, n.Digest), nil
	}
	dir, err := getDirectory(ctx, f.st.Directories, at, n.Digest)
	if err != nil {
		f.unknown[n.Digest] = true
		return false, err
	}
	for i := range dir {
		found, err := f.in(ctx, at.child(dir[i].Name), dir[i])
		if err != nil {
			f.unknown[n.Digest] = true
			return false, err
		}
		if found {
			_, err := f.leads.Add(n.Kind, n.Digest)
			return true, err
		}
	}
	return false, nil
}

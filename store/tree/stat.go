package tree

import (
	"context"
	"slices"

	"castar/store"
)

// SizeRule tells by which rule the sizes of directories below root are counted. It takes the first directory that has
// something in it as a sample, and does not check whether all follow the rule. The rule is not known if no directory
// below root has something in it, or if the sample follows neither rule.
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
	sample := slices.IndexFunc(dir, func(n store.Node) bool { return n.Kind == store.KindDirectory && n.Size > 0 })
	if sample < 0 {
		return 0, false, nil
	}
	below, err := getDirectory(ctx, ds, rootTrail("").child(dir[sample].Name), dir[sample].Digest)
	if err != nil || len(below) == 0 {
		return 0, false, err
	}
	rule, known = ruleOf(below, dir[sample].Size)
	return rule, known, nil
}

// ruleOf returns the rule by which dir has a size.
func ruleOf(dir store.Directory, size uint64) (store.SizeRule, bool) {
	for _, rule := range []store.SizeRule{store.SizeDocumented, store.SizeSnix} {
		if got, err := dir.Size(rule); err == nil && got == size {
			return rule, true
		}
	}
	return 0, false
}

// Entries returns how many entries a tree has below its root. It counts on the sizes that directories record by rule.
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

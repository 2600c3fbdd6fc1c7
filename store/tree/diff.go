package tree

import (
	"cmp"
	"context"
	"iter"
	"slices"
	"strings"

	"castar/store"
)

// Op is what happened to an entry between two trees, as one letter.
type Op byte

// The kinds of change. Where both its contents and its executable bit changed, a file is Modified.
const (
	Added      Op = '+'
	Removed    Op = '-'
	Modified   Op = 'M' // a file has other contents
	Executable Op = 'X' // a file may be run now, or may no longer
	Retyped    Op = 'T' // one kind of node became another
	Retargeted Op = 'L' // a symlink points elsewhere
	Renamed    Op = 'R' // the same thing is elsewhere
)

// Change is one difference between two trees.
type Change struct {
	Op   Op
	Path string     // in the new tree, or of what was removed in the old one; "" is the root
	From string     // of what was renamed: the path in the old tree
	Old  store.Node // no kind: there is none
	New  store.Node // no kind: there is none
}

// IsDirectory reports whether the change is about a directory, be it of one of the two trees only.
func (c *Change) IsDirectory() bool {
	return c.Old.Kind == store.KindDirectory || c.New.Kind == store.KindDirectory
}

// Side is one of two trees to compare, and where its directories are.
type Side struct {
	Directories store.Directories
	Root        store.Node
}

// DiffOptions says what to compare.
type DiffOptions struct {
	Recursive bool     // yield what is below an added or removed directory, too
	NoRenames bool     // yield what was renamed as removed and added
	Paths     []string // only what is at or below one of these, as Lookup takes paths; none: all
	TooMany   func()   // called if so much was added and removed that not all renames were looked for; may be nil
}

// Diff yields what changed from a to b, in the order of Walk, where what is or was a directory counts as one. It never
// reads directories that have the same digest on both sides, so that its cost follows the change. It ends with the
// first error.
//
// A directory that was added or removed is one change, and so is one that was renamed: it has an equal digest on both
// sides, which holds for files with an equal executable bit and for symlinks with an equal target as well. Whatever is
// empty is not taken to be renamed. Renames are looked for below added and removed directories, too, and yielded even
// if the rest there is not. That needs all that was added and removed in memory, up to some hundred thousand entries, and
// reads what changed twice, where both happened; what is beyond that is added and removed. With NoRenames, memory is
// that of two directories for each level of the trees.
//
// Two directories below which nothing changed are compared once, wherever else they stand. The number of changes has no
// such bound: a tree of a few directories that are shared over and over has more paths than anybody could read.
//
// Directories that differ only in the sizes they record, such as by their size rule, are the same.
func Diff(ctx context.Context, a, b Side, o DiffOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d, err := newDiffer(ctx, a, b, o)
		if err != nil {
			yield(Change{}, err)
			return
		}
		d.yield = yield
		d.pair(rootTrail(""), a.Root, b.Root)
	}
}

// newDiffer returns a comparison that has looked for renames.
func newDiffer(ctx context.Context, a, b Side, o DiffOptions) (d differ, err error) {
	d = differ{ctx: ctx, a: a.Directories, b: b.Directories, recursive: o.Recursive}
	err = d.within.set(o.Paths)
	if err == nil && !o.NoRenames {
		d.renames, err = findRenames(d, a.Root, b.Root)
	}
	if err == nil && d.renames.tooMany && o.TooMany != nil {
		o.TooMany()
	}
	return d, err
}

// differ is one comparison. Its methods report whether to go on.
type differ struct {
	ctx       context.Context
	a, b      store.Directories
	recursive bool
	within    scope
	renames   renames
	moves     *search                 // not nil: changes that are no part of a rename do not matter
	met       uint64                  // changes that were met and matter
	quiet     memo[pairKey, struct{}] // directories below which there is none
	yield     func(Change, error) bool
}

// pair compares the two nodes at path, either of which may be missing.
func (d *differ) pair(at *trail, old, new store.Node) bool {
	if old.Kind != new.Kind || old.Kind != store.KindDirectory && d.moves == nil {
		d.met++
	}
	switch {
	case same(old, new):
		return true
	case old.Kind == 0:
		return d.added(at, new)
	case new.Kind == 0:
		return d.removed(at, old)
	case old.Kind != new.Kind:
		return d.change(Change{Op: Retyped, Path: at.path(), Old: old, New: new}) && d.below(at, old, new)
	case old.Kind == store.KindDirectory:
		return d.children(at, old, new)
	}
	return d.change(Change{Op: opOf(old, new), Path: at.path(), Old: old, New: new})
}

// opOf returns what happened to what is no directory, and is of the same kind in both trees.
func opOf(old, new store.Node) Op {
	switch {
	case old.Kind == store.KindSymlink:
		return Retargeted
	case old.Digest == new.Digest && old.Size == new.Size:
		return Executable
	}
	return Modified
}

// same reports whether two nodes hold the same.
func same(a, b store.Node) bool {
	if a.Kind == store.KindDirectory && b.Kind == store.KindDirectory {
		return a.Digest == b.Digest
	}
	a.Name, b.Name = "", ""
	return a == b
}

// change yields c if it is to be looked at.
func (d *differ) change(c Change) bool {
	return !d.within.inside(c.Path) || d.yield(c, nil)
}

func (d *differ) added(at *trail, n store.Node) bool {
	path := at.path()
	if from, ok := d.renames.to[path]; ok {
		return d.change(Change{Op: Renamed, Path: path, From: from.path, Old: from.node, New: n})
	}
	return d.change(Change{Op: Added, Path: path, New: n}) && d.below(at, store.Node{}, n)
}

func (d *differ) removed(at *trail, n store.Node) bool {
	path := at.path()
	if _, ok := d.renames.from[path]; ok {
		return true // it has a line where it is now
	}
	return d.change(Change{Op: Removed, Path: path, Old: n}) && d.below(at, n, store.Node{})
}

// below looks into directories that have no counterpart, where that is asked for.
func (d *differ) below(at *trail, old, new store.Node) bool {
	path := at.path()
	if d.recursive || !d.within.inside(path) {
		return d.children(at, old, new)
	}
	if _, ok := d.renames.above[path]; !ok || new.Kind != store.KindDirectory {
		return true
	}
	dir, err := getDirectory(d.ctx, d.b, at, new.Digest)
	if err != nil {
		return d.fail(err)
	}
	for _, n := range inPathOrder(dir) {
		entry := at.child(n.Name)
		if _, ok := d.renames.to[entry.path()]; ok {
			if !d.added(entry, n) {
				return false
			}
		} else if !d.below(entry, store.Node{}, n) {
			return false
		}
	}
	return true
}

// children compares what two nodes hold. One that is no directory holds nothing.
func (d *differ) children(at *trail, old, new store.Node) bool {
	whole, some := d.within.covers(at)
	key := keyOf(old, new)
	if _, ok := d.quiet.get(key); !some || whole && ok {
		return true
	}
	if d.moves != nil && !d.moves.enter(key) {
		return false
	}
	both, err := d.pairs(at, old, new)
	if err != nil {
		return d.fail(err)
	}
	met := d.met
	for _, p := range both {
		if !d.pair(at.child(p.name()), p[0], p[1]) {
			return false
		}
	}
	if whole && d.met == met {
		d.quiet.put(key, struct{}{})
	}
	return true
}

// keyOf returns the key of what two nodes hold.
func keyOf(old, new store.Node) (k pairKey) {
	if old.Kind == store.KindDirectory {
		k.old = old.Digest
	}
	if new.Kind == store.KindDirectory {
		k.new = new.Digest
	}
	return k
}

// pairs returns what differs between what two nodes hold, in the order of Diff.
func (d *differ) pairs(at *trail, old, new store.Node) ([]nodePair, error) {
	var dirs [2]store.Directory
	for i, side := range []struct {
		ds store.Directories
		n  store.Node
	}{{d.a, old}, {d.b, new}} {
		if side.n.Kind != store.KindDirectory {
			continue
		}
		var err error
		if dirs[i], err = getDirectory(d.ctx, side.ds, at, side.n.Digest); err != nil {
			return nil, err
		}
	}
	return pairs(dirs[0], dirs[1]), nil
}

// fail ends the comparison.
func (d *differ) fail(err error) bool {
	d.yield(Change{}, err)
	return false
}

// nodePair is the nodes of one name in two directories, either of which may be missing.
type nodePair [2]store.Node

func (p *nodePair) name() string { return cmp.Or(p[0].Name, p[1].Name) }

func (p *nodePair) slash() bool {
	return p[0].Kind == store.KindDirectory || p[1].Kind == store.KindDirectory
}

// pairs returns the nodes that differ, in the order of Diff.
func pairs(a, b store.Directory) (all []nodePair) {
	for p := range zip(a, b) {
		if !same(p[0], p[1]) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(p, q nodePair) int { return comparePaths(p.name(), p.slash(), q.name(), q.slash()) })
	return all
}

// zip yields the nodes of two directories by their names.
func zip(a, b store.Directory) iter.Seq[nodePair] {
	return func(yield func(nodePair) bool) {
		for len(a) > 0 || len(b) > 0 {
			var p nodePair
			inBoth := len(a) > 0 && len(b) > 0
			if len(b) == 0 || inBoth && a[0].Name <= b[0].Name {
				p[0] = a[0]
			}
			if len(a) == 0 || inBoth && b[0].Name <= a[0].Name {
				p[1] = b[0]
			}
			if p[0].Kind != 0 {
				a = a[1:]
			}
			if p[1].Kind != 0 {
				b = b[1:]
			}
			if !yield(p) {
				return
			}
		}
	}
}

// scope is the paths that a comparison is restricted to. The zero scope is all.
type scope struct{ paths []string }

func (s *scope) set(paths []string) error {
	for _, p := range paths {
		parts, err := components(p)
		if err != nil {
			return err
		}
		s.paths = append(s.paths, strings.Join(parts, "/"))
	}
	return nil
}

// inside reports whether path is in the scope.
func (s *scope) inside(path string) bool {
	return s.paths == nil || slices.ContainsFunc(s.paths, func(p string) bool { return hasParent(path, p) })
}

// leadsInto reports whether there may be something in the scope below path.
func (s *scope) leadsInto(path string) bool {
	return s.inside(path) || slices.ContainsFunc(s.paths, func(p string) bool { return hasParent(p, path) })
}

// covers reports whether all below a place is in the scope, and whether something may be.
func (s *scope) covers(at *trail) (whole, some bool) {
	if s.paths == nil {
		return true, true
	}
	path := at.path()
	return s.inside(path), s.leadsInto(path)
}

// hasParent reports whether path is dir or below it.
func hasParent(path, dir string) bool {
	return dir == "" || strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

// pairKey is two directories that are compared. A zero digest stands for none.
type pairKey struct{ old, new store.Digest }

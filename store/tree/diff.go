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

// The kinds of change. A file whose contents and executable bit both changed is Modified.
const (
	Added      Op = '+'
	Removed    Op = '-'
	Modified   Op = 'M' // a file has other contents
	Executable Op = 'X' // a file became executable, or ceased to be
	Retyped    Op = 'T' // one kind of node became another
	Retargeted Op = 'L' // a symlink points elsewhere
	Renamed    Op = 'R' // the same thing is elsewhere
)

// Change is one difference between two trees.
type Change struct {
	Op   Op
	Path string     // in the new tree, or for Removed in the old one; "" is the root
	From string     // for Renamed: the path in the old tree
	Old  store.Node // no kind: there is none
	New  store.Node // no kind: there is none
}

// IsDirectory reports whether the change is about a directory, in either tree.
func (c *Change) IsDirectory() bool {
	return c.Old.Kind == store.KindDirectory || c.New.Kind == store.KindDirectory
}

// Side is one of two trees to compare, and where its directories are.
type Side struct {
	Directories store.Directories
	Root        store.Node
}

// DiffOptions say what to compare.
type DiffOptions struct {
	Recursive bool      // also yield what is below an added or removed directory
	NoRenames bool      // yield what was renamed as removed and added
	Paths     []string  // only what is at or below one of these, as Lookup takes paths; none: all
	Many      func(int) // called once if many directories of a, 0, or of b, 1, were read; may be nil
	TooMany   func()    // called if there were too many changes to search for all renames; may be nil

	// Both is called for each entry that both sides have and that is of the same kind, the roots included. Diff yields a
	// Change for each Op that it returns, after that of the entry itself. With it, Diff also reads directories whose digest
	// is the same on both sides. It may be nil.
	Both func(path string, old, new *store.Node) []Op
}

// Diff yields what changed from a to b, in the order of Walk. What is or was a directory sorts as one. Diff never reads
// directories that have the same digest on both sides, so its cost follows the change. It ends with the first error.
//
// A directory that was added or removed is one change, and so is a renamed one. What was renamed has an equal digest on
// both sides. Files must also have an equal executable bit, and symlinks an equal target. Nothing empty counts as
// renamed. Diff also searches for renames below added and removed directories, and yields them even if it does not
// yield the rest there. To do so, it holds all that was added and removed in memory, up to some hundred thousand
// entries, and reads twice what changed. Entries beyond that are added and removed. With NoRenames it holds two
// directories for each level of the trees, and a bounded number that it reads ahead.
//
// Diff compares two directories once if nothing changed below them, wherever else they are. The number of changes has
// no such bound: a tree of a few directories that are shared over and over has more paths than anybody could read.
//
// Directories that differ only in the sizes they record, such as by their size rule, are the same.
func Diff(ctx context.Context, a, b Side, o DiffOptions) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		d, err := newDiffer(ctx, a, b, o)
		defer d.close()
		if err != nil {
			yield(Change{}, err)
			return
		}
		d.yield, d.both = yield, o.Both
		d.pair(rootTrail(""), a.Root, b.Root)
	}
}

// newDiffer returns a comparison that has looked for renames. It must be closed, even after an error.
func newDiffer(ctx context.Context, a, b Side, o DiffOptions) (d differ, err error) {
	d = differ{recursive: o.Recursive}
	for i, s := range []Side{a, b} {
		d.sides[i] = newReader(ctx, s.Directories, store.MaxDepth)
		if o.Many != nil {
			d.sides[i].expect = func() { o.Many(i) }
		}
	}
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
	sides     [2]*reader
	recursive bool
	within    scope
	renames   renames
	moves     *search                 // not nil: changes that are no part of a rename do not matter
	counted   *diffCounter            // not nil: changes are counted only
	met       uint64                  // changes that were met and matter
	quiet     memo[pairKey, struct{}] // directories below which there is none
	yield     func(Change, error) bool
	both      func(path string, old, new *store.Node) []Op // or nil
}

func (d *differ) close() {
	for _, r := range d.sides {
		r.close()
	}
}

// pair compares two nodes, either of which may be missing.
func (d *differ) pair(at *trail, old, new store.Node) bool {
	if old.Kind != new.Kind || old.Kind != store.KindDirectory && d.moves == nil && !same(old, new) {
		d.met++
	}
	switch {
	case d.both == nil && same(old, new):
		return true
	case old.Kind == 0:
		return d.added(at, new)
	case new.Kind == 0:
		return d.removed(at, old)
	case old.Kind != new.Kind:
		return d.change(at, Change{Op: Retyped, Old: old, New: new}) && d.below(at, old, new)
	case old.Kind == store.KindDirectory:
		return d.more(at, old, new) && d.children(at, old, new)
	}
	return (same(old, new) || d.change(at, Change{Op: opOf(old, new), Old: old, New: new})) && d.more(at, old, new)
}

// more yields what DiffOptions.Both says of two nodes of the same kind.
func (d *differ) more(at *trail, old, new store.Node) bool {
	if d.both == nil {
		return true
	}
	path := at.path()
	if !d.within.inside(path) {
		return true
	}
	for _, op := range d.both(path, &old, &new) {
		if !d.yield(Change{Op: op, Path: path, Old: old, New: new}, nil) {
			return false
		}
	}
	return true
}

func opOf(old, new store.Node) Op {
	switch {
	case old.Kind == store.KindSymlink:
		return Retargeted
	case old.Digest == new.Digest && old.Size == new.Size:
		return Executable
	}
	return Modified
}

func same(a, b store.Node) bool {
	if a.Kind == store.KindDirectory && b.Kind == store.KindDirectory {
		return a.Digest == b.Digest
	}
	a.Name, b.Name = "", ""
	return a == b
}

// change yields c if its path is in the scope.
func (d *differ) change(at *trail, c Change) bool {
	if d.counted == nil || d.within.paths != nil {
		c.Path = at.path()
	}
	return !d.within.inside(c.Path) || d.yield(c, nil)
}

func (d *differ) added(at *trail, n store.Node) bool {
	if len(d.renames.to) > 0 {
		if from, ok := d.renames.to[at.path()]; ok {
			return d.change(at, Change{Op: Renamed, From: from.path, Old: from.node, New: n})
		}
	}
	return d.change(at, Change{Op: Added, New: n}) && d.below(at, store.Node{}, n)
}

func (d *differ) removed(at *trail, n store.Node) bool {
	if len(d.renames.from) > 0 {
		if _, ok := d.renames.from[at.path()]; ok {
			return true // it has a line where it is now
		}
	}
	return d.change(at, Change{Op: Removed, Old: n}) && d.below(at, n, store.Node{})
}

// below looks into directories that have no counterpart, if that is wanted.
func (d *differ) below(at *trail, old, new store.Node) bool {
	if d.recursive {
		return d.children(at, old, new)
	}
	path := at.path()
	if !d.within.inside(path) {
		return d.children(at, old, new)
	}
	if _, ok := d.renames.above[path]; !ok || new.Kind != store.KindDirectory {
		return true
	}
	dir, err := d.sides[1].get(at, new.Digest)
	if err != nil {
		return d.fail(err)
	}
	for _, n := range inPathOrder(dir) {
		entry := at.child(n.Name)
		below := d.below
		if _, ok := d.renames.to[entry.path()]; ok {
			below = func(at *trail, _, new store.Node) bool { return d.added(at, new) }
		}
		if !below(entry, store.Node{}, n) {
			return false
		}
	}
	return true
}

// children compares what two nodes hold. A node that is no directory holds nothing.
func (d *differ) children(at *trail, old, new store.Node) bool {
	whole, some := d.within.covers(at)
	key := keyOf(old, new)
	switch {
	case !some || whole && d.isQuiet(key):
		return true
	case whole && d.counted != nil:
		return d.counted.below(key, func() bool { return d.entries(at, old, new) })
	case d.moves != nil && !d.moves.enter(key):
		return false
	}
	met := d.met
	if !d.entries(at, old, new) {
		return false
	}
	if whole && d.met == met {
		d.quiet.put(key, struct{}{})
	}
	return true
}

// isQuiet reports whether there is nothing to yield below two directories.
func (d *differ) isQuiet(key pairKey) bool { return d.both == nil && d.quiet.has(key) }

// entries compares the entries of two nodes, in the order of Diff.
func (d *differ) entries(at *trail, old, new store.Node) bool {
	var dirs [2]store.Directory
	for i, n := range [2]store.Node{old, new} {
		if n.Kind != store.KindDirectory {
			continue
		}
		if i == 1 && old.Kind == new.Kind && old.Digest == new.Digest {
			dirs[1] = dirs[0]
			continue
		}
		var err error
		if dirs[i], err = d.sides[i].get(at, n.Digest); err != nil {
			return d.fail(err)
		}
	}
	all, ahead := pairs(dirs[0], dirs[1], d.both != nil), 0
	for i, p := range all {
		for ahead = max(ahead, i+1); ahead < min(i+aheadWindow, len(all)); ahead++ {
			d.readAhead(at, &all[ahead])
		}
		if !d.pair(at.child(p.name()), p[0], p[1]) {
			return false
		}
	}
	return true
}

// readAhead begins to read directories that will be compared soon.
func (d *differ) readAhead(at *trail, p *nodePair) {
	key := keyOf(p[0], p[1])
	known := d.isQuiet(key) || d.counted != nil && d.counted.known.has(key)
	if known || d.within.paths != nil || !d.recursive && p[0].Kind != p[1].Kind {
		return
	}
	for i, n := range p {
		if n.Kind == store.KindDirectory && (i == 0 || !same(p[0], n)) {
			d.sides[i].begin(at, n.Digest)
		}
	}
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

// pairKey is two directories that are compared. A zero digest stands for none.
type pairKey struct{ old, new store.Digest }

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

// pairs returns the nodes that differ, or all nodes if equal is set, in the order of Diff.
func pairs(a, b store.Directory, equal bool) (all []nodePair) {
	for p := range zip(a, b) {
		if equal || !same(p[0], p[1]) {
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
			order := len(b) - len(a) // if one has ended
			if len(a) > 0 && len(b) > 0 {
				order = strings.Compare(a[0].Name, b[0].Name)
			}
			if order <= 0 {
				p[0], a = a[0], a[1:]
			}
			if order >= 0 {
				p[1], b = b[0], b[1:]
			}
			if !yield(p) {
				return
			}
		}
	}
}

// scope is the paths that a comparison is restricted to. The zero scope is everything.
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

// covers reports whether everything below a node is in the scope, and whether something may be.
func (s *scope) covers(at *trail) (whole, some bool) {
	if s.paths == nil {
		return true, true
	}
	path := at.path()
	whole = s.inside(path)
	return whole, whole || slices.ContainsFunc(s.paths, func(p string) bool { return hasParent(p, path) })
}

// hasParent reports whether path is dir or below it.
func hasParent(path, dir string) bool {
	return dir == "" || strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}

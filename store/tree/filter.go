package tree

import (
	"context"
	"path"
	"slices"

	"castar/store"
)

// Filter leaves entries out of a tree, directory by directory from its root down.
type Filter interface {
	// Enter returns what stays of dir, and the Filter of the directories in it. It may not change dir. What it returns
	// may depend on nothing but dir, what dir reaches, its path, and the Filters above.
	Enter(ctx context.Context, path Path, dir store.Directory) (kept store.Directory, below Filter, err error)
	// Key returns a comparable value, or nil. Filters with the same Key say the same of a directory and of what is below
	// it. Nil says that the answers depend on the path, so that each path to a directory has to be filtered.
	Key(path Path) any
}

// Path is the path of a directory in its tree. To build it takes time in proportion to its depth.
type Path struct{ at *trail }

// Name returns the last name of the path, or "" for the root.
func (p Path) Name() string { return p.at.name }

// String returns the whole path, or "" for the root.
func (p Path) String() string { return p.at.path() }

// FilterOptions say how two trees are filtered.
type FilterOptions struct {
	// Filters of the two sides; nil leaves a side as it is.
	Filters [2]Filter
	// Whole filters all of both trees. Otherwise, directories that are the same on both sides stay as they are. That is
	// right only if both filters say the same of them. Diff does not look at these directories; CountDiff does not count
	// what they hold.
	Whole bool
}

// FilterSides returns two sides to compare as they would have been stored without what the filters leave out: each with
// its own digests, and with sizes by the rule that it follows. It filters a directory once, wherever it stands, unless
// a Filter says that its path matters. It keeps changed directories in memory, encoded.
func FilterSides(ctx context.Context, sides [2]Side, o FilterOptions) ([2]Side, error) {
	f := filtering{ctx: ctx, whole: o.Whole}
	for i, s := range sides {
		f.kept[i] = newOverlay(s.Directories)
		if o.Filters[i] != nil {
			var err error
			if f.kept[i].rule, _, err = SizeRule(ctx, s.Directories, s.Root); err != nil {
				return sides, err
			}
		}
	}
	roots, err := f.pair(rootTrail(""), nodePair{sides[0].Root, sides[1].Root}, o.Filters)
	if err != nil {
		return sides, err
	}
	for i := range sides {
		if o.Filters[i] != nil {
			sides[i] = Side{Directories: f.kept[i], Root: roots[i]}
		}
	}
	return sides, nil
}

// filtering is one call of FilterSides.
type filtering struct {
	ctx   context.Context
	whole bool
	kept  [2]*overlay
	known memo[filterKey, [2]replacement]
}

// filterKey is what decides what becomes of two nodes.
type filterKey struct {
	pairKey
	filters [2]any
}

// replacement is what a directory becomes.
type replacement struct {
	changed bool
	digest  store.Digest
	size    uint64
}

// pair filters two nodes of one name, either of which may be missing, and all below them.
func (f *filtering) pair(at *trail, nodes nodePair, filters [2]Filter) (nodePair, error) {
	meet := !f.whole && nodes[0].Kind == store.KindDirectory && nodes[1].Kind == store.KindDirectory
	if meet && nodes[0].Digest == nodes[1].Digest {
		return nodes, nil
	}
	key, known := filterKey{pairKey: keyOf(nodes[0], nodes[1])}, true
	for i := range nodes {
		if nodes[i].Kind != store.KindDirectory {
			filters[i] = nil
		} else if filters[i] != nil {
			key.filters[i] = filters[i].Key(Path{at})
			known = known && key.filters[i] != nil
		}
	}
	if filters == [2]Filter{} {
		return nodes, nil
	}
	become, ok := f.known.get(key)
	if !ok || !known {
		var err error
		if become, err = f.directories(at, nodes, filters, meet); err != nil {
			return nodes, err
		}
		if known {
			f.known.put(key, become)
		}
	}
	for i, r := range become {
		if r.changed {
			nodes[i].Digest, nodes[i].Size = r.digest, r.size
		}
	}
	return nodes, nil
}

// directories filters the directories of one path, at least one of which has a filter. meet says that both sides have
// one there, and that equal entries stay as they are.
func (f *filtering) directories(at *trail, nodes nodePair, filters [2]Filter, meet bool) (become [2]replacement, err error) {
	var dirs, kept, filtered [2]store.Directory
	for i, n := range nodes {
		if filters[i] == nil && !meet {
			continue
		}
		if dirs[i], err = getDirectory(f.ctx, f.kept[i].Under, at, n.Digest); err != nil {
			return become, err
		}
		kept[i] = dirs[i]
		if filters[i] != nil {
			if kept[i], filters[i], err = filters[i].Enter(f.ctx, Path{at}, dirs[i]); err != nil {
				return become, err
			}
		}
	}
	for p := range zip(kept[0], kept[1]) {
		if p, err = f.pair(at.child(p.name()), p, filters); err != nil {
			return become, err
		}
		for i := range p {
			if p[i].Kind != 0 {
				filtered[i] = append(filtered[i], p[i])
			}
		}
	}
	for i := range nodes {
		if filters[i] == nil || slices.Equal(filtered[i], dirs[i]) {
			continue
		}
		become[i].changed = true
		if become[i].digest, become[i].size, err = f.kept[i].put(filtered[i]); err != nil {
			return become, at.wrap(err)
		}
	}
	return become, nil
}

// overlay keeps directories that became others.
type overlay struct {
	store.Overlay
	rule store.SizeRule
}

func newOverlay(ds store.Directories) *overlay { return &overlay{Overlay: store.Overlay{Under: ds}} }

// put keeps a directory, and returns its digest and its size.
func (o *overlay) put(dir store.Directory) (d store.Digest, size uint64, err error) {
	if d, err = o.Put(context.Background(), dir); err == nil {
		size, err = dir.Size(o.rule)
	}
	return d, size, err
}

// Choice says what becomes of an entry that Pick is asked about.
type Choice int

const (
	LeaveOut Choice = iota // it, and all that is below it
	LookIn                 // a directory stays if something below it does; anything else is left out
	Take                   // it stays, and a directory also if nothing below it does
)

// Pick returns root without what choose leaves out, and directories in which to find it, which also have everything that
// stays as it is. choose is called for each entry of a directory that it does not leave out; taken says that a directory
// above is taken. What it says of the entries below two directories may depend on the paths of these only so far as state
// gives another text for each; so a tree that shares directories takes the time of its directories, and not of its paths.
// ds is not changed: directories that become others are kept in memory, encoded.
func Pick(ctx context.Context, ds store.Directories, root store.Node,
	choose func(path string, n *store.Node, taken bool) Choice, state func(dir string) string) (store.Directories, store.Node, error) {
	if root.Kind != store.KindDirectory {
		return ds, root, nil
	}
	p := picking{ctx: ctx, kept: newOverlay(ds), choose: choose, state: state}
	var err error
	if p.kept.rule, _, err = SizeRule(ctx, ds, root); err != nil {
		return ds, root, err
	}
	root, _, err = p.directory("", root, false, 1)
	return p.kept, root, err
}

// picking is one call of Pick.
type picking struct {
	ctx    context.Context
	kept   *overlay
	choose func(path string, n *store.Node, taken bool) Choice
	state  func(dir string) string
	known  memo[pickKey, picked]
}

// pickKey is what decides what becomes of a directory.
type pickKey struct {
	digest store.Digest
	taken  bool
	state  string
}

// picked is what became of a directory.
type picked struct {
	digest store.Digest
	size   uint64
	some   bool // is left in it
}

// directory returns what becomes of the directory n, and whether anything is left in it.
func (p *picking) directory(at string, n store.Node, taken bool, depth int) (store.Node, bool, error) {
	if depth > store.MaxDepth {
		return n, false, store.ErrTooDeep
	}
	key := pickKey{n.Digest, taken, p.state(at)}
	become, ok := p.known.get(key)
	if !ok {
		var err error
		if become, err = p.pick(at, n, taken, depth); err != nil {
			return n, false, err
		}
		p.known.put(key, become)
	}
	n.Digest, n.Size = become.digest, become.size
	return n, become.some, nil
}

// pick is directory for one that was not met in this state.
func (p *picking) pick(at string, n store.Node, taken bool, depth int) (become picked, err error) {
	dir, err := p.kept.Get(p.ctx, n.Digest)
	if err != nil {
		return become, store.About("directory", n.Digest, err)
	}
	left := make(store.Directory, 0, len(dir))
	for _, child := range dir {
		name := path.Join(at, child.Name)
		choice := p.choose(name, &child, taken)
		isDir, stays := child.Kind == store.KindDirectory, choice == Take
		if choice != LeaveOut && isDir {
			var some bool
			if child, some, err = p.directory(name, child, taken || stays, depth+1); err != nil {
				return become, err
			}
			stays = stays || some
		}
		if stays {
			left = append(left, child)
		}
	}
	become.some = len(left) > 0
	if slices.Equal(left, dir) {
		become.digest = n.Digest
		become.size, err = dir.Size(p.kept.rule)
		return become, err
	}
	become.digest, become.size, err = p.kept.put(left)
	return become, err
}

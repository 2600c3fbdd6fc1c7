package tree

import (
	"context"
	"iter"
	"slices"

	"castar/store"
)

// Filter leaves entries out of a tree, directory by directory from its root down.
type Filter interface {
	// Enter returns what stays of dir, the directory at path, and the Filter of the directories in it. It may not change
	// dir. What it says may depend on nothing but dir, what it reaches, path, and what was said above.
	Enter(ctx context.Context, path string, dir store.Directory) (kept store.Directory, below Filter, err error)
}

// FilterOptions says how two trees are filtered.
type FilterOptions struct {
	// Filters of the two sides; nil leaves a side as it is.
	Filters [2]Filter
	// Whole has all of both trees filtered. Otherwise directories that are the same on both sides stay as they are, which
	// takes that both filters say the same of them; Diff does not look at those, and what they hold is not counted.
	Whole bool
}

// FilterSides returns two sides to compare as they would have been stored without what the filters leave out: each with
// its own digests and sizes, by the rule that it follows. Directories that change are kept in memory, encoded.
func FilterSides(ctx context.Context, sides [2]Side, o FilterOptions) ([2]Side, error) {
	f := filtering{ctx: ctx, o: o}
	roots := [2]store.Node{sides[0].Root, sides[1].Root}
	for i, s := range sides {
		f.kept[i] = &overlay{Directories: s.Directories, messages: map[store.Digest][]byte{}}
		if o.Filters[i] != nil {
			var err error
			if f.rules[i], _, err = SizeRule(ctx, s.Directories, s.Root); err != nil {
				return sides, err
			}
		}
	}
	roots, err := f.pair(rootTrail(""), roots, o.Filters)
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
	o     FilterOptions
	rules [2]store.SizeRule
	kept  [2]*overlay
}

// pair filters the two nodes at a place, either of which may be missing, and all below them.
func (f *filtering) pair(at *trail, nodes [2]store.Node, filters [2]Filter) ([2]store.Node, error) {
	both := nodes[0].Kind == store.KindDirectory && nodes[1].Kind == store.KindDirectory
	if both && !f.o.Whole && nodes[0].Digest == nodes[1].Digest {
		return nodes, nil
	}
	var dirs, kept [2]store.Directory
	for i, n := range nodes {
		toMeet := both && !f.o.Whole && filters[1-i] != nil // what the other side has there is compared with it
		if n.Kind != store.KindDirectory || filters[i] == nil && !toMeet {
			filters[i] = nil
			continue
		}
		var err error
		if dirs[i], err = getDirectory(f.ctx, f.kept[i].Directories, at, n.Digest); err != nil {
			return nodes, err
		}
		kept[i] = dirs[i]
		if filters[i] != nil {
			if kept[i], filters[i], err = filters[i].Enter(f.ctx, at.path(), dirs[i]); err != nil {
				return nodes, err
			}
		}
		kept[i] = slices.Clone(kept[i])
	}
	if filters == [2]Filter{} {
		return nodes, nil
	}
	if err := f.children(at, kept, filters); err != nil {
		return nodes, err
	}
	for i := range nodes {
		if filters[i] != nil && !slices.Equal(kept[i], dirs[i]) {
			if err := f.replace(i, at, &nodes[i], kept[i]); err != nil {
				return nodes, err
			}
		}
	}
	return nodes, nil
}

// children filters what is in two directories at a place.
func (f *filtering) children(at *trail, dirs [2]store.Directory, filters [2]Filter) error {
	for a, b := dirs[0], dirs[1]; len(a) > 0 || len(b) > 0; {
		var next [2]*store.Node
		if len(b) == 0 || len(a) > 0 && a[0].Name <= b[0].Name {
			next[0] = &a[0]
		}
		if len(a) == 0 || len(b) > 0 && b[0].Name <= a[0].Name {
			next[1] = &b[0]
		}
		var nodes [2]store.Node
		var name string
		for i, n := range next {
			if n != nil {
				nodes[i], name = *n, n.Name
			}
		}
		nodes, err := f.pair(at.child(name), nodes, filters)
		if err != nil {
			return err
		}
		if next[0] != nil {
			a[0], a = nodes[0], a[1:]
		}
		if next[1] != nil {
			b[0], b = nodes[1], b[1:]
		}
	}
	return nil
}

// replace makes n, a directory of side i, hold dir.
func (f *filtering) replace(i int, at *trail, n *store.Node, dir store.Directory) (err error) {
	message, err := store.EncodeDirectory(dir)
	if err == nil {
		n.Size, err = dir.Size(f.rules[i])
	}
	if err != nil {
		return at.wrap(err)
	}
	n.Digest = store.Sum(message)
	f.kept[i].messages[n.Digest] = message
	return nil
}

// overlay is Directories with some more, in memory.
type overlay struct {
	store.Directories
	messages map[store.Digest][]byte
}

func (o *overlay) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	if message, ok := o.messages[d]; ok {
		return store.DecodeDirectory(message)
	}
	return o.Directories.Get(ctx, d)
}

func (o *overlay) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return store.WalkByGet(ctx, o, root)
}

package tree

import (
	"castar/store"
)

// renames is what was renamed between two trees.
type renames struct {
	to    map[string]candidate // by the path in the new tree: what it was in the old one
	from  map[string]struct{}  // the paths in the old tree
	above map[string]struct{}  // directories of the new tree with something renamed below them
}

// candidate is something that was added or removed.
type candidate struct {
	path   string
	node   store.Node
	parent int  // number of the directory it is in, or -1
	end    int  // number of the first candidate that is not below it
	taken  bool // it, something above it or something below it is renamed
}

// findRenames compares the trees with d, and pairs what was removed with what was added. What was moved as a whole is
// found first, and nothing below it is read.
func findRenames(d differ, a, b store.Node) (renames, error) {
	r := renames{map[string]candidate{}, map[string]struct{}{}, map[string]struct{}{}}
	var old, new []candidate
	var err error
	d.recursive = false
	d.yield = func(c Change, e error) bool {
		switch {
		case e != nil:
			err = e
		case c.Op == Removed:
			old = append(old, candidate{path: c.Path, node: c.Old, parent: -1, end: len(old) + 1})
		case c.Op == Added:
			new = append(new, candidate{path: c.Path, node: c.New, parent: -1, end: len(new) + 1})
		case c.Op == Retyped && c.Old.Kind == store.KindDirectory:
			return d.children(c.Path, c.Old, store.Node{})
		case c.Op == Retyped && c.New.Kind == store.KindDirectory:
			return d.children(c.Path, store.Node{}, c.New)
		}
		return err == nil
	}
	d.pair("", a, b)
	if err == nil {
		r.match(old, new)
		if old, new = untaken(old), untaken(new); len(old) > 0 && len(new) > 0 {
			if old, err = expand(d, d.a, old); err == nil {
				new, err = expand(d, d.b, new)
			}
			r.match(old, new)
		}
	}
	return r, err
}

func untaken(all []candidate) (left []candidate) {
	for _, c := range all {
		if !c.taken {
			left = append(left, c)
		}
	}
	return left
}

// expand returns the candidates with all that is below them, each directory before what it holds.
func expand(d differ, ds store.Directories, roots []candidate) (all []candidate, err error) {
	var add func(path string, n store.Node, parent int) error
	add = func(path string, n store.Node, parent int) error {
		at := len(all)
		all = append(all, candidate{path: path, node: n, parent: parent})
		if n.Kind == store.KindDirectory {
			dir, err := getDirectory(d.ctx, ds, path, n.Digest)
			if err != nil {
				return err
			}
			for _, child := range dir {
				if err := add(join(path, child.Name), child, at); err != nil {
					return err
				}
			}
		}
		all[at].end = len(all)
		return nil
	}
	for _, c := range roots {
		if err := add(c.path, c.node, -1); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// match pairs equal candidates: directories before what may be in them, and those that kept their name before others.
func (r *renames) match(old, new []candidate) {
	for _, dirs := range []bool{true, false} {
		for _, named := range []bool{true, false} {
			r.matchThose(old, new, dirs, named)
		}
	}
}

// matchThose pairs equal candidates, in order, that are directories, or are not; named: and have the same name.
func (r *renames) matchThose(old, new []candidate, dirs, named bool) {
	key := func(c *candidate) (k store.Node, ok bool) {
		k = c.node
		ok = !c.taken && (k.Kind == store.KindDirectory) == dirs && (k.Size > 0 || k.Kind == store.KindSymlink)
		if !named {
			k.Name = ""
		}
		if dirs {
			k.Size = 0 // may differ in how it is counted
		}
		return k, ok
	}
	waiting := map[store.Node][]int{}
	for i := range old {
		if k, ok := key(&old[i]); ok {
			waiting[k] = append(waiting[k], i)
		}
	}
	for i := range new {
		k, ok := key(&new[i])
		for ok && len(waiting[k]) > 0 {
			j := waiting[k][0]
			waiting[k] = waiting[k][1:]
			if !old[j].taken {
				take(old, j)
				take(new, i)
				r.add(&old[j], new, i)
				ok = false
			}
		}
	}
}

// take marks candidate i, and all above and below it.
func take(all []candidate, i int) {
	for j := i; j < all[i].end; j++ {
		all[j].taken = true
	}
	for j := all[i].parent; j >= 0; j = all[j].parent {
		all[j].taken = true
	}
}

func (r *renames) add(old *candidate, new []candidate, i int) {
	r.to[new[i].path] = *old
	r.from[old.path] = struct{}{}
	path := new[i].path
	for at := len(path) - 1; at >= 0; at-- {
		if path[at] == '/' {
			r.above[path[:at]] = struct{}{}
		}
	}
	r.above[""] = struct{}{}
}

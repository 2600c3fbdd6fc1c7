package tree

import (
	"castar/store"
	"slices"
)

// renames is what was renamed between two trees.
type renames struct {
	to    map[string]candidate // by the path in the new tree: what it was in the old one
	from  map[string]struct{}  // the paths in the old tree
	above map[string]struct{}  // directories of the new tree with something renamed below them

	tooMany bool // not all were looked for
}

// maxCandidateBytes is what candidates may take in memory, some hundred thousand of them. With more it would take
// gigabytes to find what was moved.
const maxCandidateBytes = 256 << 20

// maxAgain is how many directories are searched for candidates again, after they were searched elsewhere. Trees that
// share directories over and over have no end of them.
const maxAgain = 1 << 16

// search bounds the work of searching for candidates.
type search struct {
	seen  memo[pairKey, struct{}]
	again int
}

// enter records that a directory, or a pair of them, will be searched, and reports whether it may be.
func (s *search) enter(k pairKey) bool {
	if s.seen.has(k) {
		s.again++
	}
	s.seen.put(k, struct{}{})
	return s.again <= maxAgain
}

// candidates is a list of bounded length.
type candidates struct {
	all  []candidate
	left int // bytes
}

// add appends a candidate, and reports whether there was room for it.
func (c *candidates) add(path string, n store.Node, parent int) bool {
	const each = 400 // with its entries in maps
	if c.left -= each + len(path); c.left < 0 {
		return false
	}
	c.all = append(c.all, candidate{path: path, node: n, parent: parent, end: len(c.all) + 1})
	return true
}

// candidate is something that was added or removed.
type candidate struct {
	path   string
	node   store.Node
	parent int  // number of the directory it is in, or -1
	end    int  // number of the first candidate that is not below it
	taken  bool // it, something above it or something below it is renamed
}

// findRenames compares the trees with d, and pairs what was removed with what was added. It finds first what was moved
// as a whole, and reads nothing below that.
func findRenames(d differ, a, b store.Node) (renames, error) {
	r := renames{to: map[string]candidate{}, from: map[string]struct{}{}, above: map[string]struct{}{}}
	old, new, err := r.changed(&d, a, b)
	if err != nil || r.tooMany {
		return r, err
	}
	r.match(old, new)
	isTaken := func(c candidate) bool { return c.taken }
	old, new = slices.DeleteFunc(old, isTaken), slices.DeleteFunc(new, isTaken)
	if len(old) == 0 || len(new) == 0 {
		return r, nil
	}
	if old, err = r.expand(d.sides[0], old); err == nil {
		new, err = r.expand(d.sides[1], new)
	}
	if err == nil && !r.tooMany {
		r.match(old, new)
	}
	return r, err
}

// changed returns what was removed and what was added.
func (r *renames) changed(d *differ, a, b store.Node) (old, new []candidate, err error) {
	removed, added := candidates{left: maxCandidateBytes}, candidates{left: maxCandidateBytes}
	d.recursive, d.moves = false, &search{}
	d.yield = func(c Change, e error) bool {
		switch {
		case e != nil:
			err = e
		case c.Op == Removed:
			r.tooMany = !removed.add(c.Path, c.Old, -1)
		case c.Op == Added:
			r.tooMany = !added.add(c.Path, c.New, -1)
		case c.Op == Retyped && c.Old.Kind == store.KindDirectory:
			return d.children(trailOf(c.Path), c.Old, store.Node{})
		case c.Op == Retyped && c.New.Kind == store.KindDirectory:
			return d.children(trailOf(c.Path), store.Node{}, c.New)
		}
		return err == nil && !r.tooMany
	}
	d.pair(rootTrail(""), a, b)
	r.tooMany = r.tooMany || d.moves.again > maxAgain
	return removed.all, added.all, err
}

// expand returns the candidates with all that is below them, each directory before what it holds, unless there are too
// many.
func (r *renames) expand(side *reader, roots []candidate) ([]candidate, error) {
	list, bound := candidates{left: maxCandidateBytes}, search{}
	parents := []int{-1}
	w := walker{ctx: side.ctx, ds: side.ds}
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		r.tooMany = !list.add(at.path(), *n, parents[len(parents)-1])
		if r.tooMany = r.tooMany || n.Kind == store.KindDirectory && !bound.enter(keyOf(*n, *n)); r.tooMany {
			return false, errStop
		}
		return true, nil
	}
	w.open = func(*trail, *store.Node, store.Directory) (bool, error) {
		parents = append(parents, len(list.all)-1)
		return true, nil
	}
	w.leave = func(*trail) {
		last := len(parents) - 1
		list.all[parents[last]].end = len(list.all)
		parents = parents[:last]
	}
	for _, c := range roots {
		if err := w.inOrder(trailOf(c.path), c.node); err != nil || r.tooMany {
			return nil, err
		}
	}
	return list.all, nil
}

// match pairs equal candidates: directories before what may be in them, and those that kept their name before others.
func (r *renames) match(old, new []candidate) {
	for _, dirs := range []bool{true, false} {
		for _, named := range []bool{true, false} {
			r.matchThose(old, new, dirs, named)
		}
	}
}

// matchThose pairs equal candidates, in order: only directories or only others, and with named only those of one name.
func (r *renames) matchThose(old, new []candidate, dirs, named bool) {
	key := func(c *candidate) (k store.Node, ok bool) {
		k = c.node
		ok = !c.taken && (k.Kind == store.KindDirectory) == dirs && (k.Size > 0 || k.Kind == store.KindSymlink)
		if !named {
			k.Name = ""
		}
		if dirs {
			k.Size = 0 // may be counted by another rule
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
		if path[at] != '/' {
			continue
		}
		if _, ok := r.above[path[:at]]; ok {
			break // and so are those above it
		}
		r.above[path[:at]] = struct{}{}
	}
	r.above[""] = struct{}{}
}

package tree

import (
	"errors"
	"slices"

	"castar/store"
)

const (
	// maxPaths is how many paths of one object in one tree are kept.
	maxPaths = 10
	// maxPathSteps is how many entries of the tree of one root are looked at again, for another path to them. Without
	// a limit hostile trees would make the search endless.
	maxPathSteps = 1 << 17
)

// findPaths walks the trees once more, if anything is damaged, to find the paths that lead there. A directory that
// cannot be read hides what is below it, so its own path is the one to tell.
func (v *verifier) findPaths() {
	if len(v.hits) == 0 {
		return
	}
	leading := v.leading()
	for _, r := range v.roots {
		p := pathFinder{v: v, leading: leading, listed: NewSet(v.st), found: map[*Finding]*Hit{}}
		p.list(r)
		for _, f := range p.order {
			p.found[f].AtLeast = p.steps > maxPathSteps
			f.addHit(r.Name, p.found[f])
		}
	}
}

// addHit adds the paths in the tree of one root. If those in the tree of another root are the same, it keeps them once.
func (f *Finding) addHit(root string, h *Hit) {
	for i := range f.Hits {
		o := &f.Hits[i]
		if o.More == h.More && o.AtLeast == h.AtLeast && slices.Equal(o.Paths, h.Paths) {
			o.Roots = append(o.Roots, root)
			return
		}
	}
	h.Roots = []string{root}
	f.Hits = append(f.Hits, *h)
}

// leading returns the directories with something damaged below them.
func (v *verifier) leading() store.ObjectSet {
	seen, leading := NewSet(v.st), NewSet(v.st)
	w := walker{ctx: v.ctx, ds: v.st.Directories}
	w.skip = func(d store.Digest) bool { return seen.Has(store.KindDirectory, d) }
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		isDir := n.Kind == store.KindDirectory
		if len(v.hits[object{n.Kind, n.Digest}]) > 0 || isDir && leading.Has(n.Kind, n.Digest) {
			at.addAbove(leading)
		}
		if !isDir {
			return false, nil
		}
		isNew, err := seen.Add(n.Kind, n.Digest)
		return isNew && err == nil, nil
	}
	w.failed = func(_ *trail, _ *store.Node, err error) error {
		v.cut = v.cut || errors.Is(err, store.ErrTooDeep)
		return v.ctx.Err()
	}
	v.inRoots(&w)
	return leading
}

// pathFinder finds the paths to what is damaged in the tree of one root.
type pathFinder struct {
	v       *verifier
	leading store.ObjectSet // directories with something damaged below them
	listed  store.ObjectSet // directories that were listed
	steps   int             // entries of these that were listed again
	found   map[*Finding]*Hit
	order   []*Finding // in found
}

// list looks at each directory that leads to damage once whatever that takes, so nothing is left without a path. It
// looks at other paths to the directory as long as there are steps left.
func (p *pathFinder) list(r Root) {
	again := false
	w := walker{ctx: p.v.ctx, ds: p.v.st.Directories}
	w.skip = func(d store.Digest) bool {
		return !p.leading.Has(store.KindDirectory, d) || p.steps > maxPathSteps && p.listed.Has(store.KindDirectory, d)
	}
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		for _, f := range p.v.hits[object{n.Kind, n.Digest}] {
			p.add(f, at)
		}
		if n.Kind != store.KindDirectory || !p.leading.Has(n.Kind, n.Digest) {
			return false, nil
		}
		isNew, _ := p.listed.Add(n.Kind, n.Digest) // it is in the store: leading has taken it
		again = !isNew
		return isNew || p.steps <= maxPathSteps, nil
	}
	w.open = func(_ *trail, _ *store.Node, dir store.Directory) (bool, error) {
		if again {
			p.steps += 1 + len(dir)
		}
		return true, nil
	}
	w.failed = func(*trail, *store.Node, error) error { return p.v.ctx.Err() }
	w.inOrder(rootTrail(""), r.Node)
}

func (p *pathFinder) add(f *Finding, at *trail) {
	h := p.found[f]
	if h == nil {
		h = &Hit{}
		p.found[f] = h
		p.order = append(p.order, f)
	}
	if len(h.Paths) >= maxPaths {
		h.More++
		return
	}
	if f.entry != "" {
		at = at.child(f.entry)
	}
	h.Paths = append(h.Paths, store.ShortPath(at.path()))
}

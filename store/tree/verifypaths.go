package tree

import (
	"slices"

	"castar/store"
)

// Limits of a search for paths, which hostile trees could make endless.
const maxPathSteps = 1 << 17 // entries that are looked at in the tree of one root again, for another path to them

// findPaths walks the trees once more, if anything is damaged, to find out where it stands.
func (v *verifier) findPaths() {
	if len(v.hits) == 0 {
		return
	}
	p := &pathFinder{v: v, seen: NewSet(v.st), leading: NewSet(v.st)}
	for _, r := range v.roots {
		node := r.Node
		node.Name = ""
		if !p.leads(&node, 1) {
			continue
		}
		p.found, p.order, p.listed, p.steps = map[*Finding]*Hit{}, nil, NewSet(v.st), 0
		p.list(&node, rootPlace())
		for _, f := range p.order {
			p.found[f].AtLeast = p.steps > maxPathSteps
			f.join(r.Name, p.found[f])
		}
	}
}

// join adds the paths in the tree of one root. Where these are the same as in that of another, they are kept once.
func (f *Finding) join(root string, h *Hit) {
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

// pathFinder finds the paths that lead to what is damaged. A directory that cannot be read hides what is below it, so
// that its own path is the one to tell.
type pathFinder struct {
	v       *verifier
	seen    store.ObjectSet // directories that were looked at
	leading store.ObjectSet // those of them from which something damaged can be reached
	// In the tree of the root:
	listed store.ObjectSet // directories that were listed
	steps  int             // entries of these that were listed again
	found  map[*Finding]*Hit
	order  []*Finding // in found
}

// leads reports whether a node is, or leads to, something damaged. It looks at each directory once.
func (p *pathFinder) leads(n *store.Node, depth int) bool {
	hit := len(p.v.hits[object{n.Kind, n.Digest}]) > 0
	if n.Kind != store.KindDirectory || p.v.ctx.Err() != nil {
		return hit
	}
	if depth > store.MaxDepth {
		p.v.cut = true
		return hit
	}
	if added, err := p.seen.Add(n.Kind, n.Digest); err != nil || !added {
		return hit || p.leading.Has(n.Kind, n.Digest)
	}
	dir, err := p.v.st.Directories.Get(p.v.ctx, n.Digest)
	if err != nil {
		return hit
	}
	for i := range dir {
		hit = p.leads(&dir[i], depth+1) || hit
	}
	if hit {
		p.leading.Add(n.Kind, n.Digest) // it is in the store: seen has taken it
	}
	return hit
}

// list takes down what is damaged at path and below it. It looks at each directory once whatever that takes, so that
// nothing is left without a path, and at other paths to it as long as there are steps left.
func (p *pathFinder) list(n *store.Node, at *place) {
	for _, f := range p.v.hits[object{n.Kind, n.Digest}] {
		p.add(f, at)
	}
	if n.Kind != store.KindDirectory || at.depth > store.MaxDepth || !p.leading.Has(n.Kind, n.Digest) || p.v.ctx.Err() != nil {
		return
	}
	isNew, _ := p.listed.Add(n.Kind, n.Digest) // it is in the store: leading has taken it
	if !isNew && p.steps > maxPathSteps {
		return
	}
	dir, err := p.v.st.Directories.Get(p.v.ctx, n.Digest)
	if err != nil {
		return
	}
	if !isNew {
		p.steps += 1 + len(dir)
	}
	for i := range dir {
		p.list(&dir[i], at.child(dir[i].Name))
	}
}

func (p *pathFinder) add(f *Finding, at *place) {
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

package server

import (
	"fmt"

	"castar/store"
)

// closure checks the directories of one upload as they come, children first. It keeps the size that the parents of each
// must have for it, under each rule of counting. A closure follows one rule, so it also keeps the rules broken so far.
type closure struct {
	partial bool // children may be missing
	sizes   map[store.Digest]sizes
	roots   map[store.Digest]struct{} // directories that no other refers to, so far
	last    store.Digest
	wrong   [len(sizes{})]bool // rules that some size has broken
}

// sizes has the size of a directory under each rule.
type sizes [store.SizeSnix + 1]uint64

func newClosure(partial bool) *closure {
	return &closure{partial: partial, sizes: map[store.Digest]sizes{}, roots: map[store.Digest]struct{}{}}
}

// add checks the next directory.
func (c *closure) add(d store.Digest, dir store.Directory) error {
	c.last = d
	if c.partial {
		return nil
	}
	if _, again := c.sizes[d]; again {
		return nil
	}
	for i := range dir {
		if dir[i].Kind != store.KindDirectory {
			continue
		}
		if err := c.child(&dir[i]); err != nil {
			return fmt.Errorf("directory %s: %w", d, err)
		}
	}
	var own sizes
	for rule := range own {
		size, err := dir.Size(store.SizeRule(rule))
		if err != nil {
			c.wrong[rule] = true
		}
		own[rule] = size
	}
	c.sizes[d] = own
	c.roots[d] = struct{}{}
	return nil
}

// child checks a reference to a directory.
func (c *closure) child(n *store.Node) error {
	size, ok := c.sizes[n.Digest]
	if !ok {
		return fmt.Errorf("%q: directory %s was not sent before", n.Name, n.Digest)
	}
	right := false
	for rule := range size {
		c.wrong[rule] = c.wrong[rule] || size[rule] != n.Size
		right = right || !c.wrong[rule]
	}
	if !right {
		return fmt.Errorf("%q: wrong size %d, want %d, or %d throughout", n.Name, n.Size, size[0], size[1])
	}
	delete(c.roots, n.Digest)
	return nil
}

// root returns the root of what was sent.
func (c *closure) root() (store.Digest, error) {
	if c.last == (store.Digest{}) {
		return c.last, invalidf("no directories received")
	}
	if c.partial {
		return c.last, nil
	}
	if len(c.roots) != 1 {
		return c.last, invalidf("%d directories that no other refers to, want 1", len(c.roots))
	}
	for d := range c.roots {
		c.last = d
	}
	return c.last, nil
}

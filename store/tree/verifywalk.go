package tree

import (
	"fmt"
	"strings"

	"castar/store"
)

// walk calls visit for the nodes of all roots in tree order, the roots first. A directory is entered where visit returns
// one; where it is in memory are those on the way down to it, and no others; that way may be of any length.
func (v *verifier) walk(visit func() visitor) {
	look := visit()
	for _, r := range v.roots {
		node := r.Node
		node.Name = ""
		v.result.Roots++
		var levels []level
		enter := func(up *store.Digest, n *store.Node) {
			if dir := look(up, n, r.Name); dir != nil {
				levels = append(levels, level{*n, dir})
				if len(levels) == store.MaxDepth+1 {
					v.tooDeep(levels, r.Name)
				}
			}
		}
		enter(nil, &node)
		for len(levels) > 0 && v.ctx.Err() == nil {
			at := &levels[len(levels)-1]
			if len(at.rest) == 0 {
				levels = levels[:len(levels)-1]
				continue
			}
			n := at.rest[0]
			at.rest = at.rest[1:]
			up := at.node.Digest
			enter(&up, &n)
		}
	}
}

// level is a directory on the way down.
type level struct {
	node store.Node
	rest store.Directory // what is still to be looked at
}

// tooDeep takes in that a directory is below so many others that nobody but this walk goes there. The walk goes on: what
// is below it is checked all the same.
func (v *verifier) tooDeep(levels []level, root string) {
	d := levels[len(levels)-1].node.Digest
	if v.deep == nil {
		v.deep = map[store.Digest]bool{}
	}
	if v.deep[d] {
		return
	}
	v.deep[d] = true
	var names []string
	for _, l := range levels[1:] {
		names = append(names, l.node.Name)
	}
	path := store.ShortPath(strings.Join(names, "/"))
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = append(v.findings, &Finding{
		Damage: store.Damage{What: store.WhatDepth, Kind: store.KindDirectory, Digest: d, Err: store.ErrTooDeep},
		Hits:   []Hit{{Roots: []string{root}, Paths: []string{path}}},
	})
}

// visitor looks at a node, an entry of the directory up or, where that is nil, a root, and returns the directory to enter
// or nil.
type visitor func(up *store.Digest, n *store.Node, root string) store.Directory

// mark adds to set all that the roots reach, and reports whether nothing was in the way.
func (v *verifier) mark(set store.ObjectSet) (whole bool) {
	whole = true
	v.walk(func() visitor {
		return func(_ *store.Digest, n *store.Node, _ string) store.Directory {
			switch n.Kind {
			case store.KindFile:
				if added, _ := set.Add(n.Kind, n.Digest); !added {
					return nil // or missing, which is found later
				}
				chunks, err := v.st.Blobs.Chunks(v.ctx, n.Digest)
				whole = whole && err == nil
				for _, c := range chunks {
					set.Add(store.KindFile, c.Digest) // one that is not there is found to be missing later
				}
			case store.KindDirectory:
				if added, err := set.Add(n.Kind, n.Digest); !added {
					whole = whole && err == nil
					return nil
				}
				dir, err := v.st.Directories.Get(v.ctx, n.Digest)
				whole = whole && err == nil
				return dir
			}
			return nil
		}
	})
	return whole
}

// checked returns a visitor that looks for what nodes refer to, and at their sizes.
func (v *verifier) checked() visitor {
	c := &checker{verifier: v, seen: NewSet(v.st), sizes: map[store.Digest]uint64{}}
	v.result.Roots, v.result.Directories, v.result.Files = 0, 0, 0
	return func(up *store.Digest, n *store.Node, root string) store.Directory {
		switch n.Kind {
		case store.KindFile:
			v.result.Files++
			size, err := v.st.Scrubber.BlobSize(v.ctx, n.Digest)
			if err != nil {
				v.lost(n.Kind, n.Digest, err)
			} else if size != n.Size {
				v.addEntry(up, n, root, blobSizeError(n, size))
			}
		case store.KindDirectory:
			return c.directory(up, n, root)
		}
		return nil
	}
}

func blobSizeError(n *store.Node, size uint64) error {
	return fmt.Errorf("blob %s is recorded with %d bytes and has %d", n.Digest, n.Size, size)
}

func directorySizeError(n *store.Node, size uint64) error {
	return fmt.Errorf("directory %s is recorded with size %d and has %d", n.Digest, n.Size, size)
}

// checker looks at directories.
type checker struct {
	*verifier
	seen  store.ObjectSet
	sizes map[store.Digest]uint64 // of some directories, so that one with many references is not read for each
}

// mostSizes bounds checker.sizes, to about 8 MB.
const mostSizes = 1 << 17

// directory returns the directory n if it was not seen before.
func (c *checker) directory(up *store.Digest, n *store.Node, root string) store.Directory {
	var dir store.Directory
	size, known := c.sizes[n.Digest]
	if !known {
		var err error
		if dir, err = c.st.Directories.Get(c.ctx, n.Digest); err != nil {
			c.lost(n.Kind, n.Digest, err)
			return nil
		}
		size, _ = dir.Size(store.SizeDocumented) // valid ones have a size
		if len(c.sizes) == mostSizes {
			clear(c.sizes)
		}
		c.sizes[n.Digest] = size
	}
	if n.Size < size {
		c.addEntry(up, n, root, directorySizeError(n, size))
	}
	if known { // and so it was seen
		return nil
	}
	if added, err := c.seen.Add(n.Kind, n.Digest); !added || err != nil {
		return nil
	}
	c.result.Directories++
	return dir
}

package tree

import (
	"fmt"
	"sync/atomic"

	"castar/store"
)

// walk looks at the sizes and references in the trees of all roots. It reads each directory once, and calls file for
// each node of a file.
func (v *verifier) walk(file func(at *trail, n *store.Node)) {
	var sizes memo[store.Digest, uint64] // of directories, so that one with many references is not read for each
	seen := NewSet(v.st)
	w := walker{ctx: v.ctx, ds: v.st.Directories, deepest: anyDepth, skip: sizes.has}
	w.enter = func(at *trail, n *store.Node) (bool, error) {
		if n.Kind == store.KindFile {
			v.result.Files++
			file(at, n)
			return false, nil
		}
		size, known := sizes.get(n.Digest)
		if known {
			v.checkDirectorySize(at, n, size)
		}
		return !known, nil
	}
	w.open = func(at *trail, n *store.Node, dir store.Directory) (bool, error) {
		size, _ := dir.Size(store.SizeDocumented) // valid ones have a size
		sizes.put(n.Digest, size)
		v.checkDirectorySize(at, n, size)
		if isNew, err := seen.Add(n.Kind, n.Digest); !isNew || err != nil {
			return false, nil
		}
		v.result.Directories++
		if v.st.Scrubber == nil { // which has counted it
			v.o.Progress.Objects.Add(1)
		}
		if at.depth == store.MaxDepth+1 {
			v.tooDeep(at, n.Digest)
		}
		return true, nil
	}
	w.failed = func(_ *trail, n *store.Node, err error) error {
		sizes.put(n.Digest, 0)
		v.lost(n.Kind, n.Digest, err)
		return v.ctx.Err()
	}
	v.inRoots(&w)
	v.result.Roots = uint64(len(v.roots)) - v.listings
	v.result.Files -= v.listings
}

// inRoots runs a walk in the trees of all roots. Only the end of the context ends it early.
func (v *verifier) inRoots(w *walker) {
	for _, r := range v.roots {
		v.st.Expect(v.ctx, r.Node)
		w.inOrder(rootTrail(r.Name), r.Node)
	}
}

// checkDirectorySize compares the size that a node records for a directory.
func (v *verifier) checkDirectorySize(at *trail, n *store.Node, size uint64) {
	if n.Size < size {
		v.addEntry(at, n, fmt.Errorf("directory %s is recorded with size %d and has %d", n.Digest, n.Size, size))
	}
}

// checkFile looks for the blob of a file in the records of the store, and compares the size that the node records.
func (v *verifier) checkFile(at *trail, n *store.Node) {
	size, err := v.st.Scrubber.BlobSize(v.ctx, n.Digest)
	if err != nil {
		v.lost(n.Kind, n.Digest, err)
	} else if size != n.Size {
		v.wrongBlobSize(at, n, size)
	}
}

func (v *verifier) wrongBlobSize(at *trail, n *store.Node, size uint64) {
	v.addEntry(at, n, fmt.Errorf("blob %s is recorded with %d bytes and has %d", n.Digest, n.Size, size))
}

// tooDeep takes in that a directory lies so deep that no other command goes there. The walk goes on below it.
func (v *verifier) tooDeep(at *trail, d store.Digest) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.findings = append(v.findings, &Finding{
		Damage: store.Damage{What: store.WhatDepth, Kind: store.KindDirectory, Digest: d, Err: store.ErrTooDeep},
		Hits:   []Hit{{Roots: []string{at.root()}, Paths: []string{store.ShortPath(at.path())}}},
	})
}

// mark adds to set all that the roots reach, and reports whether nothing was in the way.
func (v *verifier) mark(set store.ObjectSet) bool {
	var gap atomic.Bool
	reach(v.ctx, v.st, v.roots, func(k store.Kind, d store.Digest) (bool, error) {
		isNew, err := set.Add(k, d)
		if k == store.KindFile {
			err = nil // what is missing is found later, and hides nothing
		}
		return isNew, err
	}, func(error) error {
		gap.Store(true)
		return nil
	})
	return !gap.Load()
}

package web

import (
	"context"
	"net/http"

	"castar/store"
	"castar/store/tree"
)

// maxWeighed is how many directories, and how many of their entries that are directories, are weighed for a page.
const maxWeighed = 1 << 19

// scales know what directories hold. They read each directory once, wherever it stands.
type scales struct {
	index map[store.Digest]int // into dirs
	dirs  []weight
}

// weight is what a directory holds, together with what is below it once that is known.
type weight struct {
	counts store.Counts
	below  []int // directories in it, for each time that they occur
	done   bool
}

// weigh reads a directory and all below it.
func weigh(ctx context.Context, ds store.Directories, root store.Digest) (*scales, error) {
	s := &scales{index: map[store.Digest]int{}}
	edges := 0
	for d, err := range ds.Walk(ctx, root) {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		w := weight{counts: store.Counts{Directories: 1}}
		for i := range d.Directory {
			switch n := &d.Directory[i]; n.Kind {
			case store.KindDirectory:
				w.below = append(w.below, s.at(n.Digest))
			case store.KindFile:
				w.counts = tree.AddCounts(w.counts, store.Counts{Files: 1, Bytes: n.Size})
			case store.KindSymlink:
				w.counts.Symlinks++
			}
		}
		s.dirs[s.at(d.Digest)] = w
		if edges += len(w.below); edges > 4*maxWeighed || len(s.dirs) > maxWeighed {
			return nil, fail(http.StatusUnprocessableEntity, "The tree has too many directories for a picture. 'castar stats' measures it.")
		}
	}
	s.sum(s.at(root))
	return s, nil
}

// at returns the index of a directory, which may be new.
func (s *scales) at(d store.Digest) int {
	i, ok := s.index[d]
	if !ok {
		i = len(s.dirs)
		s.index[d], s.dirs = i, append(s.dirs, weight{})
	}
	return i
}

// sum adds to each directory what is below it. Trees may be of any depth, so it does not recurse.
func (s *scales) sum(root int) {
	type step struct{ dir, next int }
	way := []step{{dir: root}}
	for len(way) > 0 {
		top := &way[len(way)-1]
		w := &s.dirs[top.dir]
		if top.next == len(w.below) {
			w.done = true
			way = way[:len(way)-1]
			continue
		}
		child := w.below[top.next]
		if !s.dirs[child].done {
			way = append(way, step{dir: child})
			continue
		}
		w.counts = tree.AddCounts(w.counts, s.dirs[child].counts)
		top.next++
	}
}

// of returns what a node is or holds.
func (s *scales) of(n store.Node) store.Counts {
	switch n.Kind {
	case store.KindDirectory:
		return s.dirs[s.at(n.Digest)].counts
	case store.KindFile:
		return store.Counts{Files: 1, Bytes: n.Size}
	}
	return store.Counts{Symlinks: 1}
}

package tree

import (
	"context"
	"math"

	"castar/store"
)

// DiffStat is how much differs between two trees, in numbers of entries and in bytes of file contents. A number that
// would be too large is the largest there is.
type DiffStat struct {
	Added, Removed           uint64 // entries of any kind
	Changed                  uint64 // all changes but additions, removals and renames
	Renamed                  uint64 // a directory is one
	BytesAdded, BytesRemoved uint64 // of added and of removed files
	BytesOld, BytesNew       uint64 // of changed files, before and after
}

// CountDiff counts what Diff yields with o.Recursive set. Its time and memory do not grow with the number of changes: it
// compares two directories once, wherever they stand.
func CountDiff(ctx context.Context, a, b Side, o DiffOptions) (DiffStat, error) {
	o.Recursive = true
	d, err := newDiffer(ctx, a, b, o)
	if err != nil {
		return DiffStat{}, err
	}
	c := diffCounter{differ: d}
	sum, err := c.pair(rootTrail(""), a.Root, b.Root)
	if err != nil {
		return DiffStat{}, err
	}
	for path, old := range d.renames.to { // counted as removed there and as added here
		moved, err := c.pair(trailOf(path), store.Node{}, old.node)
		if err != nil {
			return DiffStat{}, err
		}
		sum.Renamed++
		sum.Added, sum.Removed = subtract(sum.Added, moved.Added), subtract(sum.Removed, moved.Added)
		sum.BytesAdded = subtract(sum.BytesAdded, moved.BytesAdded)
		sum.BytesRemoved = subtract(sum.BytesRemoved, moved.BytesAdded)
	}
	return sum, nil
}

// subtract takes a part off a sum, if that is not too large to be known.
func subtract(sum, part uint64) uint64 {
	if sum == math.MaxUint64 {
		return sum
	}
	return sum - part
}

// diffCounter is a comparison that counts. It looks at no renames.
type diffCounter struct {
	differ
	counted memo[pairKey, DiffStat] // what is below two directories
}

// pair counts what changed at a place and below it.
func (c *diffCounter) pair(at *trail, old, new store.Node) (s DiffStat, err error) {
	if same(old, new) {
		return s, nil
	}
	if old.Kind == store.KindDirectory || new.Kind == store.KindDirectory {
		if s, err = c.children(at, old, new); err != nil {
			return s, err
		}
	}
	if c.within.paths != nil && !c.within.inside(at.path()) {
		return s, nil
	}
	oldBytes, newBytes := fileSize(old), fileSize(new)
	switch {
	case old.Kind == 0:
		s.add(DiffStat{Added: 1, BytesAdded: newBytes})
	case new.Kind == 0:
		s.add(DiffStat{Removed: 1, BytesRemoved: oldBytes})
	case old.Kind == new.Kind && old.Kind == store.KindDirectory:
	case old.Kind == new.Kind && opOf(old, new) == Executable:
		s.add(DiffStat{Changed: 1})
	default:
		s.add(DiffStat{Changed: 1, BytesOld: oldBytes, BytesNew: newBytes})
	}
	return s, nil
}

// children counts what changed below a place.
func (c *diffCounter) children(at *trail, old, new store.Node) (s DiffStat, err error) {
	whole, some := c.within.covers(at)
	if !some {
		return s, nil
	}
	key := keyOf(old, new)
	if s, ok := c.counted.get(key); ok && whole {
		return s, nil
	}
	both, err := c.pairs(at, old, new)
	if err != nil {
		return s, err
	}
	for _, p := range both {
		below, err := c.pair(at.child(p.name()), p[0], p[1])
		if err != nil {
			return s, err
		}
		s.add(below)
	}
	if whole {
		c.counted.put(key, s)
	}
	return s, nil
}

func (s *DiffStat) add(t DiffStat) {
	s.Added, s.Removed = add(s.Added, t.Added), add(s.Removed, t.Removed)
	s.Changed, s.Renamed = add(s.Changed, t.Changed), add(s.Renamed, t.Renamed)
	s.BytesAdded, s.BytesRemoved = add(s.BytesAdded, t.BytesAdded), add(s.BytesRemoved, t.BytesRemoved)
	s.BytesOld, s.BytesNew = add(s.BytesOld, t.BytesOld), add(s.BytesNew, t.BytesNew)
}

// fileSize returns the size of a file, and 0 for anything else.
func fileSize(n store.Node) uint64 {
	if n.Kind != store.KindFile {
		return 0
	}
	return n.Size
}

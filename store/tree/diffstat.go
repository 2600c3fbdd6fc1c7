package tree

import (
	"context"
	"math"

	"castar/store"
)

// DiffStat is how much differs between two trees, in entries and in bytes of file contents. A number that would be too
// large is the largest there is.
type DiffStat struct {
	Added        uint64 `json:"added"` // entries of any kind
	Removed      uint64 `json:"removed"`
	Changed      uint64 `json:"changed"`           // all changes but additions, removals and renames
	Renamed      uint64 `json:"renamed"`           // a directory is one
	BytesAdded   uint64 `json:"bytes_added"`       // of added files
	BytesRemoved uint64 `json:"bytes_removed"`     // of removed files
	BytesOld     uint64 `json:"bytes_changed_old"` // of changed files, before
	BytesNew     uint64 `json:"bytes_changed_new"` // and after
}

// CountDiff counts what Diff yields with o.Recursive set. Its time and memory do not grow with the number of changes:
// it compares two directories once, wherever they stand.
func CountDiff(ctx context.Context, a, b Side, o DiffOptions) (DiffStat, error) {
	o.Recursive = true
	d, err := newDiffer(ctx, a, b, o)
	defer d.close()
	if err != nil {
		return DiffStat{}, err
	}
	renamed := d.renames.to // counted as removed there and as added here, and set right below
	d.renames, d.counted = renames{}, &diffCounter{}
	d.yield = func(c Change, e error) bool {
		err = e
		d.counted.sum.tally(&c)
		return e == nil
	}
	d.pair(rootTrail(""), a.Root, b.Root)
	sum := d.counted.sum
	for path, old := range renamed {
		d.counted.sum = DiffStat{}
		if err != nil || !d.pair(trailOf(path), store.Node{}, old.node) {
			break
		}
		moved := d.counted.sum
		sum.Renamed++
		sum.Added, sum.Removed = subtract(sum.Added, moved.Added), subtract(sum.Removed, moved.Added)
		sum.BytesAdded = subtract(sum.BytesAdded, moved.BytesAdded)
		sum.BytesRemoved = subtract(sum.BytesRemoved, moved.BytesAdded)
	}
	if err != nil {
		return DiffStat{}, err
	}
	return sum, nil
}

// subtract takes a part off a sum, unless that is too large to be known.
func subtract(sum, part uint64) uint64 {
	if sum == math.MaxUint64 {
		return sum
	}
	return sum - part
}

// diffCounter is what a comparison that only counts knows.
type diffCounter struct {
	sum   DiffStat
	known memo[pairKey, DiffStat] // what is below two directories
}

// below counts what compare finds below two directories, once for each key.
func (c *diffCounter) below(key pairKey, compare func() bool) bool {
	before := c.sum
	s, ok := c.known.get(key)
	if !ok {
		c.sum = DiffStat{}
		if !compare() {
			return false
		}
		s = c.sum
		c.known.put(key, s)
	}
	c.sum = before
	c.sum.add(s)
	return true
}

func (s *DiffStat) tally(c *Change) {
	oldBytes, newBytes := fileSize(c.Old), fileSize(c.New)
	switch c.Op {
	case Added:
		s.add(DiffStat{Added: 1, BytesAdded: newBytes})
	case Removed:
		s.add(DiffStat{Removed: 1, BytesRemoved: oldBytes})
	case Renamed:
		s.add(DiffStat{Renamed: 1})
	case Executable:
		s.add(DiffStat{Changed: 1})
	default:
		s.add(DiffStat{Changed: 1, BytesOld: oldBytes, BytesNew: newBytes})
	}
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

package tree

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"castar/store"
)

// Usage measures what trees hold and what they take, each object of the store once. Its methods are not for concurrent
// use. Its memory is four sets of objects, and about 100 bytes for each directory that occurs more than once.
type Usage struct {
	st     *store.Store
	seen   store.ObjectSet               // what Add has measured
	counts map[store.Digest]store.Counts // of directories that Add has met again
	once   store.ObjectSet               // what belongs to one owner or more
	shared store.ObjectSet               // what belongs to several

	sizesOnly bool          // only sizes in the store are wanted, not what is unique
	waiting   []waitingFile // new files whose chunks are not counted yet

	Unique  Unique
	Objects atomic.Uint64 // measured so far; may be read at any time
}

// Unique is what trees hold when everything that is the same counts once.
type Unique struct {
	Files       uint64 // different contents
	Directories uint64
	Chunks      uint64 // of those contents that have some
	Bytes       uint64 // of file contents, each chunk once
	Stored      uint64 // bytes that contents take in the store; 0 if it cannot tell
	StoredDirs  uint64 // bytes that directories take there
	Sizes       [SizeClasses]uint64
}

// SizeClasses is the number of classes that file sizes are counted in.
const SizeClasses = 12

// SizeClass returns the class of a file of n bytes. Class 0 is for empty files, and class 1 for those below 1 KiB. Each
// class after that ends at four times the size of the one before; the last has no end.
func SizeClass(n uint64) int {
	if n == 0 {
		return 0
	}
	return min(1+(max(bits.Len64(n), 9)-9)/2, SizeClasses-1)
}

// SizeLimit returns the size in bytes below which the files of a class are, or 0 for the last class, which has no
// limit.
func SizeLimit(class int) uint64 {
	switch class {
	case 0:
		return 1
	case SizeClasses - 1:
		return 0
	}
	return 1 << (8 + 2*class)
}

// NewUsage returns a Usage of nothing yet.
func NewUsage(st *store.Store) *Usage {
	return &Usage{st: st, seen: NewSet(st), once: NewSet(st), shared: NewSet(st), counts: map[store.Digest]store.Counts{}}
}

// Add measures what root reaches, in u.Unique, and returns what the tree holds when everything counts wherever it
// occurs. A number that would be too large is the largest there is. A directory that occurs again is read once more at
// most, then remembered.
func (u *Usage) Add(ctx context.Context, root store.Node) (store.Counts, error) {
	sums := []store.Counts{{}} // for each level on the way down
	again := []bool{false}     // the directory of the level was met before
	add := func(c store.Counts) {
		last := &sums[len(sums)-1]
		*last = AddCounts(*last, c)
	}
	u.st.Expect(ctx, root)
	w := walker{ctx: ctx, ds: u.st.Directories}
	w.skip = func(d store.Digest) bool {
		_, ok := u.counts[d]
		return ok
	}
	isNew := false
	w.enter = func(at *trail, n *store.Node) (_ bool, err error) {
		if n.Kind == store.KindSymlink {
			add(store.Counts{Symlinks: 1})
			return false, nil
		}
		if c, ok := u.counts[n.Digest]; ok && n.Kind == store.KindDirectory {
			add(c)
			return false, nil
		}
		if isNew, err = u.seen.Add(n.Kind, n.Digest); err == nil && isNew {
			err = u.measure(ctx, n)
		}
		if err != nil {
			return false, at.wrap(err)
		}
		if isNew && n.Kind == store.KindFile {
			if err := u.countChunks(ctx, waitingFile{at, *n}); err != nil {
				return false, err
			}
		}
		if n.Kind == store.KindFile {
			add(store.Counts{Files: 1, Bytes: n.Size})
		}
		return true, nil
	}
	w.open = func(*trail, *store.Node, store.Directory) (bool, error) {
		sums, again = append(sums, store.Counts{Directories: 1}), append(again, !isNew)
		return true, nil
	}
	w.leave = func(at *trail) {
		last := len(sums) - 1
		c := sums[last]
		if again[last] {
			u.counts[*at.digest] = c
		}
		sums, again = sums[:last], again[:last]
		add(c)
	}
	err := w.inOrder(rootTrail(""), root)
	err = cmp.Or(err, u.countWaiting(ctx))
	return sums[0], err
}

// Measured is a root and what it holds.
type Measured struct {
	Root
	Counts store.Counts
	Alone  uint64 // bytes that it takes and no other tag needs; 0 if it is no tag
}

// Measure counts with Add what each of roots holds. owners says that they are all tags of the store: then it also finds
// what each takes alone. The error names the root that it is about.
func (u *Usage) Measure(ctx context.Context, roots []Root, owners bool) ([]Measured, error) {
	all := make([]Measured, len(roots))
	for i, r := range roots {
		counts, err := u.Add(ctx, r.Node)
		if err == nil && owners {
			err = u.Own(ctx, r.Node)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", store.Quote(r.Name), err)
		}
		all[i] = Measured{Root: r, Counts: counts}
	}
	for i := range all {
		if !owners {
			break
		}
		var err error
		if all[i].Alone, err = u.Alone(ctx, all[i].Node); err != nil {
			return nil, fmt.Errorf("%s: %w", store.Quote(all[i].Name), err)
		}
	}
	return all, nil
}

// AddCounts returns the sum of two counts. A field that would overflow is the largest number.
func AddCounts(a, b store.Counts) store.Counts {
	return store.Counts{
		Files: add(a.Files, b.Files), Directories: add(a.Directories, b.Directories),
		Symlinks: add(a.Symlinks, b.Symlinks), Bytes: add(a.Bytes, b.Bytes),
	}
}

// add returns a+b, or the largest number.
func add(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return math.MaxUint64
}

// measure adds an object that is new to what is unique.
func (u *Usage) measure(ctx context.Context, n *store.Node) error {
	u.Objects.Add(1)
	if n.Kind == store.KindDirectory {
		u.Unique.Directories++
		return u.stored(ctx, n.Kind, n.Digest, &u.Unique.StoredDirs)
	}
	u.Unique.Files++
	u.Unique.Sizes[SizeClass(n.Size)]++
	return u.stored(ctx, n.Kind, n.Digest, &u.Unique.Stored)
}

// stored adds what an object takes to total, if the store can tell.
func (u *Usage) stored(ctx context.Context, k store.Kind, d store.Digest, total *uint64) error {
	if u.st.Sizer == nil {
		return nil
	}
	size, err := u.st.Sizer.Stored(ctx, k, d)
	*total = add(*total, size)
	return err
}

// Rest returns how many objects of the store Add has not met, and how many bytes they take. It looks through the whole
// index. known is false if the store cannot tell.
func (u *Usage) Rest(ctx context.Context) (objects, bytes uint64, known bool, err error) {
	if u.st.Lister == nil || u.st.Sizer == nil {
		return 0, 0, false, nil
	}
	met := NewSet(u.st)
	for d, err := range u.st.Lister.List(ctx, store.Digest{}, 0) {
		if err != nil {
			return 0, 0, false, err
		}
		for _, k := range []store.Kind{store.KindDirectory, store.KindFile} {
			if u.seen.Has(k, d) {
				continue
			}
			isNew, err := met.Add(k, d)
			if isNew && err == nil {
				err = u.stored(ctx, k, d, &bytes)
			}
			if isNew && err == nil {
				objects++
			}
			if err != nil && !store.IsNotFound(err) { // of the other kind
				return 0, 0, false, err
			}
		}
	}
	return objects, bytes, true, nil
}

// Own says that root, and all that it reaches, belongs to one owner more. Each directory is read twice at most, however
// many owners it has. Nothing is read if the store cannot tell what Alone is about.
func (u *Usage) Own(ctx context.Context, root store.Node) error {
	if u.st.Sizer == nil {
		return nil
	}
	return u.unshared(ctx, root, func(k store.Kind, d store.Digest) error {
		first, err := u.once.Add(k, d)
		if err == nil && !first {
			_, err = u.shared.Add(k, d)
		}
		return err
	})
}

// Alone returns how many bytes are stored for root alone, after Own was called for all owners: what would be free
// without root. It is 0 if the store cannot tell.
func (u *Usage) Alone(ctx context.Context, root store.Node) (total uint64, err error) {
	if u.st.Sizer == nil {
		return 0, nil
	}
	var mu sync.Mutex
	err = u.unshared(ctx, root, func(k store.Kind, d store.Digest) error {
		size := uint64(0)
		err := u.stored(ctx, k, d, &size)
		mu.Lock()
		defer mu.Unlock()
		total = add(total, size)
		return err
	})
	return total, err
}

// unshared calls each for the objects that root reaches, except those that belong to several owners and what is below
// these. The calls are concurrent.
func (u *Usage) unshared(ctx context.Context, root store.Node, each func(store.Kind, store.Digest) error) error {
	met := NewSet(u.st)
	return reach(ctx, u.st, []Root{{Node: root}}, func(k store.Kind, d store.Digest) (bool, error) {
		if u.shared.Has(k, d) {
			return false, nil
		}
		isNew, err := met.Add(k, d)
		if err == nil && isNew {
			err = each(k, d)
		}
		return isNew, err
	}, func(err error) error { return err })
}

// DirUsage is what a directory, or another entry, of a tree takes.
type DirUsage struct {
	Path   string
	Node   store.Node
	Counts store.Counts // what it holds, each wherever it occurs
	// Bytes that are stored for it and for nothing else in the tree, and those that other entries need too, at the same
	// depth or above it. Both are 0 if the store cannot tell.
	Unique, Shared uint64
}

// DirUsages measures the directories of a tree down to depth, each after those in it, and the root last. It reads the tree
// about three times for each level.
func DirUsages(ctx context.Context, st *store.Store, root store.Node, depth int) ([]DirUsage, error) {
	var entries []Entry
	deepest := 0
	for e, err := range Walk(ctx, st.Directories, root, depth) {
		if err != nil {
			return nil, err
		}
		entries, deepest = append(entries, e), max(deepest, e.Depth)
	}
	usages := make([]DirUsage, len(entries))
	for level := range deepest + 1 {
		if err := dirUsagesAt(ctx, st, entries, level, usages); err != nil {
			return nil, err
		}
	}
	return afterContents(entries, usages), nil
}

// dirUsagesAt measures the directories of one level. What else is there, or above, shares with them.
func dirUsagesAt(ctx context.Context, st *store.Store, entries []Entry, level int, usages []DirUsage) error {
	u := NewUsage(st)
	for _, e := range entries {
		if e.Depth == level || e.Depth < level && e.Node.Kind == store.KindFile {
			if err := u.Own(ctx, e.Node); err != nil {
				return err
			}
		}
	}
	for i, e := range entries {
		if e.Depth != level || level > 0 && e.Node.Kind != store.KindDirectory {
			continue
		}
		own := NewUsage(st)
		own.sizesOnly = true
		counts, err := own.Add(ctx, e.Node)
		if err != nil {
			return err
		}
		alone, err := u.Alone(ctx, e.Node)
		if err != nil {
			return err
		}
		all := add(own.Unique.Stored, own.Unique.StoredDirs)
		usages[i] = DirUsage{e.Path, e.Node, counts, alone, all - min(alone, all)}
	}
	return nil
}

// afterContents returns the usages that were measured, each directory after what is in it.
func afterContents(entries []Entry, usages []DirUsage) (sorted []DirUsage) {
	var open []int // directories on the way down
	leave := func(depth int) {
		for len(open) > 0 && entries[open[len(open)-1]].Depth >= depth {
			sorted = append(sorted, usages[open[len(open)-1]])
			open = open[:len(open)-1]
		}
	}
	for i, e := range entries {
		leave(e.Depth)
		if usages[i].Node.Kind != 0 {
			open = append(open, i)
		}
	}
	leave(0)
	return sorted
}

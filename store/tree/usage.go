package tree

import (
	"context"
	"math"
	"math/bits"
	"sync/atomic"

	"castar/store"
)

// Usage measures what trees hold and what they take, each object of the store once. The zero value is not usable; it is
// not for concurrent use.
//
// Its memory is six sets of objects, and for each directory that occurs more than once, about 100 bytes.
type Usage struct {
	st     *store.Store
	seen   store.ObjectSet // what Add has measured
	once   store.ObjectSet // what belongs to one owner or more
	shared store.ObjectSet // what belongs to several

	counts  map[store.Digest]store.Counts // of directories that were met again
	counted store.ObjectSet               // those that were met

	Unique  Unique
	Objects atomic.Uint64 // measured so far; may be read at any time
}

// Unique is what there is when everything that is the same counts once.
type Unique struct {
	Files       uint64 // different contents
	Directories uint64
	Chunks      uint64 // of those contents that have some
	Bytes       uint64 // of file contents, each chunk once
	Stored      uint64 // bytes that contents take in the store; 0 where it cannot tell
	StoredDirs  uint64 // bytes that directories take there
	Sizes       [SizeClasses]uint64
}

// SizeClasses is the number of classes that file sizes are counted in.
const SizeClasses = 12

// SizeClass returns the class of a file of n bytes. Class 0 is for empty files, class 1 for those below 1 KiB, and each
// further one goes to four times the size, but for the last, which has no end.
func SizeClass(n uint64) int {
	if n == 0 {
		return 0
	}
	return min(1+(max(bits.Len64(n), 9)-9)/2, SizeClasses-1)
}

// SizeLimit returns the size that the files of a class are below, in bytes, or 0 for the last class, which has none.
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
	return &Usage{st: st, seen: NewSet(st), once: NewSet(st), shared: NewSet(st), counted: NewSet(st),
		counts: map[store.Digest]store.Counts{}}
}

// Add measures what root reaches, in u.Unique, and returns what the tree holds when everything counts wherever it
// occurs. A number that would be too large is the largest there is.
func (u *Usage) Add(ctx context.Context, root store.Node) (store.Counts, error) {
	c, err := u.count(ctx, rootPlace(), root)
	if err == nil {
		err = u.unique(ctx, rootPlace(), root)
	}
	return c, err
}

// count adds up a tree. A directory that occurs again is read once more at most, then remembered.
func (u *Usage) count(ctx context.Context, at *place, n store.Node) (c store.Counts, err error) {
	switch n.Kind {
	case store.KindFile:
		return store.Counts{Files: 1, Bytes: n.Size}, nil
	case store.KindSymlink:
		return store.Counts{Symlinks: 1}, nil
	}
	if c, ok := u.counts[n.Digest]; ok {
		return c, nil
	}
	isNew, err := u.counted.Add(n.Kind, n.Digest)
	if err != nil {
		return c, at.wrap(err)
	}
	dir, err := getDirectory(ctx, u.st.Directories, at, n.Digest)
	if err != nil {
		return c, err
	}
	c.Directories = 1
	for i := range dir {
		below, err := u.count(ctx, at.child(dir[i].Name), dir[i])
		if err != nil {
			return c, err
		}
		c = AddCounts(c, below)
	}
	if !isNew {
		u.counts[n.Digest] = c
	}
	return c, nil
}

// AddCounts returns the sum of two counts, each field of which is at most the largest number.
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

// unique measures what has not been measured before.
func (u *Usage) unique(ctx context.Context, at *place, n store.Node) error {
	if n.Kind == store.KindSymlink {
		return nil
	}
	isNew, err := u.seen.Add(n.Kind, n.Digest)
	if err != nil {
		return at.wrap(err)
	}
	if !isNew {
		return nil
	}
	u.Objects.Add(1)
	if n.Kind == store.KindFile {
		return u.uniqueFile(ctx, at, n)
	}
	u.Unique.Directories++
	if err := u.stored(ctx, at, n.Kind, n.Digest, &u.Unique.StoredDirs); err != nil {
		return err
	}
	dir, err := getDirectory(ctx, u.st.Directories, at, n.Digest)
	if err != nil {
		return err
	}
	for i := range dir {
		if err := u.unique(ctx, at.child(dir[i].Name), dir[i]); err != nil {
			return err
		}
	}
	return nil
}

func (u *Usage) uniqueFile(ctx context.Context, at *place, n store.Node) error {
	u.Unique.Files++
	u.Unique.Sizes[SizeClass(n.Size)]++
	if err := u.stored(ctx, at, n.Kind, n.Digest, &u.Unique.Stored); err != nil {
		return err
	}
	chunks, err := u.st.Blobs.Chunks(ctx, n.Digest)
	if err != nil {
		return at.wrap(err)
	}
	if len(chunks) == 0 {
		u.Unique.Bytes = add(u.Unique.Bytes, n.Size)
	}
	for _, c := range chunks {
		isNew, err := u.seen.Add(store.KindFile, c.Digest)
		if err != nil {
			return at.wrap(err)
		}
		if !isNew {
			continue
		}
		u.Unique.Chunks++
		u.Unique.Bytes = add(u.Unique.Bytes, c.Size)
		if err := u.stored(ctx, at, store.KindFile, c.Digest, &u.Unique.Stored); err != nil {
			return err
		}
	}
	return nil
}

// stored adds what an object takes to total, where the store can tell.
func (u *Usage) stored(ctx context.Context, at *place, k store.Kind, d store.Digest, total *uint64) error {
	if u.st.Sizer == nil {
		return nil
	}
	size, err := u.st.Sizer.Stored(ctx, k, d)
	if err != nil {
		return at.wrap(err)
	}
	*total = add(*total, size)
	return nil
}

// Own says that root belongs to an owner of its own, and all that it reaches. Each directory is read twice at most,
// however many owners it has.
func (u *Usage) Own(ctx context.Context, root store.Node) error {
	met := NewSet(u.st)
	return u.own(ctx, rootPlace(), root, func(k store.Kind, d store.Digest) (bool, error) {
		if u.shared.Has(k, d) {
			return false, nil // and so is all that is below it
		}
		isNew, err := met.Add(k, d)
		if err != nil || !isNew {
			return false, err
		}
		first, err := u.once.Add(k, d)
		if err == nil && !first {
			_, err = u.shared.Add(k, d)
		}
		return true, err
	})
}

// Alone returns how many bytes are stored for nothing but root, once Own was called for all owners: what would be free
// without root. It is 0 where the store cannot tell.
func (u *Usage) Alone(ctx context.Context, root store.Node) (total uint64, err error) {
	met := NewSet(u.st)
	err = u.own(ctx, rootPlace(), root, func(k store.Kind, d store.Digest) (bool, error) {
		if u.shared.Has(k, d) {
			return false, nil
		}
		isNew, err := met.Add(k, d)
		if err == nil && isNew {
			err = u.stored(ctx, rootPlace(), k, d, &total)
		}
		return isNew, err
	})
	return total, err
}

// own calls mark for each object that root reaches, and goes on below it if that reports true.
func (u *Usage) own(ctx context.Context, at *place, n store.Node, mark func(store.Kind, store.Digest) (bool, error)) error {
	if n.Kind == store.KindSymlink {
		return nil
	}
	descend, err := mark(n.Kind, n.Digest)
	if err != nil {
		return at.wrap(err)
	}
	if !descend {
		return nil
	}
	if n.Kind == store.KindFile {
		chunks, err := u.st.Blobs.Chunks(ctx, n.Digest)
		if err != nil {
			return at.wrap(err)
		}
		for _, c := range chunks {
			if _, err := mark(store.KindFile, c.Digest); err != nil {
				return at.wrap(err)
			}
		}
		return nil
	}
	dir, err := getDirectory(ctx, u.st.Directories, at, n.Digest)
	if err != nil {
		return err
	}
	for i := range dir {
		if err := u.own(ctx, at.child(dir[i].Name), dir[i], mark); err != nil {
			return err
		}
	}
	return nil
}

package packed

import (
	"fmt"
	"slices"
	"sync/atomic"

	"castar/store"
)

// set implements store.ObjectSet: one bit for each record of the indexes that the store had when it was made.
type set struct {
	st      *Store
	indexes []*index
	damaged *quarantine
	bits    [][2][]atomic.Uint64 // of each index: of its blobs, and of its directories
}

// NewSet returns an empty set of objects that are committed, by whomever. It knows nothing that is committed later.
func (st *Store) NewSet() store.ObjectSet {
	st.refresh()
	return st.newSet()
}

func (st *Store) newSet() *set {
	s := &set{st: st, indexes: *st.indexes.Load(), damaged: st.quarantine.Load()}
	for _, x := range s.indexes {
		words := func(n int) []atomic.Uint64 { return make([]atomic.Uint64, (n+63)/64) }
		s.bits = append(s.bits, [2][]atomic.Uint64{words(x.blobs.Len()), words(x.dirs.Len())})
	}
	return s
}

// bit is the place of an object in a set. Of several records it is that which lookups find, or else a damaged one.
func (s *set) bit(k store.Kind, d *store.Digest) (word *atomic.Uint64, mask uint64, ok bool) {
	objects, which := kindData, 0
	if k == store.KindDirectory {
		objects, which = kindDirectory, 1
	}
	for i, x := range s.indexes {
		n, found := x.table(objects).Search(d[:])
		if !found {
			continue
		}
		_, l, valid := x.record(objects, n)
		whole := valid && !s.damaged.holds(d, l)
		if !ok || whole {
			word, mask, ok = &s.bits[i][which][n/64], 1<<(n%64), true
		}
		if whole {
			break
		}
	}
	return word, mask, ok
}

// Add implements store.ObjectSet.
func (s *set) Add(k store.Kind, d store.Digest) (added bool, err error) {
	word, mask, ok := s.bit(k, &d)
	if !ok {
		return false, fmt.Errorf("%s %s: %w", k, d, store.ErrNotFound)
	}
	return word.Or(mask)&mask == 0, nil
}

// Has implements store.ObjectSet.
func (s *set) Has(k store.Kind, d store.Digest) bool {
	word, mask, ok := s.bit(k, &d)
	return ok && word.Load()&mask != 0
}

// member reports whether record n of a table of index i is in the set.
func (s *set) member(i int, k kind, n int) bool {
	which := 0
	if k == kindDirectory {
		which = 1
	}
	return s.bits[i][which][n/64].Load()&(1<<(n%64)) != 0
}

// covers reports whether the index in a file is one of those that the set is of.
func (s *set) covers(file string) bool {
	return slices.ContainsFunc(s.indexes, func(x *index) bool { return x.name == file })
}

package live

import (
	"fmt"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// Set implements store.ObjectSet: one bit for each record of the indexes that the store had when it was made.
type Set struct {
	St      *Store
	Indexes []*index.Index
	damaged *sealed.Quarantine
	Marks   index.Marks
}

// NewSet returns an empty set of the objects that any process has committed by now.
func (st *Store) NewSet() store.ObjectSet {
	st.Refresh()
	indexes := *st.Indexes.Load()
	return &Set{St: st, Indexes: indexes, damaged: st.Quarantine.Load(), Marks: index.NewMarks(indexes)}
}

// record is the record of an object in a set. Of several it is the one that lookups find, or else a damaged one.
func (s *Set) record(k store.Kind, d *store.Digest) (at index.At, ok bool) {
	objects := pack.TableOf(k)
	for i, x := range s.Indexes {
		n, found := x.Table(objects).Search(d[:])
		if !found {
			continue
		}
		_, l, valid := x.Record(objects, n)
		whole := valid && !s.damaged.Holds(d, l)
		if !ok || whole {
			at, ok = index.At{Index: i, Kind: objects, N: n}, true
		}
		if whole {
			break
		}
	}
	return at, ok
}

// Add implements store.ObjectSet.
func (s *Set) Add(k store.Kind, d store.Digest) (added bool, err error) {
	at, ok := s.record(k, &d)
	if !ok {
		return false, fmt.Errorf("%s %s: %w", k, d, store.ErrNotFound)
	}
	return s.Marks.Add(at), nil
}

// Has implements store.ObjectSet.
func (s *Set) Has(k store.Kind, d store.Digest) bool {
	at, ok := s.record(k, &d)
	return ok && s.Marks.Has(at)
}

// Covers reports whether the set is of the index in a file.
func (s *Set) Covers(file string) bool {
	return index.HasName(s.Indexes, file)
}

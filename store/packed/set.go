package packed

import (
	"fmt"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/pack"
)

// set implements store.ObjectSet: one bit for each record of the indexes that the store had when it was made.
type set struct {
	st      *Store
	indexes []*index.Index
	damaged *quarantine
	marks   index.Marks
}

// NewSet returns an empty set of the objects that any process has committed by now.
func (st *Store) NewSet() store.ObjectSet {
	st.refresh()
	return st.newSet()
}

func (st *Store) newSet() *set {
	indexes := *st.indexes.Load()
	return &set{st: st, indexes: indexes, damaged: st.quarantine.Load(), marks: index.NewMarks(indexes)}
}

// record is the record of an object in a set. Of several it is the one that lookups find, or else a damaged one.
func (s *set) record(k store.Kind, d *store.Digest) (at index.At, ok bool) {
	objects := pack.TableOf(k)
	for i, x := range s.indexes {
		n, found := x.Table(objects).Search(d[:])
		if !found {
			continue
		}
		_, l, valid := x.Record(objects, n)
		whole := valid && !s.damaged.holds(d, l)
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
func (s *set) Add(k store.Kind, d store.Digest) (added bool, err error) {
	at, ok := s.record(k, &d)
	if !ok {
		return false, fmt.Errorf("%s %s: %w", k, d, store.ErrNotFound)
	}
	return s.marks.Add(at), nil
}

// Has implements store.ObjectSet.
func (s *set) Has(k store.Kind, d store.Digest) bool {
	at, ok := s.record(k, &d)
	return ok && s.marks.Has(at)
}

// covers reports whether the set is of the index in a file.
func (s *set) covers(file string) bool {
	return index.HasName(s.indexes, file)
}

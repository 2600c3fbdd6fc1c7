package live

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	// Generation is that of the head of the bucket when the set was made. A pin that was set since then has changed it.
	Generation uint64
}

// NewSet returns an empty set of the objects that any process has committed by now.
func (st *Store) NewSet() store.ObjectSet {
	if st.Bucket == nil {
		st.Refresh()
		return st.setOf(*st.Indexes.Load())
	}
	if st.dueForSets() { // also if it is alone, which excludes nobody
		st.refreshShared()
	}
	h := st.Bucket.Head()
	set := st.setOf(*st.Indexes.Load())
	if h != nil && st.Uses(h) {
		set.Generation = h.Generation
	}
	return set
}

// dueForSets reports whether a set should look for what other processes committed. A reader makes a set for each
// directory, and asks it for objects of the wrong kind: a round trip for each would be too much, and nothing is removed by
// what such a set has.
func (st *Store) dueForSets() bool {
	return !st.ReadOnly || st.isDue(&st.setLooked, 100*time.Millisecond)
}

// setOf returns an empty set of the objects of some indexes.
func (st *Store) setOf(indexes []*index.Index) *Set {
	return &Set{St: st, Indexes: indexes, damaged: st.Quarantine.Load(), Marks: index.NewMarks(indexes)}
}

// record is the record of an object in a set. Of several it is the one that lookups find, or else a damaged one.
func (s *Set) record(k store.Kind, d *store.Digest) (at index.At, ok bool) {
	objects := pack.TableKind(k)
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

// Add implements store.ObjectSet. In a bucket the error is store.ErrChanged if another process has committed since the
// set was made, because it may have recorded a root that the set does not know.
func (s *Set) Add(k store.Kind, d store.Digest) (added bool, err error) {
	at, ok := s.record(k, &d)
	switch {
	case ok:
		return s.Marks.Add(at), nil
	case s.outdated():
		return false, fmt.Errorf("%s %s: %w", k, d, store.ErrChanged)
	}
	return false, fmt.Errorf("%s %s: %w", k, d, store.ErrNotFound)
}

// outdated reports whether the head names other indexes than those of the set.
func (s *Set) outdated() bool {
	if s.St.Bucket == nil || !s.St.dueForSets() {
		return false
	}
	h, err := s.St.Bucket.Reload()
	return err == nil && h != nil && (len(h.Indexes) != len(s.Indexes) ||
		slices.ContainsFunc(h.Indexes, func(name string) bool { return !index.HasName(s.Indexes, name) }))
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

// Stored implements store.Sizer. An object takes its item in the head of its frame, and its share of the payload, rounded.
// Padding and indexes count for no object. An object that is not written yet counts with its raw length.
func (st *Store) Stored(ctx context.Context, k store.Kind, d store.Digest) (uint64, error) {
	l, data, err := st.Lookup(pack.TableKind(k), d, true)
	if err == nil {
		err = ctx.Err()
	}
	switch raw := uint64(l.Frame.Raw); {
	case err != nil:
		return 0, err
	case data != nil:
		return pack.ItemLen + uint64(len(data)), nil
	case raw > 0:
		return pack.ItemLen + (uint64(l.Size)*uint64(l.Frame.Stored)+raw/2)/raw, nil
	}
	return pack.ItemLen, nil
}

package tree

import (
	"sync"

	"castar/store"
)

// NewSet returns an empty set of objects of st: the store's own, or a map if it has none. A map takes about 50 bytes
// for each object, and also objects that the store lacks.
func NewSet(st *store.Store) store.ObjectSet {
	if st.NewSet != nil {
		return st.NewSet()
	}
	return &mapSet{members: map[object]struct{}{}}
}

type object struct {
	kind   store.Kind
	digest store.Digest
}

type mapSet struct {
	mu      sync.RWMutex
	members map[object]struct{}
}

// Add implements store.ObjectSet.
func (s *mapSet) Add(k store.Kind, d store.Digest) (added bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.members)
	s.members[object{k, d}] = struct{}{}
	return len(s.members) > before, nil
}

// Has implements store.ObjectSet.
func (s *mapSet) Has(k store.Kind, d store.Digest) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, ok := s.members[object{k, d}]
	return ok
}

// maxMemo is how many keys a memo keeps: some 30 MB of them.
const maxMemo = 1 << 18

// memo remembers what was found out about directories. A tree may share the same few directories in very many paths.
// With a memo, work on it takes time in proportion to its objects, not its paths. A full memo is emptied. The zero memo
// is empty.
type memo[K comparable, V any] struct{ known map[K]V }

func (m *memo[K, V]) get(k K) (V, bool) {
	v, ok := m.known[k]
	return v, ok
}

func (m *memo[K, V]) has(k K) bool {
	_, ok := m.known[k]
	return ok
}

func (m *memo[K, V]) put(k K, v V) {
	if m.known == nil {
		m.known = map[K]V{}
	}
	if len(m.known) >= maxMemo {
		clear(m.known)
	}
	m.known[k] = v
}

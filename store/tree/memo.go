package tree

import "castar/store"

// pairKey is what a memo is about: a directory, or two that are compared. A zero digest stands for none.
type pairKey struct{ old, new store.Digest }

// maxMemo is how many keys a memo keeps: some 30 MB of them.
const maxMemo = 1 << 18

// memo remembers what was found out about directories, so that trees that share them over and over, which a few objects
// suffice for, take the time of their objects and not that of their paths. A full one begins anew. The zero memo is empty.
type memo[V any] struct{ known map[pairKey]V }

func (m *memo[V]) get(k pairKey) (V, bool) {
	v, ok := m.known[k]
	return v, ok
}

func (m *memo[V]) put(k pairKey, v V) {
	if m.known == nil {
		m.known = map[pairKey]V{}
	}
	if len(m.known) >= maxMemo {
		clear(m.known)
	}
	m.known[k] = v
}

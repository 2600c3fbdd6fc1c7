package tree

// maxMemo is how many keys a memo keeps: some 30 MB of them.
const maxMemo = 1 << 18

// memo remembers what was found out about directories. A few objects are enough for trees that share directories over
// and over; with a memo they take the time of their objects and not that of their paths. A full memo begins anew. The
// zero memo is empty.
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

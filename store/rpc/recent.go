package rpc

import (
	"sync"

	"castar/store"
)

// recentSize is how many digests each half of a recent has. As a set they take about 4 MiB.
const recentSize = 1 << 16

// recent is a map that forgets the older half when it is full. Its methods may be called concurrently.
type recent[V any] struct {
	mu       sync.Mutex
	new, old map[store.Digest]V
}

func (r *recent[V]) get(d store.Digest) (v V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if v, ok = r.new[d]; !ok {
		v, ok = r.old[d]
	}
	return v, ok
}

func (r *recent[V]) has(d store.Digest) bool {
	_, ok := r.get(d)
	return ok
}

func (r *recent[V]) add(d store.Digest, v V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.new == nil || len(r.new) >= recentSize {
		r.old, r.new = r.new, map[store.Digest]V{}
	}
	r.new[d] = v
}

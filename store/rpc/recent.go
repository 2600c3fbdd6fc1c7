package rpc

import (
	"sync"

	"castar/store"
)

// recentSize is how many digests each half of a recent has. They take about 4 MiB.
const recentSize = 1 << 16

// recent is a set of digests that forgets the older half when it is full. Its methods may be called concurrently.
type recent struct {
	mu       sync.Mutex
	new, old map[store.Digest]struct{}
}

func (r *recent) has(d store.Digest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.new[d]
	if !ok {
		_, ok = r.old[d]
	}
	return ok
}

func (r *recent) add(d store.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.new == nil || len(r.new) >= recentSize {
		r.old, r.new = r.new, map[store.Digest]struct{}{}
	}
	r.new[d] = struct{}{}
}

//go:build linux

package mount

import (
	"sync"
	"sync/atomic"

	"castar/store"
)

// mostReports is how many errors are remembered, so as not to be reported again.
const mostReports = 1 << 14

// reports tells the user of errors, each object once. An error that is not about an object means that the store is out of
// reach; that is told once, until it answers again.
type reports struct {
	tell func(path string, err error)
	away atomic.Bool

	mu   sync.Mutex
	told map[string]struct{} // error texts
}

// answered says that the store is within reach.
func (r *reports) answered() {
	if r.away.Load() {
		r.away.Store(false)
	}
}

// add reports an error at a path, unless that was done.
func (r *reports) add(err error, path func() string) {
	if !store.IsCorrupt(err) && !store.IsNotFound(err) {
		if r.away.CompareAndSwap(false, true) {
			r.tell(path(), err)
		}
		return
	}
	text := err.Error()
	r.mu.Lock()
	_, known := r.told[text]
	if len(r.told) >= mostReports {
		clear(r.told)
	}
	r.told[text] = struct{}{}
	r.mu.Unlock()
	if !known {
		r.tell(path(), err)
	}
}

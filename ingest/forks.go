package ingest

import (
	"sync"
	"sync/atomic"
)

// forks are the goroutines that work on one directory.
type forks struct {
	running sync.WaitGroup
	count   atomic.Int32
	mu      sync.Mutex
	err     error
}

func (g *forks) fail(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err == nil {
		g.err = err
	}
}

func (g *forks) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// fork runs f in a new goroutine if w may give away work and a slot is free, and otherwise in the caller's. It runs the
// last piece of work in the caller's too, because the caller would only wait for it.
func (w *worker) fork(g *forks, last bool, f func(*worker) error) {
	if !last && w.mayFork() {
		select {
		case blobs := <-w.slots:
			g.count.Add(1)
			other := w.hire(blobs, w)
			g.running.Go(func() {
				defer other.leave()
				if err := f(other); err != nil {
					g.fail(err)
				}
			})
			return
		default:
		}
	}
	if err := f(w); err != nil {
		g.fail(err)
	}
}

// join waits for the goroutines of g. It frees its slot while it waits.
func (w *worker) join(g *forks) error {
	if g.count.Load() > 0 {
		w.rest()
		g.running.Wait()
		w.blobs = <-w.slots
	}
	return g.failed()
}

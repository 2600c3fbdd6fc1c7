package care

import (
	"context"
	"iter"
	"sync"

	"castar/store/packed/pack"
)

// runParallel calls do for each item of work, in that many goroutines, and begins the items in the order of work. It stops
// early at an error of do and when ctx ends, and returns the first error of either. It asks for an item only when a
// goroutine is free to begin it, and for one item at a time.
func runParallel[T any](ctx context.Context, workers int, work iter.Seq[T], do func(T) error) error {
	next, stop := iter.Pull(work)
	defer stop()
	var mu sync.Mutex // for next and failed
	var failed error
	claim := func() (item T, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil || ctx.Err() != nil {
			return item, false
		}
		return next()
	}
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for item, ok := claim(); ok; item, ok = claim() {
				if err := do(item); err != nil {
					mu.Lock()
					if failed == nil {
						failed = err
					}
					mu.Unlock()
				}
			}
		})
	}
	running.Wait()
	if failed != nil {
		return failed
	}
	return ctx.Err()
}

// newLoadedPool returns a pool of *pack.Loaded, so that workers use their memory again.
func newLoadedPool() *sync.Pool { return &sync.Pool{New: func() any { return new(pack.Loaded) }} }

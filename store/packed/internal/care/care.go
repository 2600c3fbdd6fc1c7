// Package care looks after a packed store: verify, gc and repair. Its files are named after these commands, except
// newer.go, which keeps gc and repair from what a newer program wrote.
//
// All three rest on a census: each frame is read once, and each object in it is judged once (pack.Files.Check). Verify and
// gc take the frames that indexes claim (verifyframes.go, gcmove.go); repair takes those that packs have, and then looks
// for what only an index leads to (repairscan.go, repairrescue.go). Gc and repair then move objects to new packs, and put
// one index of all that is left in the place of all others (gc.go, gcmove.go):
//
//	plan what is alive → move it out of packs of which much is dead → publish packs → new index → remove
package care

import (
	"context"
	"iter"
	"sync"

	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// Store is a store with what looks after it: it implements store.Scrubber, store.Sweeper and store.Repairer.
type Store struct{ *live.Store }

// New returns a store with what looks after it.
func New(st *live.Store) Store { return Store{st} }

// waiters is how many goroutines do what takes little but waiting, for a disk or a network.
const waiters = 8

// runParallel calls do for each item of work, in that many goroutines, and begins the items in the order of work. It stops
// early at an error of do and when ctx ends, and returns the first error of either. It asks for an item only when a
// goroutine is free to begin it, and for one item at a time.
func runParallel[T any](ctx context.Context, workers int, work iter.Seq[T], do func(T) error) error {
	next, stop := iter.Pull(work)
	defer stop()
	turn := make(chan struct{}, 1) // held for next and failed; a test of a model sees who waits for a channel, not for a mutex
	var failed error
	claim := func() (item T, ok bool) {
		turn <- struct{}{}
		defer func() { <-turn }()
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
					turn <- struct{}{}
					if failed == nil {
						failed = err
					}
					<-turn
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

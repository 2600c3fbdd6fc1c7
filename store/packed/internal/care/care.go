// Package care looks after a packed store: verify, gc and repair. Its files are named after these commands, except
// newer.go, which keeps gc and repair from what a newer program wrote.
//
// All three rest on a census: each frame is read once, and each object in it is judged once (pack.Files.Check). Verify and
// gc take the frames that indexes claim (verifyframes.go, gcmove.go); repair takes those that packs have, and then looks
// for what only an index leads to (repairscan.go, repairrescue.go). Gc and repair then move objects to new packs, and put
// one index of all that is left in the place of all others (gc.go, gcmove.go):
//
//	plan what is alive → move it out of mostly dead packs → publish packs → new index → remove
package care

import (
	"cmp"
	"context"
	"iter"

	"castar/store/packed/internal/live"

	"golang.org/x/sync/errgroup"
)

// Store is a store with what looks after it: it implements store.Scrubber, store.Sweeper and store.Repairer.
type Store struct{ *live.Store }

// New returns a store with what looks after it.
func New(st *live.Store) Store { return Store{st} }

// waiters is how many goroutines do what takes little but waiting, for a disk or a network.
const waiters = 8

// runParallel calls do for each item of work, in that many goroutines, and begins the items in the order of work. It stops
// early at an error of do and when ctx ends, and returns the first error of either. It asks for one item more than it has
// begun, and for one at a time.
func runParallel[T any](ctx context.Context, workers int, work iter.Seq[T], do func(T) error) error {
	g, running := errgroup.WithContext(ctx)
	g.SetLimit(workers)
	for item := range work {
		g.Go(func() error { // once there is a goroutine for it
			if running.Err() != nil {
				return nil
			}
			return do(item)
		})
		if running.Err() != nil {
			break
		}
	}
	return cmp.Or(g.Wait(), ctx.Err())
}

package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/codes"

	"castar/store/retry"
	"castar/store/rpc/internal/wire"
)

const (
	// usualSingles is how many calls about one blob run at once at first: enough to hide a short round trip, and what servers
	// allow by default.
	usualSingles = 100
	// mostSingles is how many run at once if the server has taken more and more of them, which hides a longer one.
	mostSingles = 250
	// leastSingles is how many run at once if the server keeps saying that this is too much.
	leastSingles = 4
)

// pace is how many calls run at once: usualSingles, and slowly more as the server takes them. It has half as many running
// after the server said that it is overloaded. Its methods may be called concurrently.
type pace struct {
	turns *semaphore.Weighted // mostSingles; those beyond limit are taken

	mu      sync.Mutex
	limit   int // how many calls may run at once
	running int
	excess  int // how many turns of running calls are beyond limit, and will not be given back
	done    int // calls that went well since limit has changed
}

func newPace() *pace {
	p := &pace{turns: semaphore.NewWeighted(mostSingles), limit: usualSingles}
	p.turns.TryAcquire(mostSingles - usualSingles) // all are free
	return p
}

// do runs call when it is its turn, and again if the server is overloaded. Then fewer calls run at once.
func (p *pace) do(ctx context.Context, call func() error) error {
	policy := retry.Policy{Tries: 6, First: 100 * time.Millisecond}
	return policy.Do(ctx, overloaded, func(context.Context) error {
		if err := p.turns.Acquire(ctx, 1); err != nil {
			return err
		}
		p.mu.Lock()
		p.running++
		p.mu.Unlock()
		err := call()
		p.end(overloaded(err))
		return err
	})
}

// end notes how a call ended, and gives its turn back unless too many run.
func (p *pace) end(overload bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	limit := p.limit
	if overload {
		p.limit, p.done = max(leastSingles, min(p.running, limit)/2), 0
	} else if p.done++; p.done > limit/2 {
		p.limit, p.done = min(limit+1, mostSingles), 0
	}
	p.excess += limit - p.limit - 1 // this turn is free
	if p.excess < 0 {
		p.turns.Release(int64(-p.excess))
		p.excess = 0
	}
	for p.excess > 0 && p.turns.TryAcquire(1) {
		p.excess--
	}
}

// overloaded reports whether a server did not do something because it has too much to do.
func overloaded(err error) bool {
	said, ok := errors.AsType[*wire.Error](err)
	return ok && said.Code == codes.ResourceExhausted
}

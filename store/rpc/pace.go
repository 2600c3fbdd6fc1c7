package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

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
// after the server said that it is overloaded. Its methods may be called concurrently. The zero value is ready for use.
type pace struct {
	mu      sync.Mutex
	more    int // than usualSingles; negative: fewer
	running int
	done    int // calls that went well since more has changed
	waiting []chan struct{}
}

// limit returns how many calls may run at once. The caller holds p.mu.
func (p *pace) limit() int { return usualSingles + p.more }

// do runs call when it is its turn, and again if the server is overloaded. Then fewer calls run at once.
func (p *pace) do(ctx context.Context, call func() error) error {
	policy := retry.Policy{Tries: 6, First: 100 * time.Millisecond}
	return policy.Do(ctx, overloaded, func(context.Context) error {
		if err := p.begin(ctx); err != nil {
			return err
		}
		err := call()
		p.end(overloaded(err))
		return err
	})
}

// overloaded reports whether a server did not do something because it has too much to do.
func overloaded(err error) bool {
	var said *wire.Error
	return errors.As(err, &said) && said.Code == codes.ResourceExhausted
}

func (p *pace) begin(ctx context.Context) error {
	p.mu.Lock()
	if p.running < p.limit() {
		p.running++
		p.mu.Unlock()
		return nil
	}
	turn := make(chan struct{}, 1)
	p.waiting = append(p.waiting, turn)
	p.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.waiting {
		if p.waiting[i] == turn {
			p.waiting = append(p.waiting[:i], p.waiting[i+1:]...)
			return ctx.Err()
		}
	}
	p.running-- // it was given the turn just now
	p.next()
	return ctx.Err()
}

func (p *pace) end(overload bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if overload {
		p.more, p.done = max(leastSingles, min(p.running, p.limit())/2)-usualSingles, 0
	} else if p.done++; p.done > p.limit()/2 {
		p.more, p.done = min(p.more+1, mostSingles-usualSingles), 0
	}
	p.next()
}

// next lets those go on that may. The caller holds p.mu.
func (p *pace) next() {
	for len(p.waiting) > 0 && p.running < p.limit() {
		p.running++
		p.waiting[0] <- struct{}{}
		p.waiting = p.waiting[1:]
	}
}

package tier

import (
	"context"
	"sync"

	"castar/store"
)

// sharedCalls lets callers that want the same thing at the same time share one call. The zero value is ready for use.
type sharedCalls[V any] struct {
	mu      sync.Mutex
	running map[store.Digest]*sharedCall[V]
}

// sharedCall is a call in progress.
type sharedCall[V any] struct {
	waiters int // guarded by sharedCalls.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when value and err are set
	value   V
	err     error
}

// do returns what get returns. Callers that wait for the same d at the same time share one call of get. The call goes
// on as long as one of them waits. The last to give up cancels it and waits for it to end.
func (cs *sharedCalls[V]) do(ctx context.Context, d store.Digest, get func(context.Context) (V, error)) (V, error) {
	c := cs.enter(ctx, d, get)
	select {
	case <-c.done:
	case <-ctx.Done():
		if !cs.leave(d, c) {
			var none V
			return none, ctx.Err()
		}
		c.cancel()
		<-c.done
	}
	return c.value, c.err
}

// enter adds a waiter to the call for d, and starts the call if there is none.
func (cs *sharedCalls[V]) enter(ctx context.Context, d store.Digest, get func(context.Context) (V, error)) *sharedCall[V] {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.running[d]; c != nil {
		c.waiters++
		return c
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	c := &sharedCall[V]{waiters: 1, cancel: cancel, done: make(chan struct{})}
	if cs.running == nil {
		cs.running = map[store.Digest]*sharedCall[V]{}
	}
	cs.running[d] = c
	go func() {
		defer cancel()
		c.value, c.err = get(ctx)
		cs.end(d, c)
		close(c.done)
	}()
	return c
}

func (cs *sharedCalls[V]) leave(d store.Digest, c *sharedCall[V]) (last bool) {
	cs.mu.Lock()
	c.waiters--
	last = c.waiters == 0
	cs.mu.Unlock()
	if last {
		cs.end(d, c)
	}
	return last
}

// end makes the next caller for d start a new call.
func (cs *sharedCalls[V]) end(d store.Digest, c *sharedCall[V]) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.running[d] == c {
		delete(cs.running, d)
	}
}

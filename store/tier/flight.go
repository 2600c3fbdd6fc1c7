package tier

import (
	"context"
	"sync"

	"castar/store"
)

// flights lets callers that want the same thing at the same time share one way to get it. The zero value is ready.
type flights[V any] struct {
	mu      sync.Mutex
	running map[store.Digest]*flight[V]
}

// flight is one call under way.
type flight[V any] struct {
	waiters int // under flights.mu
	cancel  context.CancelFunc
	done    chan struct{} // closed when the rest is there
	value   V
	err     error
}

// do returns what get returns, which all callers that wait for d at the same time are given. get goes on for as long as
// one of them waits: it is canceled with the last of them, who waits for it to end.
func (fs *flights[V]) do(ctx context.Context, d store.Digest, get func(context.Context) (V, error)) (V, error) {
	f := fs.join(ctx, d, get)
	select {
	case <-f.done:
	case <-ctx.Done():
		if !fs.leave(d, f) {
			var none V
			return none, ctx.Err()
		}
		f.cancel()
		<-f.done
	}
	return f.value, f.err
}

// join returns the flight for d, which it starts where there is none.
func (fs *flights[V]) join(ctx context.Context, d store.Digest, get func(context.Context) (V, error)) *flight[V] {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.running[d]; f != nil {
		f.waiters++
		return f
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	f := &flight[V]{waiters: 1, cancel: cancel, done: make(chan struct{})}
	if fs.running == nil {
		fs.running = map[store.Digest]*flight[V]{}
	}
	fs.running[d] = f
	go func() {
		defer cancel()
		f.value, f.err = get(ctx)
		fs.end(d, f)
		close(f.done)
	}()
	return f
}

// leave reports whether who leaves was the last who waited.
func (fs *flights[V]) leave(d store.Digest, f *flight[V]) (last bool) {
	fs.mu.Lock()
	f.waiters--
	last = f.waiters == 0
	fs.mu.Unlock()
	if last {
		fs.end(d, f)
	}
	return last
}

// end lets the next who wants d begin anew.
func (fs *flights[V]) end(d store.Digest, f *flight[V]) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.running[d] == f {
		delete(fs.running, d)
	}
}

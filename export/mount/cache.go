//go:build linux

package mount

import (
	"container/list"
	"context"
	"errors"
	"sync"
)

// cache keeps what was loaded from the store: the values that were used last, up to a total weight in bytes. The last
// value stays whatever it weighs. What several ask for at once is loaded once. Its methods may be called concurrently.
type cache[K comparable, V any] struct {
	most    int64
	weigh   func(V) int64
	dropped func(V) // called for each value that is dropped; may be nil

	mu      sync.Mutex // unlock ends what needs it
	weight  int64
	entries map[K]*cached[K, V]
	recent  list.List // of loaded *cached; the last is the first to go
	out     []V       // dropped, which was not told yet
}

type cached[K comparable, V any] struct {
	key    K
	ready  chan struct{} // closed when value and err are set
	value  V
	err    error
	weight int64
	at     *list.Element // nil until it is loaded
}

func newCache[K comparable, V any](most int64, weigh func(V) int64) *cache[K, V] {
	return &cache[K, V]{most: most, weigh: weigh, entries: map[K]*cached[K, V]{}}
}

// get returns the value of k, and loads it if it is not there. An error is not kept. If the load that it waits for ends
// because its caller gave up, it loads the value itself.
func (c *cache[K, V]) get(ctx context.Context, k K, load func() (V, error)) (v V, err error) {
	for {
		c.mu.Lock()
		e, ok := c.entries[k]
		if !ok {
			e = &cached[K, V]{key: k, ready: make(chan struct{})}
			c.entries[k] = e
			c.mu.Unlock()
			c.fill(e, load)
			return e.value, e.err
		}
		if e.at != nil {
			c.recent.MoveToFront(e.at)
			c.mu.Unlock()
			return e.value, nil
		}
		c.mu.Unlock()
		select {
		case <-e.ready:
		case <-ctx.Done():
			return v, ctx.Err()
		}
		if e.err == nil || !errors.Is(e.err, context.Canceled) || ctx.Err() != nil {
			return e.value, e.err
		}
	}
}

// fill loads a value, and drops those that are too many.
func (c *cache[K, V]) fill(e *cached[K, V], load func() (V, error)) {
	e.err = errors.New("load panicked") // unless it returns
	defer func() {
		c.mu.Lock()
		defer c.unlock()
		close(e.ready)
		if e.err != nil {
			delete(c.entries, e.key)
			return
		}
		e.weight = c.weigh(e.value)
		e.at = c.recent.PushFront(e)
		for c.weight += e.weight; c.weight > c.most && c.recent.Len() > 1; {
			c.remove(c.recent.Back())
		}
	}()
	e.value, e.err = load()
}

// remove drops a value that is loaded. The caller holds c.mu.
func (c *cache[K, V]) remove(at *list.Element) {
	e := c.recent.Remove(at).(*cached[K, V])
	delete(c.entries, e.key)
	c.weight -= e.weight
	if c.dropped != nil {
		c.out = append(c.out, e.value)
	}
}

// unlock unlocks c.mu, and then calls dropped, which may take its time.
func (c *cache[K, V]) unlock() {
	out := c.out
	c.out = nil
	c.mu.Unlock()
	for _, v := range out {
		c.dropped(v)
	}
}

// peek returns the value of k if it is there.
func (c *cache[K, V]) peek(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entries[k]; e != nil && e.at != nil {
		c.recent.MoveToFront(e.at)
		return e.value, true
	}
	return v, false
}

// knows reports whether the value of k is there or being loaded.
func (c *cache[K, V]) knows(k K) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.entries[k] != nil
}

// put keeps a value that was not loaded, unless k has one.
func (c *cache[K, V]) put(k K, v V) {
	_, _ = c.get(context.Background(), k, func() (V, error) { return v, nil })
}

// drop drops the value of k, if it is loaded.
func (c *cache[K, V]) drop(k K) {
	c.mu.Lock()
	defer c.unlock()
	if e := c.entries[k]; e != nil && e.at != nil {
		c.remove(e.at)
	}
}

// clear drops all values.
func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.unlock()
	for c.recent.Len() > 0 {
		c.remove(c.recent.Back())
	}
}

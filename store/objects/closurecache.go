package objects

import (
	"container/list"
	"sync"

	"castar/store"
)

// closure is a closure in memory, checked.
type closure struct {
	messages []byte
	at       map[store.Digest]span // in messages
}

type span struct{ start, end int }

const (
	// maxCached is the length in bytes of the largest closure in which a single directory can be found.
	maxCached = 4 << 30
	// cacheBytes bounds the cached closures, in bytes. The last one used is always kept.
	cacheBytes = 64 << 20
)

// closureCache keeps recently used closures. It reads a closure once for all callers that want it at the same time.
type closureCache struct {
	mu      sync.Mutex
	entries map[store.Digest]*list.Element
	recent  list.List // of *cachedClosure, the most recently used first
	bytes   int
}

type cachedClosure struct {
	root    store.Digest
	loading sync.Mutex
	loaded  *closure
	bytes   int
}

// get returns the closure of root, from the cache or from load. Errors are not cached.
func (c *closureCache) get(root store.Digest, load func() (*closure, error)) (*closure, error) {
	c.mu.Lock()
	e, ok := c.entries[root]
	if ok {
		c.recent.MoveToFront(e)
	} else {
		e = c.recent.PushFront(&cachedClosure{root: root})
		c.entries[root] = e
	}
	c.mu.Unlock()
	entry := e.Value.(*cachedClosure)
	entry.loading.Lock()
	defer entry.loading.Unlock()
	if entry.loaded != nil {
		return entry.loaded, nil
	}
	var err error
	entry.loaded, err = load()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.entries[root] != e: // dropped since
	case err != nil:
		c.drop(e)
	default:
		entry.bytes = len(entry.loaded.messages) + len(entry.loaded.at)*2*store.DigestSize
		c.bytes += entry.bytes
		for c.bytes > cacheBytes && c.recent.Len() > 1 {
			c.drop(c.recent.Back())
		}
	}
	return entry.loaded, err
}

// drop removes an entry. The caller holds mu.
func (c *closureCache) drop(e *list.Element) {
	entry := c.recent.Remove(e).(*cachedClosure)
	delete(c.entries, entry.root)
	c.bytes -= entry.bytes
}

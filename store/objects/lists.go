package objects

import (
	"bytes"
	"container/list"
	"context"
	"slices"
	"sync"
	"time"

	"castar/store"
	"castar/store/chunk"
)

// putList stores the list of what is in the closure of root, unless it is there, which is asked only where ask says that
// it may be. A closure of one directory needs none.
func (ds *directories) putList(ctx context.Context, root store.Digest, members []store.Digest, ask bool) error {
	if len(members) < 2 {
		return nil
	}
	name := closureName(root)
	if ask {
		if has, err := ds.q.has(ctx, name); has || err != nil {
			return err
		}
	}
	members = slices.Clone(members)
	slices.SortFunc(members, func(a, b store.Digest) int { return bytes.Compare(a[:], b[:]) })
	body := make([]byte, 0, len(members)*store.DigestSize)
	for i := range members {
		body = append(body, members[i][:]...)
	}
	return ds.q.putAfter(ctx, name, body)
}

// parseList reads what putList wrote for the closure of root. Where it is not that, as far as can be told, it returns nil.
func parseList(b []byte, root store.Digest) []store.Digest {
	if len(b)%store.DigestSize != 0 {
		return nil
	}
	members := make([]store.Digest, 0, len(b)/store.DigestSize)
	ordered := true
	for d := range slices.Chunk(b, store.DigestSize) {
		last := len(members) - 1
		ordered = ordered && (last < 0 || bytes.Compare(members[last][:], d) < 0)
		members = append(members, store.Digest(d))
	}
	if !ordered || !slices.Contains(members, root) {
		return nil
	}
	return members
}

// maxList bounds the lists that are read, in bytes: 32 million directories.
const maxList = 1 << 30

// scan learns what is in all closures that were not yet known, unless it did so a moment ago. A closure that cannot be
// read is passed over: it is not what was asked for, and says so to whoever does.
func (ds *directories) scan(ctx context.Context) error {
	ds.scanning.Lock()
	defer ds.scanning.Unlock()
	if time.Since(ds.scanned) < rescanAfter {
		return nil
	}
	var roots []store.Digest
	for name, err := range ds.q.list(ctx, dirsPrefix, "") {
		if err != nil {
			return err
		}
		if root, ok := digestOf(dirsPrefix, name); ok && !ds.listed[root] {
			roots = append(roots, root)
		}
	}
	lists := map[store.Digest]bool{}
	if len(roots) > 0 {
		for name, err := range ds.q.list(ctx, closuresPrefix, "") {
			if err != nil {
				return err
			}
			if root, ok := digestOf(closuresPrefix, name); ok {
				lists[root] = true
			}
		}
	}
	type found struct {
		root    store.Digest
		members []store.Digest
	}
	fetch := func(ctx context.Context, i int) (found, error) {
		members, err := ds.members(ctx, roots[i], lists[roots[i]])
		return found{roots[i], members}, err
	}
	for f, err := range chunk.Ahead(ctx, len(roots), ds.ahead, fetch, nil) {
		if err != nil {
			return err
		}
		if len(f.members) > 0 {
			ds.learn(f.root, slices.Values(f.members))
		}
		ds.listed[f.root] = true
	}
	ds.scanned = time.Now()
	return nil
}

// members returns what is in the closure of root, from its list if there is one, else from the closure, of which it then
// stores the list. What cannot be read has no members.
func (ds *directories) members(ctx context.Context, root store.Digest, list bool) ([]store.Digest, error) {
	if list {
		body, err := ds.q.get(ctx, closureName(root), 0, maxList)
		if members := parseList(body, root); err == nil && members != nil {
			return members, nil
		}
	}
	var members []store.Digest
	for f, err := range ds.read(ctx, root, new([]store.Digest)) {
		if store.IsCorrupt(err) || store.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		members = append(members, f.digest)
	}
	if ds.q.writable() == nil {
		return members, ds.putList(ctx, root, members, false)
	}
	return members, nil
}

// closure is one that was read and checked.
type closure struct {
	messages []byte
	at       map[store.Digest]span // in messages
}

type span struct{ start, end int }

const (
	// maxCached bounds the closures in which a single directory can be looked up, in bytes.
	maxCached = 4 << 30
	// cacheBytes bounds what is kept of closures. The one that was used last is always kept.
	cacheBytes = 64 << 20
)

// closureCache keeps closures that were used recently, and reads each once however many ask for it.
type closureCache struct {
	mu      sync.Mutex
	entries map[store.Digest]*list.Element
	recent  *list.List // of *cachedClosure, the most recently used first
	bytes   int
}

type cachedClosure struct {
	root    store.Digest
	loading sync.Mutex
	loaded  *closure
	bytes   int
}

func newClosureCache() closureCache {
	return closureCache{entries: map[store.Digest]*list.Element{}, recent: list.New()}
}

// get returns the closure of root, from the cache or by load. An error is not kept.
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
	loaded, err := load()
	c.mu.Lock()
	defer c.mu.Unlock()
	current := c.entries[root] == e
	switch {
	case err != nil && current:
		c.drop(e)
	case err == nil && current:
		entry.loaded = loaded
		entry.bytes = len(loaded.messages) + len(loaded.at)*2*store.DigestSize
		c.bytes += entry.bytes
		for c.bytes > cacheBytes && c.recent.Len() > 1 {
			c.drop(c.recent.Back())
		}
	}
	if err != nil {
		return nil, err
	}
	return loaded, nil
}

// drop forgets an entry. Its caller holds mu.
func (c *closureCache) drop(e *list.Element) {
	entry := c.recent.Remove(e).(*cachedClosure)
	delete(c.entries, entry.root)
	c.bytes -= entry.bytes
}

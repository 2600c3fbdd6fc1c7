package packed

import (
	"container/list"
	"sync"
)

// frameCacheBytes bounds the decoded frames that are kept: some for each directory that a parallel export is in.
const frameCacheBytes = 64 << 20

// frameCache keeps the payloads of recently read frames that hold many objects, so that reading a tree decodes each
// about once. Frames that are asked for by several at once are read once. Its methods may be called concurrently.
//
// Who reads a tree asks for each object once. So a frame of which everything was asked for is the first to go, unless it
// is asked for once more: then it is one that is read over and over, and stays as long as others.
type frameCache struct {
	mu     sync.Mutex
	frames map[frameRef]*cachedFrame // by all that is said of them, as two indexes may disagree
	recent *list.List                // of *cachedFrame; the last is the first to go
	bytes  int
	most   int // bytes
}

type frameKey struct {
	pack   packID
	offset int64
}

func (f frameRef) key() frameKey { return frameKey{f.pack, f.offset} }

type cachedFrame struct {
	key   frameRef
	at    *list.Element // nil once it was dropped
	users int           // as long as there are any, its memory is not used for another
	size  int
	left  int                    // of size, how many bytes were not asked for yet
	again bool                   // whether it was asked for when none were left
	load  func() ([]byte, error) // runs once, whoever calls it first
}

func newFrameCache() frameCache {
	return frameCache{frames: make(map[frameRef]*cachedFrame), recent: list.New(), most: frameCacheBytes}
}

// get returns the payload of f, from the cache or from its pack, for one who wants n bytes of it: of a frame that is
// streamed the first maxContents bytes. It must not be changed, and is valid until the frame is released.
func (c *frameCache) get(st *Store, f frameRef, n int) ([]byte, *cachedFrame, error) {
	held := c.hold(st, f, n)
	b, err := held.load()
	if err != nil {
		c.mu.Lock()
		c.drop(held) // the next one tries again
		c.mu.Unlock()
		c.release(held)
		return nil, nil, err
	}
	return b, held, nil
}

// hold returns the cached frame f, which may still have to be loaded, for one who wants n bytes of it.
func (c *frameCache) hold(st *Store, f frameRef, n int) *cachedFrame {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.frames[f]; ok {
		c.recent.MoveToFront(held.at)
		held.users++
		held.again = held.again || held.left <= 0
		held.left -= n
		return held
	}
	size := min(int(f.raw), maxContents)
	held := &cachedFrame{key: f, users: 1, size: size, left: size - n}
	held.load = sync.OnceValues(func() ([]byte, error) {
		if f.streamed() {
			return st.readPiece(location{f, 0, maxContents})
		}
		return st.readFrame(f, st.room(size))
	})
	held.at = c.recent.PushFront(held)
	c.frames[held.key] = held
	c.bytes += held.size
	for e := c.recent.Back(); c.bytes > c.most && e != nil; {
		old := e.Value.(*cachedFrame)
		e = e.Prev()
		if old.users == 0 {
			b, _ := old.load() // it has been
			c.drop(old)
			st.release(b)
		}
	}
	return held
}

// release says that one who got a frame no longer looks at it. It may be nil.
func (c *frameCache) release(held *cachedFrame) {
	if held == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	held.users--
	if held.users == 0 && held.left <= 0 && !held.again && held.at != nil {
		c.recent.MoveToBack(held.at)
	}
}

// drop takes a frame out of the cache, unless it is. The caller holds c.mu.
func (c *frameCache) drop(held *cachedFrame) {
	if held.at == nil {
		return
	}
	c.recent.Remove(held.at)
	held.at = nil
	delete(c.frames, held.key)
	c.bytes -= held.size
}

package pack

import (
	"container/list"
	"sync"
)

// cacheBytes bounds the decoded frames that are kept: some for each directory that a parallel export is in.
const cacheBytes = 64 << 20

// frameCache keeps the payloads of recently read frames that hold many objects, so that reading a tree decodes each
// about once. A frame that several ask for at once is read once. Its methods may be called concurrently.
//
// A reader of a tree asks for each object once. So a frame goes once everything in it was asked for: the next frame is decoded
// into its memory, which is still in the caches of the processor. If it is asked for again after that, it is read over and
// over, and stays as long as others.
type frameCache struct {
	mu     sync.Mutex
	frames map[Frame]*cached  // by all that is said of them, as two indexes may disagree
	recent *list.List         // of *cached; the last is the first to go
	spent  map[Frame]struct{} // some of those that went because everything in them was asked for
	bytes  int
	most   int // bytes
}

// cached is a frame that stays in memory until it is released.
type cached struct {
	key     Frame
	at      *list.Element // nil once it was dropped
	users   int           // as long as there are any, its memory is not used for another
	size    int
	left    int                    // of size, how many bytes were not asked for yet
	again   bool                   // whether it was asked for when none were left; then it stays
	load    func() ([]byte, error) // runs once, whoever calls it first
	release func()
}

func newFrameCache() frameCache {
	return frameCache{frames: make(map[Frame]*cached), recent: list.New(), spent: make(map[Frame]struct{}), most: cacheBytes}
}

// get returns the payload of f, from the cache or from its pack, for a caller that wants n bytes of it: of a frame that is
// streamed the first MaxContents bytes. It must not be changed, and is valid until the frame is released.
func (c *frameCache) get(p *Files, f Frame, n int) ([]byte, *cached, error) {
	held := c.hold(p, f, n)
	b, err := held.load()
	if err != nil {
		c.mu.Lock()
		c.drop(held) // the next one tries again
		c.mu.Unlock()
		held.release()
		return nil, nil, err
	}
	return b, held, nil
}

// hold returns the cached frame f, which may still have to be loaded, for a caller that wants n bytes of it.
func (c *frameCache) hold(p *Files, f Frame, n int) *cached {
	c.mu.Lock()
	defer c.mu.Unlock()
	if held, ok := c.frames[f]; ok {
		c.recent.MoveToFront(held.at)
		held.users++
		held.again = held.again || held.left <= 0
		held.left -= n
		return held
	}
	size := min(int(f.Raw), MaxContents)
	_, again := c.spent[f]
	held := &cached{key: f, users: 1, size: size, left: size - n, again: again}
	held.load = sync.OnceValues(func() ([]byte, error) {
		if f.Streamed() {
			return p.readStreamed(Location{f, 0, MaxContents})
		}
		return p.readPayload(f, p.room(size))
	})
	held.release = func() { c.leave(p, held) }
	held.at = c.recent.PushFront(held)
	c.frames[held.key] = held
	c.bytes += held.size
	for e := c.recent.Back(); c.bytes > c.most && e != nil; {
		old := e.Value.(*cached)
		e = e.Prev()
		if old.users == 0 {
			c.recycle(p, old)
		}
	}
	return held
}

// mostSpent bounds the frames that are remembered as gone.
const mostSpent = 256

// leave says that one caller that got the frame no longer looks at it.
func (c *frameCache) leave(p *Files, held *cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held.users--
	if held.users > 0 || held.left > 0 || held.again || held.at == nil {
		return
	}
	if len(c.spent) == mostSpent {
		clear(c.spent)
	}
	c.spent[held.key] = struct{}{}
	c.recycle(p, held)
}

// recycle drops a frame that nobody looks at, and gives its memory back. The caller holds c.mu.
func (c *frameCache) recycle(p *Files, held *cached) {
	b, _ := held.load() // it has been
	c.drop(held)
	p.release(b)
}

// drop takes a frame out of the cache, unless it is out already. The caller holds c.mu.
func (c *frameCache) drop(held *cached) {
	if held.at == nil {
		return
	}
	c.recent.Remove(held.at)
	held.at = nil
	delete(c.frames, held.key)
	c.bytes -= held.size
}

package rpc

import (
	"container/list"
	"context"
	"fmt"
	"maps"
	"runtime"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/zstd"
)

const (
	// groupsAfter is how many blobs are read one by one before the client asks for groups. A caller that wants few blobs
	// should not be sent many.
	groupsAfter = 16
	// groupsTried is how many groups come before their use is judged. Each should have saved leastUse calls. If they have
	// not, groupsPause blobs are read one by one before groups are tried again.
	groupsTried = 16
	leastUse    = 2
	groupsPause = 1000
	// groupsSize is how many bytes of groups are kept: several for each directory that a parallel export is in.
	groupsSize = 64 << 20
	// maxGroup is the length of the longest group that a server may send, in bytes.
	maxGroup = 16 << 20
	// maxMembers is how many blobs a group may have. So many different blobs are longer than the groups that castar makes.
	maxMembers = 1 << 20
	// memberCost is what a blob in a group takes in memory besides its bytes.
	memberCost = 200
)

// groups reads blobs together with those that the server has compressed with them, and keeps these for the next reads. A
// group has about a hundred blobs that stand next to each other in a tree. Its methods may be called concurrently.
type groups struct {
	c       *client
	decoder func() (*zstd.Decoder, error)
	turn    chan struct{} // full while one caller asks for a group; the next caller may find its blob in it

	mu      sync.Mutex
	none    bool // the server has no groups
	reads   int  // of blobs in no kept group
	after   int  // the number of reads after which the client asks for groups
	gets    int  // groups received since their use was judged
	hits    int  // reads of kept groups since then
	members map[store.Digest]member
	recent  *list.List // of *cachedGroup, the most recently used first
	bytes   int

	// See ahead. The first two are not guarded by mu.
	streaming chan struct{}                  // full while groups are read ahead
	wake      chan struct{}                  // full if pause must look again
	coming    map[store.Digest]chan struct{} // blobs that will come, and who waits for each: nil if nobody does
	waiting   int                            // callers that do
	aheads    int                            // calls of Expect that have not ended
	stirred   chan struct{}                  // closed when more is to come, or aheads has changed
	unread    int                            // bytes of groups that nobody has read from
	lists     map[store.Digest][]store.Chunk // of blobs in several chunks
	listOrder []store.Digest                 // the oldest first
	listed    int                            // chunks in lists
}

// member is where a blob is in a group. The zero value is in none.
type member struct {
	group  *cachedGroup
	offset int
	size   int
}

// cachedGroup is a group that is kept.
type cachedGroup struct {
	at      *list.Element
	unread  bool // it came ahead, and nobody has read from it
	single  bool // a blob that was read by itself, so how it is stored is not known
	members map[store.Digest]member
	size    int
	load    func() ([]byte, error) // returns the bytes; the first call decodes them
}

// cost is what the group counts towards groupsSize.
func (h *cachedGroup) cost() int { return h.size + memberCost*len(h.members) }

func (g *groups) init(c *client) {
	g.c, g.after = c, groupsAfter
	g.decoder = sync.OnceValues(func() (*zstd.Decoder, error) { return zstd.NewDecoder(runtime.GOMAXPROCS(0)) })
	g.turn = make(chan struct{}, 1)
	g.members = map[store.Digest]member{}
	g.recent = list.New()
	g.stirred = make(chan struct{})
	g.streaming, g.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	g.coming, g.lists = map[store.Digest]chan struct{}{}, map[store.Digest][]store.Chunk{}
}

// read returns the blob or chunk d, checked, or nil if it must be read by itself. The caller must not change it.
func (g *groups) read(ctx context.Context, d store.Digest) ([]byte, error) {
	if err := g.await(ctx, d); err != nil {
		return nil, err
	}
	p, want := g.find(d)
	if want {
		select {
		case g.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var err error
		if p, want = g.find(d); want {
			p, err = g.get(ctx, d)
		}
		<-g.turn
		if err != nil {
			return nil, err
		}
	}
	if p.group == nil {
		return nil, nil
	}
	raw, err := p.group.load()
	if err != nil {
		return nil, corrupt(d, err)
	}
	data := raw[p.offset:][:p.size:p.size]
	if store.Sum(data) != d {
		return nil, corrupt(d, store.ErrDigestMismatch)
	}
	return data, nil
}

// find returns where d is in a kept group, or whether to ask for its group.
func (g *groups) find(d store.Digest) (p member, want bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p, ok := g.members[d]; ok {
		g.hits++
		g.recent.MoveToFront(p.group.at)
		g.touched(p.group)
		return p, false
	}
	if g.lists[d] != nil {
		return p, false
	}
	g.reads++
	return p, g.reads > g.after && !g.none
}

// get asks for the group of d, and keeps it. It returns the zero value if d is in no group.
func (g *groups) get(ctx context.Context, d store.Digest) (p member, err error) {
	var resp *protos.GetBlobsResponse
	err = g.c.retry(ctx, func(k *call) (err error) {
		resp, err = g.c.bulk.Get(k.ctx, &protos.GetBlobsRequest{Digest: d[:]})
		return err
	})
	if status.Code(err) == codes.Unimplemented {
		g.mu.Lock()
		g.none = true
		g.mu.Unlock()
		return p, nil
	}
	if err != nil || len(resp.GetDigests()) == 0 {
		return p, fromStatus(err, d)
	}
	cached, err := g.receive(resp)
	if err == nil && cached.members[d].group == nil {
		err = fmt.Errorf("a group of %d others", len(cached.members))
	}
	if err != nil {
		return p, corrupt(d, err)
	}
	g.keep(cached)
	return cached.members[d], nil
}

// receive checks a group, except for its bytes.
func (g *groups) receive(resp *protos.GetBlobsResponse) (*cachedGroup, error) {
	digests, sizes := resp.GetDigests(), resp.GetSizes()
	if len(digests) != len(sizes) {
		return nil, fmt.Errorf("a group of %d blobs with %d lengths", len(digests), len(sizes))
	}
	if len(digests) > maxMembers {
		return nil, fmt.Errorf("a group of more than %d blobs", maxMembers)
	}
	cached := &cachedGroup{members: make(map[store.Digest]member, len(digests))}
	for i, n := range sizes {
		d, err := store.DigestFromBytes(digests[i])
		if err != nil {
			return nil, err
		}
		if n > uint64(maxGroup-cached.size) {
			return nil, fmt.Errorf("a group of more than %d bytes", maxGroup)
		}
		cached.members[d] = member{cached, cached.size, int(n)}
		cached.size += int(n)
	}
	plain, frame := resp.GetPlain(), resp.GetFrame()
	if frame == nil && len(plain) != cached.size {
		return nil, fmt.Errorf("a group of %d bytes with contents of %d", cached.size, len(plain))
	}
	cached.load = sync.OnceValues(func() ([]byte, error) {
		if frame == nil {
			return plain, nil
		}
		dec, err := g.decoder()
		if err != nil {
			return nil, err
		}
		raw := make([]byte, cached.size)
		err = dec.Decode(raw, frame)
		frame = nil
		return raw, err
	})
	return cached, nil
}

// insert keeps a group. If there are too many, it drops the least recently used ones, at first those that were read from.
// The caller holds g.mu.
func (g *groups) insert(cached *cachedGroup) {
	cached.at = g.recent.PushFront(cached)
	maps.Copy(g.members, cached.members)
	g.bytes += cached.cost()
	for e := g.recent.Back(); g.bytes > groupsSize && e != g.recent.Front(); {
		before := e.Prev()
		if old := e.Value.(*cachedGroup); !old.unread {
			g.drop(old)
		}
		e = before
	}
	for e := g.recent.Back(); g.bytes > groupsSize && e != g.recent.Front(); e = g.recent.Back() {
		g.drop(e.Value.(*cachedGroup))
	}
}

// keep keeps a group, and judges the use of groups.
func (g *groups) keep(cached *cachedGroup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.insert(cached)
	if g.gets++; g.gets == groupsTried {
		if g.hits < groupsTried*leastUse {
			g.after = g.reads + groupsPause
		}
		g.gets, g.hits = 0, 0
	}
}

// drop forgets a group. The caller holds g.mu.
func (g *groups) drop(cached *cachedGroup) {
	g.recent.Remove(cached.at)
	g.touched(cached)
	for d := range cached.members {
		if g.members[d].group == cached {
			delete(g.members, d)
		}
	}
	g.bytes -= cached.cost()
}

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
	// groupsAfter is how many blobs are read one by one before others come with their groups: who wants few should not be
	// sent many.
	groupsAfter = 16
	// groupsTried is how many groups come before it is asked whether they are of use: each should have saved leastUse calls.
	// Where they were not, so many blobs are read one by one before the next are tried.
	groupsTried = 16
	leastUse    = 2
	groupsPause = 1000
	// groupsSize is how many bytes groups take that are kept: some for each directory that a parallel export is in.
	groupsSize = 64 << 20
	// maxGroup is the length of the longest group that is believed, in bytes.
	maxGroup = 16 << 20
	// maxMembers is how many blobs it may have: so many that differ are longer than the groups that castar makes.
	maxMembers = 1 << 20
	// memberCost is what a blob in a group takes here besides its bytes, and counts as much.
	memberCost = 200
)

// groups reads blobs together with those that the server has compressed with them, and keeps these for who reads them
// next: in the order of a tree, a group has about a hundred. Its methods may be called concurrently.
type groups struct {
	c       *client
	decoder func() (*zstd.Decoder, error)
	turn    chan struct{} // held by who asks for a group: the next may find in it what it wants

	mu     sync.Mutex
	none   bool // the server has none
	reads  int  // of blobs that were in no group here
	after  int  // so many reads, groups are asked for
	gets   int  // since then
	hits   int
	places map[store.Digest]place
	recent *list.List // of *heldGroup, the most recently used first
	bytes  int
}

// place is where a blob is in a group.
type place struct {
	group  *heldGroup
	offset int
	size   int
}

// heldGroup is a group that was sent.
type heldGroup struct {
	at     *list.Element
	places map[store.Digest]place
	size   int                    // of its bytes
	load   func() ([]byte, error) // decodes it once, whoever calls it first
}

// cost is what the group counts in groupsSize.
func (h *heldGroup) cost() int { return h.size + memberCost*len(h.places) }

func (g *groups) init(c *client) {
	g.c, g.after = c, groupsAfter
	g.decoder = sync.OnceValues(func() (*zstd.Decoder, error) { return zstd.NewDecoder(runtime.GOMAXPROCS(0)) })
	g.turn = make(chan struct{}, 1)
	g.places = map[store.Digest]place{}
	g.recent = list.New()
}

// read returns the blob or chunk d, checked, which must not be changed, or nil where it is to be read by itself.
func (g *groups) read(ctx context.Context, d store.Digest) ([]byte, error) {
	p, ok, want := g.find(d)
	if !ok && want {
		select {
		case g.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		var err error
		if p, ok, want = g.find(d); !ok && want {
			p, ok, err = g.get(ctx, d)
		}
		<-g.turn
		if err != nil {
			return nil, err
		}
	}
	if !ok {
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

// find returns where d is, if it is in a group that is here, and otherwise whether it should be asked for.
func (g *groups) find(d store.Digest) (p place, ok, want bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if p, ok = g.places[d]; ok {
		g.hits++
		g.recent.MoveToFront(p.group.at)
		return p, true, false
	}
	g.reads++
	return p, false, g.reads > g.after && !g.none
}

// get asks for the group of d. It reports false where d is in none.
func (g *groups) get(ctx context.Context, d store.Digest) (p place, ok bool, err error) {
	var resp *protos.GetBlobsResponse
	err = g.c.retry(ctx, func(k *call) (err error) {
		resp, err = g.c.bulk.Get(k.ctx, &protos.GetBlobsRequest{Digest: d[:]})
		return err
	})
	if status.Code(err) == codes.Unimplemented {
		g.mu.Lock()
		g.none = true
		g.mu.Unlock()
		return p, false, nil
	}
	if err != nil {
		return p, false, fromStatus(err, d)
	}
	if len(resp.GetDigests()) == 0 {
		return p, false, nil
	}
	held, err := g.receive(resp)
	if err != nil {
		return p, false, corrupt(d, err)
	}
	p, ok = held.places[d]
	if !ok {
		return p, false, corrupt(d, fmt.Errorf("a group of %d others", len(held.places)))
	}
	g.hold(held)
	return p, true, nil
}

// receive checks what the server calls a group, but for the bytes.
func (g *groups) receive(resp *protos.GetBlobsResponse) (*heldGroup, error) {
	digests, sizes := resp.GetDigests(), resp.GetSizes()
	if len(digests) != len(sizes) {
		return nil, fmt.Errorf("a group of %d blobs with %d lengths", len(digests), len(sizes))
	}
	if len(digests) > maxMembers {
		return nil, fmt.Errorf("a group of more than %d blobs", maxMembers)
	}
	held := &heldGroup{places: make(map[store.Digest]place, len(digests))}
	for i, n := range sizes {
		d, err := store.DigestFromBytes(digests[i])
		if err != nil {
			return nil, err
		}
		if n > uint64(maxGroup-held.size) {
			return nil, fmt.Errorf("a group of more than %d bytes", maxGroup)
		}
		held.places[d] = place{held, held.size, int(n)}
		held.size += int(n)
	}
	plain, frame := resp.GetPlain(), resp.GetFrame()
	if frame == nil && len(plain) != held.size {
		return nil, fmt.Errorf("a group of %d bytes with contents of %d", held.size, len(plain))
	}
	held.load = sync.OnceValues(func() ([]byte, error) {
		if frame == nil {
			return plain, nil
		}
		dec, err := g.decoder()
		if err != nil {
			return nil, err
		}
		raw := make([]byte, held.size)
		err = dec.Decode(raw, frame)
		frame = nil
		return raw, err
	})
	return held, nil
}

// hold keeps a group, and lets the least recently used go where there are too many.
func (g *groups) hold(held *heldGroup) {
	g.mu.Lock()
	defer g.mu.Unlock()
	held.at = g.recent.PushFront(held)
	maps.Copy(g.places, held.places)
	g.bytes += held.cost()
	for e := g.recent.Back(); g.bytes > groupsSize && e != g.recent.Front(); e = g.recent.Back() {
		g.drop(e.Value.(*heldGroup))
	}
	if g.gets++; g.gets == groupsTried {
		if g.hits < groupsTried*leastUse {
			g.after = g.reads + groupsPause
		}
		g.gets, g.hits = 0, 0
	}
}

// drop forgets a group. The caller holds g.mu.
func (g *groups) drop(held *heldGroup) {
	g.recent.Remove(held.at)
	for d := range held.places {
		if g.places[d].group == held {
			delete(g.places, d)
		}
	}
	g.bytes -= held.cost()
}

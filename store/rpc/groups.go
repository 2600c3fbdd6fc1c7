package rpc

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
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
	// maxGroup is the length of the longest group that a server may send, in bytes.
	maxGroup = 16 << 20
	// maxMembers is how many blobs a group may have. So many different blobs are longer than the groups that castar makes.
	maxMembers = 1 << 20
)

// groups reads blobs together with those that the server has compressed with them, and keeps these for the next reads. A
// group has about a hundred blobs that stand next to each other in a tree. Its methods may be called concurrently.
type groups struct {
	c       *client
	decoder func() (*zstd.Decoder, error)
	turn    chan struct{} // full while one caller asks for a group; the next caller may find its blob in it

	mu    sync.Mutex
	none  bool // the server has no groups
	reads int  // of blobs in no kept group
	after int  // the number of reads after which the client asks for groups
	gets  int  // groups received since their use was judged
	hits  int  // reads of kept groups since then
	kept  keptGroups

	// See ahead. The first two are not guarded by mu.
	streaming chan struct{}                  // full while groups are read ahead
	wake      chan struct{}                  // full if pause must look again
	coming    map[store.Digest]coming        // blobs that will come
	waiting   int                            // callers that do
	aheads    int                            // calls of Expect that have not ended
	stirred   chan struct{}                  // closed when more is to come, or aheads has changed
	lists     map[store.Digest][]store.Chunk // of blobs in several chunks
	listOrder []store.Digest                 // the oldest first
	listed    int                            // chunks in lists
}

// coming is a blob that will come.
type coming struct {
	times int32         // that it is expected to be read
	done  chan struct{} // closed when it has come, or will not come; nil if nobody waits for that
}

func (g *groups) init(c *client) {
	g.c, g.after = c, groupsAfter
	g.decoder = sync.OnceValues(func() (*zstd.Decoder, error) { return zstd.NewDecoder(runtime.GOMAXPROCS(0)) })
	g.turn = make(chan struct{}, 1)
	g.kept.init()
	g.stirred = make(chan struct{})
	g.streaming, g.wake = make(chan struct{}, 1), make(chan struct{}, 1)
	g.coming, g.lists = map[store.Digest]coming{}, map[store.Digest][]store.Chunk{}
}

// read returns the blob or chunk d, checked, or nil if it must be read by itself. The caller must not change it.
func (g *groups) read(ctx context.Context, d store.Digest) ([]byte, error) {
	m, err := g.locate(ctx, d)
	if err != nil || m.group == nil {
		return nil, err
	}
	raw, err := g.load(m.group)
	if err != nil {
		return nil, corrupt(d, err)
	}
	end := m.offset + int(m.group.members[m.number].Size)
	data := raw[m.offset:end:end]
	if store.Sum(data) != d {
		return nil, corrupt(d, store.ErrDigestMismatch)
	}
	return data, nil
}

// locate returns where d is in a group, or the zero value if it must be read by itself. It waits for a group that is to
// come, and asks for one where that pays.
func (g *groups) locate(ctx context.Context, d store.Digest) (m member, err error) {
	if err = g.await(ctx, d); err != nil {
		return m, err
	}
	m, want := g.find(d)
	if !want {
		return m, nil
	}
	select {
	case g.turn <- struct{}{}:
		defer func() { <-g.turn }()
	case <-ctx.Done():
		return m, ctx.Err()
	}
	if m, want = g.find(d); want {
		return g.get(ctx, d)
	}
	return m, nil
}

// Group implements store.RemoteBlobs. The group is as it came.
func (b blobs) Group(ctx context.Context, d store.Digest) (store.Group, error) {
	g := &b.c.groups
	err := b.c.outbox.await(ctx, d)
	var m member
	if err == nil {
		m, err = g.locate(ctx, d)
	}
	if err != nil {
		return store.Group{}, err
	}
	if m.group == nil {
		return store.Group{}, store.ErrUnsupported
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.group.single {
		if m.group.at != nil {
			g.kept.expect(m) // it will be read
		}
		return store.Group{}, store.ErrUnsupported
	}
	whole := store.Group{Members: m.group.members, Frame: m.group.frame}
	if whole.Frame == nil {
		whole.Plain = m.group.raw
	}
	return whole, nil
}

// find returns where d is in a kept group, or whether to ask for its group.
func (g *groups) find(d store.Digest) (m member, want bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if m, ok := g.kept.members[d]; ok {
		g.hits++
		g.use(m)
		return m, false
	}
	if g.lists[d] != nil {
		return m, false
	}
	g.reads++
	return m, g.reads > g.after && !g.none
}

// get asks for the group of d, and keeps it. It returns the zero value if d is in no group.
func (g *groups) get(ctx context.Context, d store.Digest) (m member, err error) {
	var resp *protos.GetBlobsResponse
	err = g.c.retry(ctx, func(k *call) (err error) {
		resp, err = g.c.bulk.Get(k.ctx, &protos.GetBlobsRequest{Digest: d[:]})
		return err
	})
	if status.Code(err) == codes.Unimplemented {
		g.mu.Lock()
		g.none = true
		g.mu.Unlock()
		return m, nil
	}
	if err != nil || len(resp.GetDigests()) == 0 {
		return m, fromStatus(err, d)
	}
	group, err := receive(resp)
	if err != nil {
		return m, corrupt(d, err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keep(group)
	if m = g.kept.members[d]; m.group != group {
		return member{}, corrupt(d, fmt.Errorf("a group of %d others", len(group.members)))
	}
	g.use(m)
	return m, nil
}

// receive checks a group, except for its bytes.
func receive(resp *protos.GetBlobsResponse) (*keptGroup, error) {
	if len(resp.GetDigests()) > maxMembers {
		return nil, fmt.Errorf("a group of more than %d blobs", maxMembers)
	}
	members, err := wire.ParseChunks(resp.GetDigests(), resp.GetSizes())
	if err != nil {
		return nil, fmt.Errorf("a group of %w", err)
	}
	group := &keptGroup{members: members, frame: resp.GetFrame(), raw: resp.GetPlain()}
	for i := range members {
		if members[i].Size > uint64(maxGroup-group.size) {
			return nil, fmt.Errorf("a group of more than %d bytes", maxGroup)
		}
		group.size += int(members[i].Size)
	}
	if group.frame == nil && len(group.raw) != group.size {
		return nil, fmt.Errorf("a group of %d bytes with contents of %d", group.size, len(group.raw))
	}
	return group, nil
}

// load returns the bytes of a group.
func (g *groups) load(group *keptGroup) ([]byte, error) {
	decoded := func() []byte {
		g.mu.Lock()
		defer g.mu.Unlock()
		return group.raw
	}
	if raw := decoded(); raw != nil || group.frame == nil {
		return raw, nil
	}
	group.decoding.Lock()
	defer group.decoding.Unlock()
	if raw := decoded(); raw != nil {
		return raw, nil
	}
	dec, err := g.decoder()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, group.size)
	if err := dec.Decode(raw, group.frame); err != nil {
		return nil, err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.kept.decoded(group, raw)
	return raw, nil
}

// keep keeps a group that was asked for, and judges the use of groups. The caller holds g.mu.
func (g *groups) keep(group *keptGroup) {
	g.insert(group)
	if g.gets++; g.gets == groupsTried {
		if g.hits < groupsTried*leastUse {
			g.after = g.reads + groupsPause
		}
		g.gets, g.hits = 0, 0
	}
}

// insert keeps a group. The caller holds g.mu.
func (g *groups) insert(group *keptGroup) {
	g.kept.insert(group, func(d store.Digest) int32 { return g.coming[d].times })
}

// use notes that somebody reads a blob of a kept group. The caller holds g.mu.
func (g *groups) use(m member) {
	if g.kept.use(m) {
		g.poke()
	}
}

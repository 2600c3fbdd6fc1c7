package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/rpc/server"
)

// newGrouped returns a store with n blobs in groups of the given number. Every other group is compressed.
func newGrouped(t *testing.T, n, each int) (*store.Store, [][]byte) {
	t.Helper()
	st, g := rpctest.NewGrouped(memory.New())
	enc := newEncoder(t)
	var all [][]byte
	for i := range n {
		data := bytes.Repeat(fmt.Appendf(nil, "blob %d\n", i), i%50+1)
		if _, err := st.Blobs.Put(t.Context(), data); err != nil {
			t.Fatal(err)
		}
		all = append(all, data)
	}
	for k, part := range slices.Collect(slices.Chunk(all, each)) {
		group := store.Group{Plain: bytes.Join(part, nil)}
		if k%2 == 0 {
			frame, err := enc.Append(nil, group.Plain)
			if err != nil {
				t.Fatal(err)
			}
			group.Plain, group.Frame = nil, frame
		}
		for _, data := range part {
			group.Members = append(group.Members, store.Chunk{Digest: store.Sum(data), Size: uint64(len(data))})
		}
		for _, data := range part {
			g.Groups[store.Sum(data)] = group
		}
	}
	return st, all
}

// calls counts calls by method.
type calls struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *calls) count(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[method[strings.LastIndexByte(method[:strings.LastIndexByte(method, '/')], '.')+1:]]++
}

func (c *calls) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			c.count(method)
			return invoke(ctx, method, req, reply, conn, o...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string, stream grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			c.count(method)
			return stream(ctx, desc, conn, method, o...)
		}),
	}
}

// countCalls serves a store. It returns a client, and the count of the client's calls.
func countCalls(t *testing.T, served *store.Store) (*store.Store, *calls) {
	t.Helper()
	c := new(calls)
	st := New(connect(t, serveStore(t, served, server.Options{AllowPut: true}), c.options()...), "server", "counted", wire.TvixPackage)
	t.Cleanup(func() { st.Close() })
	return st, c
}

func (c *calls) want(t *testing.T, gets, reads int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if g, r := c.n["BulkService/Get"], c.n["BlobService/Read"]; g != gets || r != reads {
		t.Errorf("%d calls for groups and %d for blobs, want %d and %d", g, r, gets, reads)
	}
}

func readRemote(t *testing.T, st *store.Store, data []byte) {
	t.Helper()
	b, err := st.Blobs.Open(t.Context(), store.Sum(data))
	if err != nil {
		t.Error(err)
		return
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes of %d, %v", len(got), len(data), err)
	}
}

// A client that reads many blobs gets each group once. One that reads few gets none.
func TestGroups(t *testing.T) {
	served, all := newGrouped(t, 1000, 100)
	st, c := countCalls(t, served)
	for i := range groupsAfter {
		readRemote(t, st, all[i])
	}
	c.want(t, 0, groupsAfter)
	for i := range all {
		readRemote(t, st, all[i])
	}
	c.want(t, 10, groupsAfter)
	if _, err := st.Blobs.Open(t.Context(), store.Sum([]byte("absent"))); !store.IsNotFound(err) {
		t.Errorf("an absent blob: %v", err)
	}
}

// Concurrent readers of one group get it once.
func TestGroupsConcurrent(t *testing.T) {
	served, all := newGrouped(t, 1000, 100)
	st, c := countCalls(t, served)
	for range groupsAfter {
		readRemote(t, st, all[0])
	}
	for part := range slices.Chunk(all, 100) {
		var readers sync.WaitGroup
		for worker := range 8 {
			readers.Go(func() {
				for i := worker; i < len(part); i += 8 {
					readRemote(t, st, part[i])
				}
			})
		}
		readers.Wait()
	}
	c.want(t, 10, groupsAfter)
}

// The client stops asking for groups if it uses little of them.
func TestGroupsOfNoUse(t *testing.T) {
	served, all := newGrouped(t, 1000, 10)
	st, c := countCalls(t, served)
	n := 0
	for i := 0; i < len(all); i += 10 {
		readRemote(t, st, all[i])
		n++
	}
	c.want(t, groupsTried, n-groupsTried)
}

// It tries groups again after many more reads.
func TestGroupsAgain(t *testing.T) {
	served, all := newGrouped(t, 2000, 10)
	st, c := countCalls(t, served)
	for i := 0; i < 1000; i += 10 {
		readRemote(t, st, all[i])
	}
	alone := c.n["BlobService/Read"]
	for range groupsPause {
		readRemote(t, st, all[1990])
	}
	gets := c.n["BulkService/Get"]
	for i := 1000; i < 1980; i++ {
		readRemote(t, st, all[i])
	}
	if more := c.n["BulkService/Get"] - gets; more < 90 || more > 98 || alone < 80 {
		t.Errorf("%d groups for 980 blobs after a pause", more)
	}
}

// The client asks a server without groups once.
func TestNoGroups(t *testing.T) {
	served := memory.New()
	st, c := countCalls(t, served)
	for i := range 100 {
		data := fmt.Append(nil, i)
		if _, err := served.Blobs.Put(t.Context(), data); err != nil {
			t.Fatal(err)
		}
		readRemote(t, st, data)
	}
	c.want(t, 1, 100)
}

// groupLiar is a server with any groups.
type groupLiar struct {
	protos.UnimplementedBulkServiceServer
	get func() (*protos.GetBlobsResponse, error)
	n   atomic.Int32
}

func (l *groupLiar) Get(context.Context, *protos.GetBlobsRequest) (*protos.GetBlobsResponse, error) {
	l.n.Add(1)
	return l.get()
}

// serveGroups returns a client that asks a lying server for groups from the first read on.
func serveGroups(t *testing.T, bl *liar, get func() (*protos.GetBlobsResponse, error)) *client {
	t.Helper()
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, &groupLiar{get: get})
	s.RegisterService(wire.Under(wire.TvixPackage, protos.BlobService_ServiceDesc), bl)
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.TvixPackage)
	t.Cleanup(c.outbox.close)
	c.groups.reads = groupsAfter
	return c
}

// No blob of a wrong group is returned.
func TestHostileGroups(t *testing.T) {
	one, two := []byte("one\n"), []byte("two\n")
	frame, err := newEncoder(t).Append(nil, []byte("one\ntwo\n"))
	if err != nil {
		t.Fatal(err)
	}
	digests := rpctest.Sums([][]byte{one, two})
	plain := func(b string) *protos.GetBlobsResponse_Plain { return &protos.GetBlobsResponse_Plain{Plain: []byte(b)} }
	framed := &protos.GetBlobsResponse_Frame{Frame: frame}
	for name, tt := range map[string]struct {
		resp *protos.GetBlobsResponse
		want string // "": it is as it should be
	}{
		"in the clear":    {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 4}, Contents: plain("one\ntwo\n")}, ""},
		"compressed":      {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 4}, Contents: framed}, ""},
		"wrong bytes":     {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 4}, Contents: plain("0ne\ntwo\n")}, "digest mismatch"},
		"another's bytes": {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{3, 5}, Contents: framed}, "digest mismatch"},
		"others":          {&protos.GetBlobsResponse{Digests: digests[1:], Sizes: []uint64{4}, Contents: plain("two\n")}, "a group of 1 others"},
		"no contents":     {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 4}}, "contents of 0"},
		"short":           {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 4}, Contents: plain("one\n")}, "contents of 4"},
		"short, framed":   {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 5}, Contents: framed}, "size"},
		"long, framed":    {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 3}, Contents: framed}, "size"},
		"no frame":        {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, 4}, Contents: &protos.GetBlobsResponse_Frame{Frame: []byte("x")}}, "corrupt"},
		"too few lengths": {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4}, Contents: plain("one\ntwo\n")}, "a group of 2 digests with 1 sizes"},
		"no digest":       {&protos.GetBlobsResponse{Digests: [][]byte{digests[0], {1}}, Sizes: []uint64{4, 4}, Contents: framed}, "digest"},
		"a bomb":          {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{4, maxGroup - 3}, Contents: framed}, "more than"},
		"impossible":      {&protos.GetBlobsResponse{Digests: digests, Sizes: []uint64{1<<64 - 1, 9}, Contents: framed}, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			c := serveGroups(t, new(liar), func() (*protos.GetBlobsResponse, error) { return tt.resp, nil })
			for round := range 2 {
				b, err := blobs{c: c}.Open(t.Context(), store.Sum(one))
				if tt.want != "" {
					wantCorrupt(t, err, tt.want)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, one) {
					t.Errorf("round %d: %q, %v", round, got, err)
				}
			}
		})
	}
}

// A group of too many blobs is refused before anything is made of it.
func TestCrowdedGroup(t *testing.T) {
	resp := &protos.GetBlobsResponse{Digests: make([][]byte, maxMembers+1), Sizes: make([]uint64, maxMembers+1)}
	if _, err := receive(resp); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("error %v", err)
	}
}

// A blob in no group is read by itself. An error of the server is returned.
func TestGroupsElsewhere(t *testing.T) {
	data := rpctest.Random(1000)
	bl, _ := honest(data, 300)
	answer, failure := new(protos.GetBlobsResponse), error(nil)
	c := serveGroups(t, bl, func() (*protos.GetBlobsResponse, error) { return answer, failure })
	readRemote(t, c.bundle("groups"), data)
	failure = status.Error(codes.NotFound, "gone")
	if _, err := (blobs{c: c}).Open(t.Context(), store.Sum(data)); !store.IsNotFound(err) {
		t.Errorf("not found: %v", err)
	}
	failure = status.Error(codes.PermissionDenied, "not for you")
	if _, err := (blobs{c: c}).Open(t.Context(), store.Sum(data)); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("denied: %v", err)
	}
	failure = status.Error(codes.Unimplemented, "no such method")
	readRemote(t, c.bundle("groups"), data)
	failure = status.Error(codes.Internal, "never asked")
	readRemote(t, c.bundle("groups"), data)
}

// Group returns the group as it came, and asks for nothing that was expected.
func TestGroupAsItCame(t *testing.T) {
	served, all := newGrouped(t, 100, 10)
	alone := rpctest.Random(1000)
	if _, err := served.Blobs.Put(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	st, calls := countCalls(t, served)
	st.RemoteBlobs.Expect(t.Context(), slices.Values(digestsOf(append(all, alone))))
	for _, data := range all {
		want, _ := served.Groups.Group(t.Context(), store.Sum(data))
		got, err := st.RemoteBlobs.Group(t.Context(), store.Sum(data))
		if err != nil || !slices.Equal(got.Members, want.Members) || !bytes.Equal(got.Frame, want.Frame) || !bytes.Equal(got.Plain, want.Plain) {
			t.Errorf("%d members, %v", len(got.Members), err)
		}
	}
	if _, err := st.RemoteBlobs.Group(t.Context(), store.Sum(alone)); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("a blob in no group: %v", err)
	}
	calls.want(t, 0, 0)
}

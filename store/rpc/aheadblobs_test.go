package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/rpc/server"
	"castar/store/storetest"
)

// digestsOf returns the digests of blobs.
func digestsOf(all [][]byte) (ds []store.Digest) {
	for _, data := range all {
		ds = append(ds, store.Sum(data))
	}
	return ds
}

// readAll reads blobs from several goroutines, each in order.
func readAll(t *testing.T, st *store.Store, all [][]byte) {
	t.Helper()
	var wg sync.WaitGroup
	for part := range slices.Chunk(all, (len(all)+3)/4) {
		wg.Go(func() {
			for _, data := range part {
				readRemote(t, st, data)
			}
		})
	}
	wg.Wait()
}

// One call gets all groups of blobs that are expected, and nothing else is asked.
func TestExpectBlobs(t *testing.T) {
	served, all := newGrouped(t, 3000, 10)
	st, calls := countCalls(t, served)
	st.RemoteBlobs.Expect(t.Context(), slices.Values(digestsOf(all)))
	for _, data := range all {
		readRemote(t, st, data)
	}
	calls.want(t, 0, 0)
	if n := calls.n["BulkService/GetMany"]; n != 1 {
		t.Errorf("%d calls of GetMany", n)
	}
}

// Blobs that are missing, that are in no group, or that nobody expects, are read all the same.
func TestExpectSomeBlobs(t *testing.T) {
	served, all := newGrouped(t, 500, 10)
	alone := rpctest.Random(1000)
	if _, err := served.Blobs.Put(t.Context(), alone); err != nil {
		t.Fatal(err)
	}
	st, _ := countCalls(t, served)
	ds := digestsOf(all[:300])
	ds = slices.Insert(ds, 100, store.Sum([]byte("missing")), store.Sum(alone), ds[3])
	st.RemoteBlobs.Expect(t.Context(), slices.Values(ds))
	readAll(t, st, append(all, alone))
	if _, err := st.Blobs.Open(t.Context(), store.Sum([]byte("missing"))); !store.IsNotFound(err) {
		t.Errorf("error %v", err)
	}
}

// listed is a store with a blob in chunks.
type listed struct {
	*rpctest.Grouped
	of     store.Digest
	chunks []store.Chunk
}

func (l *listed) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if d == l.of {
		return l.chunks, nil
	}
	return l.Grouped.Chunks(ctx, d)
}

// A long blob comes as a list of chunks and the groups of these.
func TestExpectLongBlob(t *testing.T) {
	served, g := rpctest.NewGrouped(memory.New())
	data := rpctest.Random(3 << 20)
	l := &listed{Grouped: g, of: store.Sum(data)}
	for part := range slices.Chunk(data, 300_000) {
		c := store.Chunk{Digest: store.Sum(part), Size: uint64(len(part))}
		l.chunks = append(l.chunks, c)
		g.Groups[c.Digest] = store.Group{Members: []store.Chunk{c}, Plain: part}
	}
	for _, b := range [][]byte{data, data[:300_000]} {
		if _, err := served.Blobs.Put(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	served.Blobs = l
	st, calls := countCalls(t, served)
	st.RemoteBlobs.Expect(t.Context(), slices.Values([]store.Digest{store.Sum(data[:300_000]), l.of}))
	b, err := st.Blobs.Open(t.Context(), l.of)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var got bytes.Buffer
	if _, err := b.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), data) {
		t.Errorf("%d bytes, %v", got.Len(), err)
	}
	if chunks, err := st.Blobs.Chunks(t.Context(), l.of); err != nil || !slices.Equal(chunks, l.chunks) {
		t.Errorf("%d chunks, %v", len(chunks), err)
	}
	calls.want(t, 0, 0)
}

// Groups that are read a little at a time come once, even if they decode to more than the client keeps.
func TestExpectOnce(t *testing.T) {
	storetest.NotUnderRace(t)
	const number, members, size = 80, 2, 512 << 10
	served, g := rpctest.NewGrouped(memory.New())
	enc := newEncoder(t)
	all := make([][]byte, number*members) // the first member of each group, then the second of each, and so on
	for i := range number {
		group := store.Group{}
		var raw []byte
		for k := range members {
			data := bytes.Repeat(fmt.Appendf(nil, "%7d\n", i*members+k), size/8)
			if _, err := served.Blobs.Put(t.Context(), data); err != nil {
				t.Fatal(err)
			}
			all[k*number+i] = data
			raw = append(raw, data...)
			group.Members = append(group.Members, store.Chunk{Digest: store.Sum(data), Size: size})
		}
		var err error
		if group.Frame, err = enc.Append(nil, raw); err != nil {
			t.Fatal(err)
		}
		for _, m := range group.Members {
			g.Groups[m.Digest] = group
		}
	}
	st, calls := countCalls(t, served)
	ds := digestsOf(all)
	st.RemoteBlobs.Expect(t.Context(), slices.Values(slices.Concat(ds, ds[:1]))) // the first one twice
	for _, data := range append(all, all[0]) {
		readRemote(t, st, data)
	}
	calls.want(t, 0, 0)
	if n := g.Sent.Load(); n != number {
		t.Errorf("%d groups were sent %d times", number, n)
	}
}

// A server may send a group again that has chunks of a blob, because it no longer knows that it has sent it.
func TestExpectAgain(t *testing.T) {
	one, two := []byte("one"), []byte("two")
	long := slices.Concat(one, two)
	group := func(data []byte) *protos.GetBlobsResponse {
		return &protos.GetBlobsResponse{Digests: rpctest.Sums([][]byte{data}), Sizes: []uint64{uint64(len(data))},
			Contents: &protos.GetBlobsResponse_Plain{Plain: data}}
	}
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, &manyLiar{many: func(r *protos.GetManyRequest, send func(*protos.GetManyResponse) error) error {
		return errors.Join(
			send(&protos.GetManyResponse{Group: group(one), Done: 1}),
			send(&protos.GetManyResponse{Blob: r.Digests[1], Chunks: rpctest.Sums([][]byte{one, two}), Sizes: []uint64{3, 3}, Done: 1}),
			send(&protos.GetManyResponse{Group: group(one), Done: 1}),
			send(&protos.GetManyResponse{Group: group(two), Done: 1}),
			send(&protos.GetManyResponse{Done: 2}))
	}})
	calls := new(calls)
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop), calls.options()...), wire.TvixPackage)
	t.Cleanup(c.outbox.close)
	st := c.bundle("again")
	st.RemoteBlobs.Expect(t.Context(), slices.Values(digestsOf([][]byte{one, long})))
	readRemote(t, st, one)
	readRemote(t, st, long)
	calls.want(t, 0, 0)
}

// What nobody reads is not fetched without bound, and does not keep others from reading.
func TestExpectInMeasure(t *testing.T) {
	storetest.NotUnderRace(t)
	served, g := rpctest.NewGrouped(memory.New())
	var all [][]byte
	for i := range 80 {
		data := bytes.Repeat([]byte{byte(i)}, 1<<20)
		d, err := served.Blobs.Put(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		g.Groups[d] = store.Group{Members: []store.Chunk{{Digest: d, Size: 1 << 20}}, Plain: data}
		all = append(all, data)
	}
	conn := connect(t, serveStore(t, served, server.Options{}))
	c := newClient(conn, wire.TvixPackage)
	t.Cleanup(c.outbox.close)
	st := c.bundle("measured")
	st.RemoteBlobs.Expect(t.Context(), slices.Values(digestsOf(all)))
	unread := func() int {
		c.groups.mu.Lock()
		defer c.groups.mu.Unlock()
		return c.groups.kept.unread
	}
	for unread() <= aheadBytes {
		time.Sleep(time.Millisecond)
	}
	readRemote(t, st, all[len(all)-1])
	if n := unread(); n > groupsSize {
		t.Errorf("%d bytes wait", n)
	}
	readAll(t, st, all)
}

// manyLiar answers GetMany as a test wants, after the first request.
type manyLiar struct {
	protos.UnimplementedBulkServiceServer
	many func(first *protos.GetManyRequest, send func(*protos.GetManyResponse) error) error
}

func (l *manyLiar) GetMany(stream grpc.BidiStreamingServer[protos.GetManyRequest, protos.GetManyResponse]) error {
	req, err := stream.Recv()
	if err != nil {
		return err
	}
	return l.many(req, stream.Send)
}

func (l *manyLiar) Get(context.Context, *protos.GetBlobsRequest) (*protos.GetBlobsResponse, error) {
	return new(protos.GetBlobsResponse), nil
}

// Whatever a server says to GetMany, blobs are read right, and the call ends.
func TestHostileGetMany(t *testing.T) {
	type (
		req  = protos.GetManyRequest
		resp = protos.GetManyResponse
		send = func(*protos.GetManyResponse) error
	)
	group := func(data []byte, as []byte) *protos.GetBlobsResponse {
		return &protos.GetBlobsResponse{Digests: [][]byte{as}, Sizes: []uint64{uint64(len(data))},
			Contents: &protos.GetBlobsResponse_Plain{Plain: data}}
	}
	endless := func(m *resp) func(*req, send) error {
		return func(_ *req, send send) error {
			for {
				if err := send(m); err != nil {
					return err
				}
			}
		}
	}
	once := func(m func(*req) *resp) func(*req, send) error {
		return func(r *req, send send) error {
			if err := send(m(r)); err != nil {
				return err
			}
			return nil
		}
	}
	other := store.Sum([]byte("other"))
	list := func(r *req, sizes ...uint64) *resp {
		return &resp{Blob: r.Digests[0], Chunks: slices.Repeat([][]byte{other[:]}, len(sizes)), Sizes: sizes}
	}
	for name, many := range map[string]func(*req, send) error{
		"nothing":           endless(new(resp)),
		"a group of others": endless(&resp{Group: group([]byte("other"), other[:])}),
		"too much done":     once(func(*req) *resp { return &resp{Done: 1000} }),
		"all done":          once(func(r *req) *resp { return &resp{Done: uint64(len(r.Digests))} }),
		"an empty list":     once(func(r *req) *resp { return list(r) }),
		"an empty chunk":    once(func(r *req) *resp { return list(r, 0) }),
		"a huge chunk":      once(func(r *req) *resp { return list(r, 1<<60) }),
		"a wrong list":      once(func(r *req) *resp { return &resp{Blob: other[:], Done: 1} }),
		"no digest":         once(func(r *req) *resp { return &resp{Blob: []byte("short")} }),
		"sizes too few":     once(func(r *req) *resp { return &resp{Blob: r.Digests[0], Chunks: [][]byte{other[:]}} }),
		"a huge group": once(func(r *req) *resp {
			return &resp{Group: &protos.GetBlobsResponse{Digests: r.Digests[:1], Sizes: []uint64{1 << 60}}}
		}),
		"an early end": func(*req, send) error { return nil },
		"an error":     func(*req, send) error { return status.Error(codes.Internal, "broken") },
		"silence": func(*req, send) error {
			time.Sleep(1200 * time.Millisecond)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			data := [][]byte{[]byte("one"), []byte("two"), []byte("three")}
			s := grpc.NewServer()
			protos.RegisterBulkServiceServer(s, &manyLiar{many: many})
			s.RegisterService(wire.Under(wire.TvixPackage, protos.BlobService_ServiceDesc), &liar{
				read: func(d store.Digest, send func([]byte) error) error {
					for _, b := range data {
						if store.Sum(b) == d {
							return send(b)
						}
					}
					return status.Error(codes.NotFound, "no")
				}})
			c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.TvixPackage)
			if name == "silence" {
				c.patience = time.Second // of reads, too, on a machine that is busy
			}
			t.Cleanup(c.outbox.close)
			st := c.bundle("hostile")
			st.RemoteBlobs.Expect(t.Context(), slices.Values(digestsOf(data)))
			for _, want := range data {
				b, err := st.Blobs.Open(t.Context(), store.Sum(want))
				if err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%q, %v", got, err)
				}
			}
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				c.groups.mu.Lock()
				left := c.groups.aheads
				c.groups.mu.Unlock()
				if left == 0 {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the call does not end")
				}
			}
			if n := len(c.groups.coming); n > 0 {
				t.Errorf("%d blobs are still to come", n)
			}
		})
	}
}

// A group that does not hold what it says is an error of the blob that is read from it.
func TestHostileGetManyBytes(t *testing.T) {
	want := []byte("right")
	d := store.Sum(want)
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, &manyLiar{many: func(r *protos.GetManyRequest, send func(*protos.GetManyResponse) error) error {
		return send(&protos.GetManyResponse{Done: 1, Group: &protos.GetBlobsResponse{Digests: r.Digests[:1], Sizes: []uint64{5},
			Contents: &protos.GetBlobsResponse_Plain{Plain: []byte("wrong")}}})
	}})
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.TvixPackage)
	t.Cleanup(c.outbox.close)
	blobs{c: c}.Expect(t.Context(), slices.Values([]store.Digest{d}))
	_, err := blobs{c: c}.Open(t.Context(), d)
	wantCorrupt(t, err, "digest mismatch")
}

// The end of the context ends the call, and those that wait go on.
func TestExpectBlobsCancel(t *testing.T) {
	var began atomic.Bool
	quit := make(chan struct{})
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, &manyLiar{many: func(*protos.GetManyRequest, func(*protos.GetManyResponse) error) error {
		began.Store(true)
		<-quit
		return nil
	}})
	s.RegisterService(wire.Under(wire.TvixPackage, protos.BlobService_ServiceDesc), &liar{
		read: func(_ store.Digest, send func([]byte) error) error { return send([]byte("x")) }})
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.TvixPackage)
	t.Cleanup(c.outbox.close)
	defer close(quit)
	ctx, cancel := context.WithCancel(t.Context())
	blobs{c: c}.Expect(ctx, slices.Values([]store.Digest{store.Sum([]byte("x"))}))
	for !began.Load() {
		time.Sleep(time.Millisecond)
	}
	soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := (blobs{c: c}).Open(soon, store.Sum([]byte("x"))); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	cancel()
	if _, err := (blobs{c: c}).Open(t.Context(), store.Sum([]byte("x"))); err != nil {
		t.Error(fmt.Errorf("after the end: %w", err))
	}
}

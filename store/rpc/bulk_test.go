package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
)

// bulkLiar is a server that takes many blobs at once, and gives any answer.
type bulkLiar struct {
	protos.UnimplementedBulkServiceServer
	t   *testing.T
	put func(blobs [][]byte) ([][]byte, error)
	has func(n int) (*protos.HasBlobsResponse, error) // nil: the server has no blobs
}

func (l *bulkLiar) Put(_ context.Context, req *protos.PutBlobsRequest) (*protos.PutBlobsResponse, error) {
	if len(req.GetSizes()) == 0 {
		return &protos.PutBlobsResponse{MostBytes: 1 << 20}, nil
	}
	digests, err := l.put(unpacked(l.t, req))
	return &protos.PutBlobsResponse{Digests: digests}, err
}

func (l *bulkLiar) Has(_ context.Context, req *protos.HasBlobsRequest) (*protos.HasBlobsResponse, error) {
	if l.has == nil {
		return &protos.HasBlobsResponse{Has: make([]bool, len(req.GetDigests()))}, nil
	}
	return l.has(len(req.GetDigests()))
}

// Sync, or a call before it, notices wrong answers about blobs that were sent together.
func TestHostileBulk(t *testing.T) {
	for name, put := range map[string]func(blobs [][]byte) ([][]byte, error){
		"too few":      func(blobs [][]byte) ([][]byte, error) { return rpctest.Sums(blobs)[1:], nil },
		"too many":     func(blobs [][]byte) ([][]byte, error) { return append(rpctest.Sums(blobs), make([]byte, 32)), nil },
		"none":         func([][]byte) ([][]byte, error) { return nil, nil },
		"of another":   func(blobs [][]byte) ([][]byte, error) { return append(rpctest.Sums(blobs[1:]), make([]byte, 32)), nil },
		"not a digest": func(blobs [][]byte) ([][]byte, error) { return append(rpctest.Sums(blobs[1:]), []byte("short")), nil },
	} {
		t.Run(name, func(t *testing.T) {
			s := grpc.NewServer()
			protos.RegisterBulkServiceServer(s, &bulkLiar{t: t, put: put})
			s.RegisterService(wire.Under(wire.TvixPackage, protos.BlobService_ServiceDesc), &liar{})
			c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), "")
			t.Cleanup(c.outbox.close)
			var err error
			for i := 0; i < 5 && err == nil; i++ {
				_, err = blobs{c: c}.Put(t.Context(), fmt.Append(nil, i))
			}
			if err == nil {
				err = barrier{c}.Sync(t.Context())
			}
			wantCorrupt(t, err, "the server")
		})
	}
}

// A call that is cut off is made again. A caller that asks for one of its blobs waits.
func TestBulkRetry(t *testing.T) {
	var calls atomic.Int32
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, &bulkLiar{t: t, put: func(blobs [][]byte) ([][]byte, error) {
		if calls.Add(1) == 1 {
			return nil, status.Error(codes.Unavailable, "not now")
		}
		return rpctest.Sums(blobs), nil
	}, has: func(int) (*protos.HasBlobsResponse, error) {
		return &protos.HasBlobsResponse{Has: []bool{calls.Load() >= 2}}, nil
	}})
	s.RegisterService(wire.Under(wire.TvixPackage, protos.BlobService_ServiceDesc), &liar{})
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), "")
	t.Cleanup(c.outbox.close)
	d, err := blobs{c: c}.Put(t.Context(), []byte("one"))
	if err != nil {
		t.Fatal(err)
	}
	if has, err := (blobs{c: c}).Has(t.Context(), d); !has || err != nil {
		t.Errorf("has %v, %v", has, err)
	}
	if n := calls.Load(); n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// Blobs go together to a server that takes them together, and all of them arrive.
func TestBulk(t *testing.T) {
	st := memory.New()
	remote, c := countCalls(t, st)
	data := make([][]byte, 2000)
	for i := range data {
		data[i] = rpctest.Random(i % 3000)[:i%3000]
		data[i] = append(fmt.Append(nil, i, " "), data[i]...)
		if _, err := remote.Blobs.Put(t.Context(), data[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := remote.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range data {
		if has, err := st.Blobs.Has(t.Context(), store.Sum(data[i])); !has || err != nil {
			t.Fatalf("blob %d: %v, %v", i, has, err)
		}
	}
	if b, s := c.n["BulkService/Put"], c.n["BlobService/Put"]; s > 0 || b < 2 || b > 2000 {
		t.Errorf("%d calls for many blobs, %d for one", b, s)
	}
}

// silentBulk is a server that never answers.
type silentBulk struct {
	protos.UnimplementedBulkServiceServer
}

func (silentBulk) Put(ctx context.Context, _ *protos.PutBlobsRequest) (*protos.PutBlobsResponse, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// Put returns when its context ends, and a store can be closed, whatever the server does.
func TestBulkSilent(t *testing.T) {
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, silentBulk{})
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.TvixPackage)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := (blobs{c: c}).Put(ctx, []byte("x")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Put: %v", err)
	}
	ended := make(chan error)
	go func() {
		_, err := blobs{c: c}.Put(t.Context(), []byte("x"))
		ended <- err
	}()
	c.outbox.close()
	if err := <-ended; !errors.Is(err, errClosed) {
		t.Errorf("Put, closed: %v", err)
	}
}

// counted counts the blobs that are put.
type counted struct {
	store.Blobs
	puts atomic.Int32
}

func (c *counted) Put(ctx context.Context, data []byte) (store.Digest, error) {
	c.puts.Add(1)
	return c.Blobs.Put(ctx, data)
}

// Blobs that the server has are not sent again.
func TestBulkSendsWhatIsLacking(t *testing.T) {
	st := memory.New()
	blobs := &counted{Blobs: st.Blobs}
	st.Blobs = blobs
	l := serveStore(t, st, server.Options{AllowPut: true})
	for _, n := range []int{50, 120, 120, 0, 121} {
		before, had := blobs.puts.Load(), 0
		var c calls
		remote := New(connect(t, l, c.options()...), "server", "lacking", wire.TvixPackage)
		for i := range n {
			data := bytes.Repeat(fmt.Appendf(nil, "%d\n", i), i)
			if has, err := st.Blobs.Has(t.Context(), store.Sum(data)); err != nil {
				t.Fatal(err)
			} else if has {
				had++
			}
			if _, err := remote.Blobs.Put(t.Context(), data); err != nil {
				t.Fatal(err)
			}
		}
		if err := remote.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			d := store.Sum(bytes.Repeat(fmt.Appendf(nil, "%d\n", i), i))
			if has, err := st.Blobs.Has(t.Context(), d); !has || err != nil {
				t.Errorf("blob %d: %v, %v", i, has, err)
			}
		}
		if sent := int(blobs.puts.Load() - before); sent != n-had {
			t.Errorf("%d blobs of %d are sent, and %d were there", sent, n, had)
		}
		if had == n && c.n["BulkService/Put"] > 1 {
			t.Errorf("%d calls for nothing", c.n["BulkService/Put"]-1)
		}
		remote.Close()
	}
}

// An answer of the wrong length is noticed, and so is an error.
func TestHostileHas(t *testing.T) {
	for name, tt := range map[string]struct {
		has  []bool
		err  error
		want string
	}{
		"too few":  {nil, nil, "0 answers for 1 blobs"},
		"too many": {[]bool{true, true}, nil, "2 answers for 1 blobs"},
		"an error": {nil, status.Error(codes.DataLoss, "no disk"), "no disk"},
	} {
		t.Run(name, func(t *testing.T) {
			s := grpc.NewServer()
			protos.RegisterBulkServiceServer(s, &bulkLiar{
				t:   t,
				put: func(blobs [][]byte) ([][]byte, error) { return rpctest.Sums(blobs), nil },
				has: func(int) (*protos.HasBlobsResponse, error) { return &protos.HasBlobsResponse{Has: tt.has}, tt.err },
			})
			c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.TvixPackage)
			t.Cleanup(c.outbox.close)
			if _, err := (blobs{c: c}).Put(t.Context(), []byte("x")); err != nil {
				t.Fatal(err)
			}
			wantCorrupt(t, barrier{c}.Sync(t.Context()), tt.want)
		})
	}
}

// Blobs of several lanes are sent before Has says that they exist, and in one call if they fit.
func TestLanes(t *testing.T) {
	st, g := rpctest.NewGrouped(memory.New())
	remote := New(connect(t, serveStore(t, st, server.Options{AllowPut: true})), "server", "lanes", "")
	defer remote.Close()
	var digests []store.Digest
	for i := range 3 * laneCount {
		d, err := remote.Lane().Put(t.Context(), bytes.Repeat(fmt.Appendf(nil, "%d\n", i), 100))
		if err != nil {
			t.Fatal(err)
		}
		digests = append(digests, d)
	}
	if n := len(g.Frames); n > 0 {
		t.Errorf("%d calls before anybody asks", n)
	}
	if has, err := remote.Blobs.Has(t.Context(), digests[5]); !has || err != nil {
		t.Errorf("Has: %v, %v", has, err)
	}
	if n := len(g.Frames); n != 1 {
		t.Errorf("%d calls for the blobs of a lane, want 1", n)
	}
	if err := remote.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(g.Frames); n != 2 {
		t.Errorf("%d calls for the blobs of all lanes, want 2", n)
	}
	for i, d := range digests {
		if has, err := st.Blobs.Has(t.Context(), d); !has || err != nil {
			t.Errorf("blob %d: %v, %v", i, has, err)
		}
	}
}

// A client never sends more in one call than the server takes.
func TestBulkRoom(t *testing.T) {
	for _, most := range []int{wire.LengthsSize - 1, wire.LengthsSize + askSize - 1, wire.LengthsSize + askSize, 300 << 10, 3 << 20} {
		st := memory.New()
		l := serveStore(t, st, server.Options{AllowPut: true, MaxMessage: most})
		remote := New(connect(t, l), "server", "room", "")
		data := rpctest.Random(20 * 20_000)
		for i := range 20 {
			blob := data[i*20_000:][:min(20_000, most-100)]
			if _, err := remote.Blobs.Put(t.Context(), blob); err != nil {
				t.Fatalf("%d bytes in a message: %v", most, err)
			}
		}
		if err := remote.Sync(t.Context()); err != nil {
			t.Errorf("%d bytes in a message: %v", most, err)
		}
		for i := range 20 {
			d := store.Sum(data[i*20_000:][:min(20_000, most-100)])
			if has, err := st.Blobs.Has(t.Context(), d); !has || err != nil {
				t.Errorf("%d bytes in a message: blob %d: %v, %v", most, i, has, err)
			}
		}
		for i := range 2500 { // the digests are longer than the blobs
			if most < wire.LengthsSize+askSize {
				break // they go one by one
			}
			if _, err := remote.Blobs.Put(t.Context(), fmt.Append(nil, i)); err != nil {
				t.Fatalf("%d bytes in a message: %v", most, err)
			}
		}
		if err := remote.Sync(t.Context()); err != nil {
			t.Errorf("%d bytes in a message, of small blobs: %v", most, err)
		}
		remote.Close()
	}
}

package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/chunk"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// create puts a blob with a writer.
func create(ctx context.Context, b store.Blobs, data []byte) (store.Digest, error) {
	w, err := b.Create(ctx)
	if err != nil {
		return store.Digest{}, err
	}
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return store.Digest{}, err
	}
	return w.Commit()
}

// putWhole puts a blob from memory.
func putWhole(ctx context.Context, b store.Blobs, data []byte) (store.Digest, error) {
	return b.Put(ctx, data)
}

// Only the chunks of a long blob that the server lacks are sent, and none with BlobService.Put.
func TestJoin(t *testing.T) {
	served, j := rpctest.NewJoiner(memory.New())
	data := rpctest.Random(8 << 20)
	for _, tt := range []struct {
		name       string
		change     int // a byte that is changed first, or -1
		least, end int64
		put        func(context.Context, store.Blobs, []byte) (store.Digest, error)
	}{
		{"new", -1, 8 << 20, 8<<20 + 1, create},
		{"the same", -1, 0, 1, create},
		{"the same, from memory", -1, 0, 1, putWhole},
		{"changed", 3 << 20, 1, 1 << 20, create},
		{"changed, from memory", 5 << 20, 1, 1 << 20, putWhole},
	} {
		st, c := countCalls(t, served)
		if tt.change >= 0 {
			data[tt.change] ^= 1
		}
		before := j.Bytes.Load()
		d, err := tt.put(t.Context(), st.Blobs, data)
		if err == nil {
			err = st.Sync(t.Context())
		}
		if err != nil || d != store.Sum(data) {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if has, err := served.Blobs.Has(t.Context(), d); !has || err != nil {
			t.Errorf("%s: the server has it: %v, %v", tt.name, has, err)
		}
		if n := j.Bytes.Load() - before; n < tt.least || n >= tt.end {
			t.Errorf("%s: %d bytes of chunks, want from %d to less than %d", tt.name, n, tt.least, tt.end)
		}
		if puts, joins := c.n["BlobService/Put"], c.n["BulkService/Join"]; puts != 0 || joins != 1 {
			t.Errorf("%s: %d calls of BlobService.Put and %d of Join, want 0 and 1", tt.name, puts, joins)
		}
	}
}

// A long blob exists for its client as soon as Commit returns. Putting it twice joins it once.
func TestJoinVisible(t *testing.T) {
	served, j := rpctest.NewJoiner(memory.New())
	var joins atomic.Int32
	j.OnJoin = func() {
		joins.Add(1)
		time.Sleep(50 * time.Millisecond) // a client that does not wait is too early
	}
	st, _ := countCalls(t, served)
	all := rpctest.Random(10 << 20)
	for i, see := range []func(store.Digest) error{
		func(d store.Digest) error {
			has, err := st.Blobs.Has(t.Context(), d)
			if err == nil && !has {
				err = store.ErrNotFound
			}
			return err
		},
		func(d store.Digest) error {
			_, err := st.Blobs.Chunks(t.Context(), d)
			return err
		},
		func(d store.Digest) error {
			b, err := st.Blobs.Open(t.Context(), d)
			if err != nil {
				return err
			}
			return b.Close()
		},
	} {
		data := all[i<<20:][:3<<20]
		for range 3 {
			if _, err := create(t.Context(), st.Blobs, data); err != nil {
				t.Fatal(err)
			}
		}
		if err := see(store.Sum(data)); err != nil {
			t.Errorf("way %d: %v", i, err)
		}
		if n := joins.Load(); n != int32(i+1) {
			t.Errorf("way %d: %d joins, want %d", i, n, i+1)
		}
	}
}

// headOf returns bytes that end just after the start of a chunk.
func headOf(t *testing.T) []byte {
	t.Helper()
	cutter, err := chunk.NewCutter(chunk.Default().Avg)
	if err != nil {
		t.Fatal(err)
	}
	data := rpctest.Random(3 << 20)
	at := 0
	for at <= inlineSize { // or it would go whole
		at += cutter.Cut(data[at:])
	}
	return data[:at+1]
}

// More long blobs can be put than may wait for a join, even if their last chunks are in batches that are not full. Waiting
// for a chunk also works if its batch is merged with another.
func TestManyJoins(t *testing.T) {
	served, _ := rpctest.NewJoiner(memory.New())
	st, c := countCalls(t, served)
	head := headOf(t)
	const n = joinsWaiting + joinCalls + 10
	blob := func(i int) []byte { return slices.Concat(head, fmt.Append(nil, "the end of ", i)) }
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range n {
		if _, err := create(ctx, st.Lane(), blob(i)); err != nil {
			t.Fatalf("blob %d: %v", i, err)
		}
	}
	if err := st.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if has, err := served.Blobs.Has(ctx, store.Sum(blob(i))); !has || err != nil {
			t.Errorf("blob %d: %v, %v", i, has, err)
		}
	}
	if got := c.n["BulkService/Join"]; got != n {
		t.Errorf("%d joins, want %d", got, n)
	}
}

// Waiting for room among the joins ends with the context, and with the store.
func TestJoinEnds(t *testing.T) {
	served, j := rpctest.NewJoiner(memory.New())
	stuck := make(chan struct{})
	j.OnJoin = func() { <-stuck }
	st, _ := countCalls(t, served)
	t.Cleanup(func() { close(stuck) })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	head := rpctest.Random(1 << 20)
	var err error
	for i := 0; i < 2*joinsWaiting && err == nil; i++ {
		_, err = create(ctx, st.Blobs, slices.Concat(head, fmt.Append(nil, i)))
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want that the time is over", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	if _, err := create(t.Context(), st.Blobs, head); !errors.Is(err, errClosed) {
		t.Errorf("%v, want that the store is closed", err)
	}
}

// joinLiar is a server that takes chunks, and gives any answer to Join.
type joinLiar struct {
	bulkLiar
	size uint64
	join func(d store.Digest) ([]byte, error)
}

func (l *joinLiar) Put(ctx context.Context, req *protos.PutBlobsRequest) (*protos.PutBlobsResponse, error) {
	resp, err := l.bulkLiar.Put(ctx, req)
	resp.ChunkSize = l.size
	return resp, err
}

func (l *joinLiar) Join(stream grpc.ClientStreamingServer[protos.JoinBlobRequest, protos.JoinBlobResponse]) error {
	first, err := stream.Recv()
	for err == nil {
		_, err = stream.Recv()
	}
	if err != io.EOF {
		return err
	}
	answer, err := l.join(store.Digest(first.GetDigest()))
	if err != nil {
		return err
	}
	return stream.SendAndClose(&protos.JoinBlobResponse{Digest: answer})
}

// Sync, or a call before it, notices wrong answers to Join, and failed ones.
func TestHostileJoin(t *testing.T) {
	for _, tt := range []struct {
		name string
		join func(d store.Digest) ([]byte, error)
		want string
	}{
		{"another digest", func(store.Digest) ([]byte, error) { return make([]byte, 32), nil }, "the server calls it"},
		{"no digest", func(store.Digest) ([]byte, error) { return nil, nil }, "the server"},
		{"lost a chunk", func(store.Digest) ([]byte, error) {
			return nil, status.Error(codes.NotFound, "chunk 1234: not found")
		}, "chunk 1234: not found"},
		{"damaged", func(store.Digest) ([]byte, error) { return nil, status.Error(codes.DataLoss, "chunk 1234") }, "chunk 1234"},
		{"refused", func(store.Digest) ([]byte, error) { return nil, status.Error(codes.InvalidArgument, "why") }, "why"},
		{"gone", func(store.Digest) ([]byte, error) { return nil, status.Error(codes.Unimplemented, "no Join") }, "no Join"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &joinLiar{size: uint64(chunk.Default().Avg), join: tt.join}
			l.bulkLiar = bulkLiar{t: t, put: func(blobs [][]byte) ([][]byte, error) { return rpctest.Sums(blobs), nil }}
			c := serveJoinLies(t, l, new(liar))
			_, err := create(t.Context(), blobs{c: c}, rpctest.Random(longBlob))
			if err == nil {
				err = barrier{c}.Sync(t.Context())
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if has := c.known.has(store.Sum(rpctest.Random(longBlob))); has {
				t.Error("the blob counts as stored")
			}
		})
	}
}

func serveJoinLies(t *testing.T, l *joinLiar, bl *liar) *client {
	t.Helper()
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, l)
	s.RegisterService(wire.Under(wire.TvixPackage, protos.BlobService_ServiceDesc), bl)
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), "")
	t.Cleanup(c.outbox.close)
	return c
}

// A server that wants chunks of impossible lengths, or longer ones than fit in a batch, gets blobs whole.
func TestImpossibleChunks(t *testing.T) {
	for _, size := range []uint64{0, 1, leastChunk - 1, inlineSize/2 + 1, chunk.MaxAvg, chunk.MaxAvg + 1, 1 << 63} {
		var got [][]byte
		l := &joinLiar{size: size, join: func(store.Digest) ([]byte, error) { return nil, errors.New("it is joined") }}
		l.bulkLiar = bulkLiar{t: t, put: func([][]byte) ([][]byte, error) { return nil, errors.New("it is cut") }}
		c := serveJoinLies(t, l, &liar{put: func(data []byte) store.Digest {
			got = append(got, data)
			return store.Sum(data)
		}})
		data := rpctest.Random(longBlob)
		_, err := create(t.Context(), blobs{c: c}, data)
		if err != nil || len(got) != 1 || !bytes.Equal(got[0], data) {
			t.Errorf("chunks of %d: %d blobs, %v", size, len(got), err)
		}
	}
}

// The client waits for Join as long as a server may need to read the blob.
func TestJoinPatience(t *testing.T) {
	l := &joinLiar{size: uint64(chunk.Default().Avg), join: func(d store.Digest) ([]byte, error) {
		time.Sleep(150 * time.Millisecond) // longer than the client waits for other calls
		return d[:], nil
	}}
	c := serveJoinLies(t, l, new(liar))
	c.patience = 50 * time.Millisecond
	d, one := store.Sum([]byte("long")), store.Sum([]byte("chunk"))
	long := []store.Chunk{{Digest: one, Size: 1 << 30}, {Digest: one, Size: 1 << 30}}
	if err := c.joinBlob(t.Context(), d, long); err != nil {
		t.Errorf("2 GiB: %v", err)
	}
	short := []store.Chunk{{Digest: one, Size: 1000}, {Digest: one, Size: 1000}}
	if err := c.joinBlob(t.Context(), d, short); !errors.Is(err, errNoAnswer) {
		t.Errorf("2 kB: %v, want %v", err, errNoAnswer)
	}
}

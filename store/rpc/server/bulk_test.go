package server

import (
	"bytes"
	"io"
	"math"
	"slices"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/zstd"
)

// A server stores blobs, and passes on a frame only if it is a single one. An impossible request is the client's mistake.
func TestBulkServer(t *testing.T) {
	enc, err := zstd.NewEncoder(1, zstd.Fast)
	if err != nil {
		t.Fatal(err)
	}
	compressed := func(data []byte) []byte {
		frame, err := enc.Append(nil, data)
		if err != nil {
			t.Fatal(err)
		}
		return frame
	}
	one, two := bytes.Repeat([]byte("one\n"), 500), bytes.Repeat([]byte("two\n"), 700)
	both := slices.Concat(one, two)
	frame := compressed(both)
	sizes := []uint64{2000, 2800}
	const most = 1 << 20
	asFrame := func(b []byte) *protos.PutBlobsRequest_Frame { return &protos.PutBlobsRequest_Frame{Frame: b} }
	for _, tt := range []bulkTest{
		{"a frame", &protos.PutBlobsRequest{Sizes: sizes, Contents: asFrame(frame)}, codes.OK, [][]byte{one, two}, true},
		{"two frames", &protos.PutBlobsRequest{
			Sizes: sizes, Contents: asFrame(slices.Concat(compressed(one), compressed(two))),
		}, codes.OK, [][]byte{one, two}, false},
		{"plain", &protos.PutBlobsRequest{
			Sizes: sizes, Contents: &protos.PutBlobsRequest_Plain{Plain: both},
		}, codes.OK, [][]byte{one, two}, false},
		{"no bytes", &protos.PutBlobsRequest{Sizes: []uint64{0, 0}}, codes.OK, [][]byte{nil, nil}, false},
		{"nothing", new(protos.PutBlobsRequest), codes.OK, nil, false},
		{"no contents", &protos.PutBlobsRequest{Sizes: sizes}, codes.InvalidArgument, nil, false},
		{"no frame", &protos.PutBlobsRequest{Sizes: sizes, Contents: asFrame([]byte("none"))}, codes.InvalidArgument, nil, false},
		{"an empty frame", &protos.PutBlobsRequest{Sizes: sizes, Contents: asFrame(nil)}, codes.InvalidArgument, nil, false},
		{"half a frame", &protos.PutBlobsRequest{Sizes: sizes, Contents: asFrame(frame[:len(frame)/2])}, codes.InvalidArgument, nil, false},
		{"too short", &protos.PutBlobsRequest{Sizes: []uint64{2000, 2801}, Contents: asFrame(frame)}, codes.InvalidArgument, nil, false},
		{"too long", &protos.PutBlobsRequest{Sizes: []uint64{2000, 2799}, Contents: asFrame(frame)}, codes.InvalidArgument, nil, false},
		{"too short, plain", &protos.PutBlobsRequest{
			Sizes: sizes, Contents: &protos.PutBlobsRequest_Plain{Plain: one},
		}, codes.InvalidArgument, nil, false},
		{"a bomb", &protos.PutBlobsRequest{
			Sizes: []uint64{most / 2, most / 2}, Contents: asFrame(compressed(make([]byte, most))),
		}, codes.InvalidArgument, nil, false},
		{"too many", &protos.PutBlobsRequest{Sizes: make([]uint64, wire.MostBlobs+1)}, codes.InvalidArgument, nil, false},
		{"impossible lengths", &protos.PutBlobsRequest{
			Sizes: []uint64{math.MaxUint64, 4801}, Contents: asFrame(frame),
		}, codes.InvalidArgument, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, most, frame) })
	}
}

// bulkTest is a request to put blobs, and what comes of it.
type bulkTest struct {
	name    string
	req     *protos.PutBlobsRequest
	code    codes.Code
	blobs   [][]byte
	grouped bool
}

func (tt bulkTest) run(t *testing.T, most int, frame []byte) {
	st, g := rpctest.NewGrouped(memory.New())
	l := serveStore(t, st, Options{AllowPut: true, MaxMessage: most})
	resp, err := protos.NewBulkServiceClient(rpctest.Connect(t, l)).Put(t.Context(), tt.req)
	if status.Code(err) != tt.code {
		t.Fatalf("%v, want %v", err, tt.code)
	}
	if got, want := resp.GetDigests(), rpctest.Sums(tt.blobs); !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("digests %x, want %x", got, want)
	}
	for i, data := range tt.blobs {
		if has, err := st.Blobs.Has(t.Context(), store.Sum(data)); !has || err != nil {
			t.Errorf("blob %d: %v, %v", i, has, err)
		}
	}
	if grouped := len(g.Frames) > 0; grouped != tt.grouped || grouped && !bytes.Equal(g.Frames[0], frame) {
		t.Errorf("passed on: %v, want %v", grouped, tt.grouped)
	}
}

// A server answers a question about many blobs, but not about too many.
func TestHasMany(t *testing.T) {
	l := serveStore(t, memory.New(), Options{})
	absent := store.Sum(nil)
	for n, want := range map[int]codes.Code{wire.MostBlobs: codes.OK, wire.MostBlobs + 1: codes.InvalidArgument} {
		req := &protos.HasBlobsRequest{Digests: slices.Repeat([][]byte{absent[:]}, n)}
		if _, err := protos.NewBulkServiceClient(rpctest.Connect(t, l)).Has(t.Context(), req); status.Code(err) != want {
			t.Errorf("%d blobs: %v, want %v", n, err, want)
		}
	}
}

// A read-only server takes no groups.
func TestBulkServerReadOnly(t *testing.T) {
	l := serveStore(t, memory.New(), Options{})
	for _, req := range []*protos.PutBlobsRequest{{}, {Sizes: []uint64{0}}} {
		_, err := protos.NewBulkServiceClient(rpctest.Connect(t, l)).Put(t.Context(), req)
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%v: %v", req, err)
		}
	}
}

// A server joins a blob, or says what is wrong with the request.
func TestJoinServer(t *testing.T) {
	st, _ := rpctest.NewJoiner(memory.New())
	one, two := []byte("one"), []byte("two")
	for _, data := range [][]byte{one, two} {
		if _, err := st.Blobs.Put(t.Context(), data); err != nil {
			t.Fatal(err)
		}
	}
	both := store.Sum([]byte("onetwo"))
	chunks := rpctest.Sums([][]byte{one, two})
	sizes := []uint64{3, 3}
	absent := rpctest.Sums([][]byte{[]byte("absent")})
	type requests = []*protos.JoinBlobRequest
	for _, tt := range []struct {
		name string
		reqs requests
		code codes.Code
	}{
		{"whole", requests{{Digest: both[:], Chunks: chunks, Sizes: sizes}}, codes.OK},
		{"in parts", requests{{Digest: both[:]}, {Chunks: chunks[:1], Sizes: sizes[:1]}, {Chunks: chunks[1:], Sizes: sizes[1:]}}, codes.OK},
		{"nothing", nil, codes.InvalidArgument},
		{"no digest", requests{{Chunks: chunks, Sizes: sizes}}, codes.InvalidArgument},
		{"a short digest", requests{{Digest: both[:31], Chunks: chunks, Sizes: sizes}}, codes.InvalidArgument},
		{"a short digest of a chunk", requests{{Digest: both[:], Chunks: [][]byte{chunks[0], chunks[1][1:]}, Sizes: sizes}}, codes.InvalidArgument},
		{"too few sizes", requests{{Digest: both[:], Chunks: chunks, Sizes: sizes[1:]}}, codes.InvalidArgument},
		{"too many sizes", requests{{Digest: both[:], Chunks: chunks[:1], Sizes: sizes}}, codes.InvalidArgument},
		{"too few chunks", requests{{Digest: both[:], Chunks: chunks[:1], Sizes: sizes[:1]}}, codes.InvalidArgument},
		{"no chunks", requests{{Digest: both[:]}}, codes.InvalidArgument},
		{"a missing chunk", requests{{Digest: both[:], Chunks: absent, Sizes: []uint64{6}}}, codes.NotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client := protos.NewBulkServiceClient(rpctest.Connect(t, serveStore(t, st, Options{AllowPut: true})))
			stream, err := client.Join(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, req := range tt.reqs {
				if err := stream.Send(req); err != nil && err != io.EOF {
					t.Fatal(err)
				}
			}
			resp, err := stream.CloseAndRecv()
			if status.Code(err) != tt.code || err == nil && !bytes.Equal(resp.GetDigest(), both[:]) {
				t.Errorf("%x, %v, want %v", resp.GetDigest(), err, tt.code)
			}
		})
	}
}

// A read-only server, or one whose store cannot join, says so.
func TestJoinRefused(t *testing.T) {
	joins, _ := rpctest.NewJoiner(memory.New())
	for _, tt := range []struct {
		name string
		st   *store.Store
		o    Options
		code codes.Code
	}{
		{"another store", memory.New(), Options{AllowPut: true}, codes.Unimplemented},
		{"read-only", joins, Options{}, codes.PermissionDenied},
	} {
		client := protos.NewBulkServiceClient(rpctest.Connect(t, serveStore(t, tt.st, tt.o)))
		stream, err := client.Join(t.Context())
		if err == nil {
			_, err = stream.CloseAndRecv()
		}
		if status.Code(err) != tt.code {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.code)
		}
	}
}

// requestStream is the requests of a call of Join.
type requestStream struct {
	grpc.ClientStreamingServer[protos.JoinBlobRequest, protos.JoinBlobResponse]
	left []*protos.JoinBlobRequest
}

func (s *requestStream) Recv() (*protos.JoinBlobRequest, error) {
	if len(s.left) == 0 {
		return nil, io.EOF
	}
	req := s.left[0]
	s.left = s.left[1:]
	return req, nil
}

// A list of chunks that is too long is not read to its end.
func TestTooManyChunks(t *testing.T) {
	d := store.Sum([]byte("blob"))
	part := &protos.JoinBlobRequest{Chunks: rpctest.Sums([][]byte{[]byte("one"), []byte("two")}), Sizes: []uint64{3, 3}}
	for most, want := range map[int]bool{5: false, 6: true, 7: true} {
		stream := &requestStream{left: []*protos.JoinBlobRequest{{Digest: d[:]}, part, part, part}}
		got, chunks, err := recvChunks(stream, most)
		if want && (err != nil || got != d || len(chunks) != 6) {
			t.Errorf("at most %d: %d chunks of %s, %v", most, len(chunks), got, err)
		}
		if !want && status.Code(toStatus(err)) != codes.InvalidArgument {
			t.Errorf("at most %d: %v, want that it is the client's mistake", most, err)
		}
	}
}

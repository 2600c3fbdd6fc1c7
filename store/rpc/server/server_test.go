package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"lukechampine.com/blake3/bao"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// Answers for absent objects are those of tvix and snix, and their headers come before the status.
func TestNotFound(t *testing.T) {
	conn := rpctest.Connect(t, serveStore(t, memory.New(), Options{}))
	absent := bytes.Repeat([]byte{1}, 32)
	for _, digest := range [][]byte{absent, absent[:2], nil} {
		want := codes.NotFound
		if len(digest) != 32 {
			want = codes.InvalidArgument
		}
		_, err := protos.NewBlobServiceClient(conn).Stat(t.Context(), &protos.StatBlobRequest{Digest: digest})
		if status.Code(err) != want {
			t.Errorf("Stat: %v, want %v", err, want)
		}
		read, err := protos.NewBlobServiceClient(conn).Read(t.Context(), &protos.ReadBlobRequest{Digest: digest})
		if err != nil {
			t.Fatal(err)
		}
		_, err = read.Recv()
		wantHeaders(t, read, err, want)
		get, err := protos.NewDirectoryServiceClient(conn).Get(t.Context(), &protos.GetDirectoryRequest{ByWhat: &protos.GetDirectoryRequest_Digest{Digest: digest}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = get.Recv()
		wantHeaders(t, get, err, want)
	}
	get, err := protos.NewDirectoryServiceClient(conn).Get(t.Context(), &protos.GetDirectoryRequest{
		ByWhat: &protos.GetDirectoryRequest_Digest{Digest: absent}, Recursive: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := get.Recv(); err != io.EOF {
		t.Errorf("recursive Get: %v, want the end", err)
	}
	get, _ = protos.NewDirectoryServiceClient(conn).Get(t.Context(), new(protos.GetDirectoryRequest))
	if _, err := get.Recv(); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "invalid by_what") {
		t.Errorf("Get of nothing: %v", err)
	}
}

// wantHeaders checks a status, and that headers came before it. Headers have a content type, and trailers have none.
func wantHeaders(t *testing.T, stream grpc.ClientStream, err error, want codes.Code) {
	t.Helper()
	if status.Code(err) != want {
		t.Errorf("%v, want %v", err, want)
	}
	if h, err := stream.Header(); err != nil || len(h.Get("content-type")) == 0 {
		t.Errorf("headers %v, %v", h, err)
	}
	if tr := stream.Trailer(); len(tr.Get("content-type")) > 0 {
		t.Errorf("trailers only: %v", tr)
	}
}

// chunkedStore says that its blobs consist of given chunks.
type chunkedStore struct {
	store.Blobs
	chunks []store.Chunk
}

func (s chunkedStore) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if c, err := s.Blobs.Chunks(ctx, d); err != nil {
		return c, err
	}
	return s.chunks, nil
}

func TestStat(t *testing.T) {
	data := rpctest.Random(3 << 20)
	st := memory.New()
	d, _ := st.Blobs.Put(t.Context(), data)
	small, _ := st.Blobs.Put(t.Context(), data[:wire.ProofGroup])
	st.Blobs = chunkedStore{st.Blobs, []store.Chunk{{Digest: store.Digest{1}, Size: 5}, {Digest: store.Digest{2}, Size: 3<<20 - 5}}}
	conn := rpctest.Connect(t, serveStore(t, st, Options{}))
	stat := func(d store.Digest, chunks, proof bool) *protos.StatBlobResponse {
		resp, err := protos.NewBlobServiceClient(conn).Stat(t.Context(), &protos.StatBlobRequest{Digest: d[:], SendChunks: chunks, SendBao: proof})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	outboard, _ := bao.EncodeBuf(data, 4, true)
	for _, chunks := range []bool{false, true} {
		for _, proof := range []bool{false, true} {
			resp := stat(d, chunks, proof)
			if got := len(resp.GetChunks()); got > 0 != chunks || chunks && resp.GetChunks()[1].GetSize() != 3<<20-5 {
				t.Errorf("send_chunks=%v: %v", chunks, resp.GetChunks())
			}
			if want := map[bool][]byte{true: outboard}[proof]; !bytes.Equal(resp.GetBao(), want) {
				t.Errorf("send_bao=%v: %d bytes, want %d", proof, len(resp.GetBao()), len(want))
			}
		}
	}
	if resp := stat(small, false, true); len(resp.GetBao()) > 0 {
		t.Errorf("a blob of one group has a proof of %d bytes", len(resp.GetBao()))
	}
}

func TestReadFrames(t *testing.T) {
	data := rpctest.Random(3<<20 + 1)
	st := memory.New()
	d, _ := st.Blobs.Put(t.Context(), data)
	conn := rpctest.Connect(t, serveStore(t, st, Options{}))
	stream, err := protos.NewBlobServiceClient(conn).Read(t.Context(), &protos.ReadBlobRequest{Digest: d[:]})
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	n := 0
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n++
		got = append(got, m.GetData()...)
	}
	if want := 3<<20/wire.FrameSize + 1; n != want || !bytes.Equal(got, data) {
		t.Errorf("%d bytes in %d messages, want %d in %d", len(got), n, len(data), want)
	}
}

func TestReadOnly(t *testing.T) {
	st := rpc.New(rpctest.Connect(t, serveStore(t, memory.New(), Options{})), "server", "x", "")
	t.Cleanup(func() { st.Close() })
	if _, err := st.Blobs.Put(t.Context(), rpctest.Random(64<<10+1)); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Put of a blob: %v", err)
	}
	if _, err := st.Directories.Put(t.Context(), nil); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Put of a directory: %v", err)
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Errorf("Sync where nothing was put: %v", err)
	}
	if _, err := st.Blobs.Put(t.Context(), []byte("small")); err == nil {
		err = st.Sync(t.Context())
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("Sync after a small blob: %v", err)
		}
	}
}

func withSecret() *Tokens { return NewTokens(Token{"secret", Rights{Put: true, Delete: true}}) }

func TestHealth(t *testing.T) {
	s, err := New(memory.New(), Options{Tokens: withSecret()})
	if err != nil {
		t.Fatal(err)
	}
	l := rpctest.Listen(t, s.Serve, func() { s.Shutdown(context.Background()) })
	c := grpc_health_v1.NewHealthClient(rpctest.Connect(t, l))
	if _, err := c.Check(t.Context(), new(grpc_health_v1.HealthCheckRequest)); status.Code(err) != codes.Unauthenticated {
		t.Errorf("Check without a token: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer secret")
	for _, service := range []string{
		"", wire.TvixPackage + ".BlobService", wire.TvixPackage + ".DirectoryService", wire.SnixPackage + ".BlobService", wire.SnixPackage + ".DirectoryService",
	} {
		resp, err := c.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, resp, err)
		}
	}
}

func TestToken(t *testing.T) {
	l := serveStore(t, memory.New(), Options{Tokens: withSecret()})
	for _, tt := range []struct {
		header string
		want   codes.Code
	}{
		{"", codes.Unauthenticated}, {"Bearer wrong", codes.Unauthenticated}, {"Bearer ", codes.Unauthenticated},
		{"secret", codes.Unauthenticated}, {"Basic secret", codes.Unauthenticated},
		{"Bearer secret", codes.NotFound}, {"bearer secret", codes.NotFound},
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", tt.header)
		_, err := protos.NewBlobServiceClient(rpctest.Connect(t, l)).Stat(ctx, &protos.StatBlobRequest{Digest: make([]byte, 32)})
		if status.Code(err) != tt.want {
			t.Errorf("%q: %v, want %v", tt.header, err, tt.want)
		}
	}
}

// A call without a token is refused before its request comes.
func TestRefusedUnheard(t *testing.T) {
	conn := rpctest.Connect(t, serveStore(t, memory.New(), Options{Tokens: withSecret()}))
	for _, method := range []string{
		protos.BlobService_Stat_FullMethodName, protos.BlobService_Put_FullMethodName,
		protos.DirectoryService_Get_FullMethodName, protos.DirectoryService_Put_FullMethodName,
		protos.BulkService_Has_FullMethodName, protos.BulkService_Put_FullMethodName, protos.BulkService_Get_FullMethodName,
		protos.BulkService_GetMany_FullMethodName, protos.BulkService_Join_FullMethodName, protos.TagService_Set_FullMethodName,
		grpc_health_v1.Health_Check_FullMethodName, grpc_health_v1.Health_Watch_FullMethodName,
		reflectv1.ServerReflection_ServerReflectionInfo_FullMethodName,
	} {
		stream, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, method)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.RecvMsg(new(protos.StatBlobResponse)); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v, want Unauthenticated", method, err)
		}
	}
}

// Headers that are too long are refused, with a token or without.
func TestLongHeaders(t *testing.T) {
	c := grpc_health_v1.NewHealthClient(rpctest.Connect(t, serveStore(t, memory.New(), Options{Tokens: withSecret()})))
	for n, want := range map[int]codes.Code{maxHeaders / 2: codes.Unauthenticated, maxHeaders: codes.Internal} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("~", n))
		if _, err := c.Check(ctx, new(grpc_health_v1.HealthCheckRequest)); status.Code(err) != want {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
	}
}

// One slot suffices for an ingest, because an open upload takes one of another kind.
func TestOneStream(t *testing.T) {
	st := rpc.New(rpctest.Connect(t, serveStore(t, memory.New(), Options{AllowPut: true, MaxStreams: 1})), "server", "x", "")
	defer st.Close()
	u, err := st.Directories.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	root, err := u.Put(t.Context(), nil)
	for i := range 50 {
		if err == nil {
			_, err = st.Blobs.Put(t.Context(), fmt.Appendf(nil, "blob %d", i))
		}
	}
	if err == nil {
		err = u.Commit(t.Context(), root)
	}
	if err != nil {
		t.Error(err)
	}
}

func TestMaxMessage(t *testing.T) {
	conn := rpctest.Connect(t, serveStore(t, memory.New(), Options{AllowPut: true, MaxMessage: 1000}))
	stream, err := protos.NewBlobServiceClient(conn).Put(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&protos.BlobChunk{Data: rpctest.Random(1001)})
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("error %v, want ResourceExhausted", err)
	}
}

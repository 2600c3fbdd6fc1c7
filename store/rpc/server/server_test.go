package server

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

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"lukechampine.com/blake3/bao"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

func TestPutDirectories(t *testing.T) {
	tr := rpctest.NewTree(t)
	tests := []struct {
		name string
		send []string
		want string // what the error says; "": none
	}{
		{"one", []string{"a"}, ""},
		{"a closure", []string{"a", "b", "root"}, ""},
		{"the same under the rule of snix", []string{"snix a", "snix b", "snix root"}, ""},
		{"duplicates", []string{"a", "a", "b", "a", "root", "root"}, ""},
		{"nothing", nil, "no directories received"},
		{"a parent first", []string{"b", "a"}, "was not sent before"},
		{"a child is missing", []string{"a", "root"}, "was not sent before"},
		{"two roots", []string{"b-less", "a"}, "2 directories that no other refers to"},
		{"wrong size", []string{"a", "b", "wrong"}, "wrong size"},
		{"two rules in one", []string{"a", "b", "snix b", "both"}, "wrong size"},
		{"no directory", []string{"junk"}, "invalid directory"},
	}
	tr.Encoded["junk"] = []byte{0x20, 1}
	tr.Encoded["b-less"], _ = store.EncodeDirectory(store.Directory{{Name: "f", Kind: store.KindFile}})
	both := store.Directory{{Name: "1", Kind: store.KindDirectory, Digest: store.Sum(tr.Encoded["b"]), Size: 2}, {Name: "2", Kind: store.KindDirectory, Digest: store.Sum(tr.Encoded["snix b"]), Size: 4}}
	tr.Encoded["both"], _ = store.EncodeDirectory(both)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := memory.New()
			conn := rpctest.Connect(t, serveStore(t, st, Options{AllowPut: true}))
			stream, err := protos.NewDirectoryServiceClient(conn).Put(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range tt.send {
				stream.Send(wire.RawDirectory(tr.Encoded[name])) // fails when the server has had enough
			}
			resp, err := stream.CloseAndRecv()
			if tt.want != "" {
				if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("error %v, want %q", err, tt.want)
				}
				return
			}
			root := store.Sum(tr.Encoded[tt.send[len(tt.send)-1]])
			if err != nil || !bytes.Equal(resp.GetRootDigest(), root[:]) {
				t.Fatalf("%v, %v, want %s", resp, err, root)
			}
			for _, err := range st.Directories.Walk(t.Context(), root) {
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// TestNotFound sees that headers come before the status, and what upstream answers where something is absent.
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

// wantHeaders checks a status, and that it did not come with the headers: those have a content type, trailers have not.
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

// chunkedStore has one blob, of chunks.
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
	st := rpc.New(rpctest.Connect(t, serveStore(t, memory.New(), Options{})), "x", "")
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

func TestHealth(t *testing.T) {
	s, err := New(memory.New(), Options{Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	l := rpctest.Listen(t, s.Serve, func() { s.Shutdown(context.Background()) })
	c := grpc_health_v1.NewHealthClient(rpctest.Connect(t, l))
	for _, service := range []string{
		"", wire.TvixPackage + ".BlobService", wire.TvixPackage + ".DirectoryService", wire.SnixPackage + ".BlobService", wire.SnixPackage + ".DirectoryService",
	} {
		resp, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", service, resp, err)
		}
	}
}

// TestReflection asks in both versions, as grpcurl does, and resolves what it is told.
func TestReflection(t *testing.T) {
	conn := rpctest.Connect(t, serveStore(t, memory.New(), Options{}))
	v1, err := reflectv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// The messages of both versions are the same but for their names.
	alpha, err := conn.NewStream(t.Context(), &reflectv1.ServerReflection_ServiceDesc.Streams[0],
		"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(req *reflectv1.ServerReflectionRequest) *reflectv1.ServerReflectionResponse {
		t.Helper()
		if err := v1.Send(req); err != nil {
			t.Fatal(err)
		}
		resp, err := v1.Recv()
		if err != nil || resp.GetErrorResponse() != nil {
			t.Fatalf("%v: %v, %v", req, resp.GetErrorResponse(), err)
		}
		other := new(reflectv1.ServerReflectionResponse)
		if err := errors.Join(alpha.SendMsg(req), alpha.RecvMsg(other)); err != nil || other.GetErrorResponse() != nil {
			t.Fatalf("v1alpha: %v: %v, %v", req, other.GetErrorResponse(), err)
		}
		return resp
	}
	var names []string
	for _, s := range ask(&reflectv1.ServerReflectionRequest{MessageRequest: &reflectv1.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		names = append(names, s.GetName())
	}
	for _, pkg := range []string{wire.TvixPackage, wire.SnixPackage} {
		for _, service := range []string{"BlobService", "DirectoryService"} {
			name := pkg + "." + service
			if !slices.Contains(names, name) {
				t.Errorf("%s is not listed: %v", name, names)
			}
			resp := ask(&reflectv1.ServerReflectionRequest{MessageRequest: &reflectv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: name}})
			set := new(descriptorpb.FileDescriptorSet)
			for _, b := range resp.GetFileDescriptorResponse().GetFileDescriptorProto() {
				f := new(descriptorpb.FileDescriptorProto)
				if err := proto.Unmarshal(b, f); err != nil {
					t.Fatal(err)
				}
				set.File = append(set.File, f)
			}
			files, err := protodesc.NewFiles(set)
			if err != nil {
				t.Fatal(err)
			}
			checkService(t, files, name, pkg)
		}
	}
}

// checkService looks a service up, with its methods and what they take.
func checkService(t *testing.T, files *protoregistry.Files, name, pkg string) {
	t.Helper()
	d, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	methods := d.(protoreflect.ServiceDescriptor).Methods()
	put := methods.ByName("Put")
	if put == nil || string(put.Input().ParentFile().Package()) != pkg {
		t.Errorf("%s: Put is %v", name, put)
	}
	if put.Input().Name() != "Directory" {
		return
	}
	node := map[string]string{wire.TvixPackage: "Node", wire.SnixPackage: "Entry"}[pkg]
	for field, kind := range map[protoreflect.Name]string{"directories": "Directory", "files": "File", "symlinks": "Symlink"} {
		if got := put.Input().Fields().ByName(field).Message().FullName(); string(got) != pkg+"."+kind+node {
			t.Errorf("%s: %s are of %s", name, field, got)
		}
	}
	root, err := files.FindDescriptorByName(protoreflect.FullName(pkg + "." + node))
	if err != nil {
		t.Fatal(err)
	}
	oneof := protoreflect.Name(strings.ToLower(node))
	if o := root.(protoreflect.MessageDescriptor).Oneofs(); o.Len() != 1 || o.ByName(oneof) == nil || o.Get(0).Fields().Len() != 3 {
		t.Errorf("%s: %s has no oneof %s", name, root.FullName(), oneof)
	}
}

func TestToken(t *testing.T) {
	l := serveStore(t, memory.New(), Options{Token: "secret"})
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

// TestRefusedUnheard has clients that send nothing refused: who may not call is not waited for, nor kept in memory.
func TestRefusedUnheard(t *testing.T) {
	conn := rpctest.Connect(t, serveStore(t, memory.New(), Options{Token: "secret"}))
	for _, method := range []string{
		protos.BlobService_Stat_FullMethodName, protos.BlobService_Put_FullMethodName,
		protos.DirectoryService_Get_FullMethodName, protos.DirectoryService_Put_FullMethodName,
		protos.BulkService_Has_FullMethodName, protos.BulkService_Put_FullMethodName, protos.BulkService_Get_FullMethodName,
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

// TestLongHeaders has headers refused that are longer than any that are of use, also where no token is asked for.
func TestLongHeaders(t *testing.T) {
	c := grpc_health_v1.NewHealthClient(rpctest.Connect(t, serveStore(t, memory.New(), Options{Token: "secret"})))
	for n, want := range map[int]codes.Code{maxHeaders / 2: codes.OK, maxHeaders: codes.Internal} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("~", n))
		if _, err := c.Check(ctx, new(grpc_health_v1.HealthCheckRequest)); status.Code(err) != want {
			t.Errorf("%d bytes: %v, want %v", n, err, want)
		}
	}
}

// TestOneStream ingests with one call at a time, beside an upload that stays open.
func TestOneStream(t *testing.T) {
	st := rpc.New(rpctest.Connect(t, serveStore(t, memory.New(), Options{AllowPut: true, MaxStreams: 1})), "x", "")
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

// countedBarrier counts syncs, which take until they are let go on.
type countedBarrier struct {
	store.Barrier
	begun chan struct{}
	goOn  chan struct{}
	n     atomic.Int32
}

func (b *countedBarrier) Sync(ctx context.Context) error {
	b.n.Add(1)
	b.begun <- struct{}{}
	<-b.goOn
	return b.Barrier.Sync(ctx)
}

// TestSyncShared has many come while a sync is running: one more does for all of them.
func TestSyncShared(t *testing.T) {
	st := memory.New()
	b := &countedBarrier{Barrier: st.Barrier, begun: make(chan struct{}), goOn: make(chan struct{})}
	st.Barrier = b
	s := &syncer{st: st}
	first := make(chan error)
	go func() { first <- s.sync(context.Background()) }()
	<-b.begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if err := s.sync(gone); !errors.Is(err, context.Canceled) { // joins, and does not wait
			t.Errorf("sync: %v", err)
		}
	}
	shared := s.next
	b.goOn <- struct{}{}
	if err := <-first; err != nil {
		t.Error(err)
	}
	<-b.begun
	b.goOn <- struct{}{}
	<-shared.done
	if n := b.n.Load(); n != 2 || shared.err != nil {
		t.Errorf("%d syncs, want 2; %v", n, shared.err)
	}
}

// TestDurable counts what is synced: a directory upload is, a blob or a single directory is not.
func TestDurable(t *testing.T) {
	st := memory.New()
	n := &syncs{Barrier: st.Barrier}
	st.Barrier = n
	l := serveStore(t, st, Options{AllowPut: true})
	c := rpc.New(rpctest.Connect(t, l), "x", "")
	t.Cleanup(func() { c.Close() })
	want := func(what string, synced int32) {
		t.Helper()
		if got := n.n.Load(); got != synced {
			t.Errorf("after %s: %d syncs, want %d", what, got, synced)
		}
	}
	put := func(data string) {
		t.Helper()
		if _, err := c.Blobs.Put(t.Context(), []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	sync := func() {
		t.Helper()
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	want("nothing", 0)
	put("1")
	if _, err := c.Directories.Put(t.Context(), store.Directory{{Name: "a", Kind: store.KindFile}}); err != nil {
		t.Fatal(err)
	}
	want("a blob and a directory", 0)
	sync()
	want("Sync", 1)
	sync()
	want("Sync again", 1)
	put("2")
	u, err := c.Directories.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	d, err := u.Put(t.Context(), nil)
	if err == nil {
		err = u.Commit(t.Context(), d)
	}
	if err != nil {
		t.Fatal(err)
	}
	want("an upload", 2)
	sync()
	want("Sync after it", 2)
}

type syncs struct {
	store.Barrier
	n atomic.Int32
}

func (s *syncs) Sync(ctx context.Context) error {
	s.n.Add(1)
	return s.Barrier.Sync(ctx)
}

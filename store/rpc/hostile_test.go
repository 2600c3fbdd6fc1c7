package rpc

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/rpc/server"
)

// liar is a server that does what a test wants. Methods without a function are Unimplemented.
type liar struct {
	protos.UnimplementedBlobServiceServer
	stat func(*protos.StatBlobRequest) (*protos.StatBlobResponse, error)
	read func(store.Digest, func([]byte) error) error
	put  func([]byte) store.Digest
	cut  func() error // nil: no call of Put is cut off
}

func (l *liar) Stat(_ context.Context, req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
	if l.stat == nil {
		return nil, status.Error(codes.NotFound, "no")
	}
	return l.stat(req)
}

func (l *liar) Read(req *protos.ReadBlobRequest, stream grpc.ServerStreamingServer[protos.BlobChunk]) error {
	return l.read(store.Digest(req.GetDigest()), func(b []byte) error { return stream.Send(&protos.BlobChunk{Data: b}) })
}

func (l *liar) Put(stream grpc.ClientStreamingServer[protos.BlobChunk, protos.PutBlobResponse]) error {
	if l.cut != nil {
		if err := l.cut(); err != nil {
			return err
		}
	}
	var all []byte
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		all = append(all, m.GetData()...)
	}
	d := l.put(all)
	return stream.SendAndClose(&protos.PutBlobResponse{Digest: d[:]})
}

// directoryLiar is the same for directories.
type directoryLiar struct {
	protos.UnimplementedDirectoryServiceServer
	get func(send func([]byte) error) error
	put func() store.Digest
}

func (l *directoryLiar) Get(_ *protos.GetDirectoryRequest, stream grpc.ServerStreamingServer[protos.Directory]) error {
	if l.get == nil {
		return status.Error(codes.NotFound, "no")
	}
	return l.get(func(b []byte) error { return stream.SendMsg(wire.RawDirectory(b)) })
}

func (l *directoryLiar) Put(stream grpc.ClientStreamingServer[protos.Directory, protos.PutDirectoryResponse]) error {
	for {
		if _, err := stream.Recv(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	d := l.put()
	return stream.SendAndClose(&protos.PutDirectoryResponse{RootDigest: d[:]})
}

// serveLies starts a server like tvix and snix, with the services in one package.
func serveLies(t *testing.T, pkg string, bl *liar, dl *directoryLiar) *client {
	t.Helper()
	s := grpc.NewServer()
	s.RegisterService(wire.Under(pkg, protos.BlobService_ServiceDesc), bl)
	if dl != nil {
		s.RegisterService(wire.Under(pkg, protos.DirectoryService_ServiceDesc), dl)
	}
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), "")
	t.Cleanup(c.outbox.close)
	return c
}

// cut cuts data into chunks of a fixed length.
func cut(data []byte, size int) (chunks []*protos.StatBlobResponse_ChunkMeta, parts map[store.Digest][]byte) {
	parts = map[store.Digest][]byte{}
	for len(data) > 0 {
		part := data[:min(size, len(data))]
		d := store.Sum(part)
		chunks = append(chunks, &protos.StatBlobResponse_ChunkMeta{Digest: d[:], Size: uint64(len(part))})
		parts[d] = part
		data = data[len(part):]
	}
	return chunks, parts
}

// wantCorrupt checks that err reports damage.
func wantCorrupt(t *testing.T, err error, text string) {
	t.Helper()
	if _, ok := errors.AsType[*store.CorruptError](err); !ok || !strings.Contains(err.Error(), text) {
		t.Errorf("error %v, want one of damage that says %q", err, text)
	}
	if text != "not found" && store.IsNotFound(err) {
		t.Errorf("%v is taken for absence", err)
	}
}

func TestHostileSmallBlobs(t *testing.T) {
	data := rpctest.Random(1000)
	d := store.Sum(data)
	tests := []struct {
		name, want string
		read       func(send func([]byte) error) error
	}{
		{"wrong bytes", "digest mismatch", func(send func([]byte) error) error { return send(rpctest.Random(1001)) }},
		{"truncated", "digest mismatch", func(send func([]byte) error) error { return send(data[:999]) }},
		{"empty", "digest mismatch", func(func([]byte) error) error { return nil }},
		{"too long", "digest mismatch", func(send func([]byte) error) error {
			return errors.Join(send(data), send([]byte{0}))
		}},
		{"says so", "server: broken disk", func(func([]byte) error) error { return status.Error(codes.DataLoss, "broken disk") }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := serveLies(t, wire.TvixPackage, &liar{read: func(_ store.Digest, send func([]byte) error) error { return tt.read(send) }}, nil)
			_, err := blobs{c: c}.Open(t.Context(), d)
			wantCorrupt(t, err, tt.want)
		})
	}
}

func TestHostilePut(t *testing.T) {
	l := &liar{put: func([]byte) store.Digest { return store.Sum([]byte("something else")) }}
	dl := &directoryLiar{put: func() store.Digest { return store.Digest{1} }}
	for _, n := range []int{0, 10, askSize + 1, wire.FrameSize + 1, longBlob} {
		c := serveLies(t, wire.SnixPackage, l, dl)
		_, err := blobs{c: c}.Put(t.Context(), rpctest.Random(n))
		if err == nil {
			err = barrier{c}.Sync(t.Context())
		}
		wantCorrupt(t, err, "digest mismatch")
		if c.known.has(store.Sum(rpctest.Random(n))) {
			t.Error("it is taken to be there")
		}
	}
	c := serveLies(t, wire.SnixPackage, l, dl)
	w, _ := blobs{c: c}.Create(t.Context())
	defer w.Close()
	w.Write(rpctest.Random(longBlob))
	_, err := w.Commit()
	wantCorrupt(t, err, "digest mismatch")

	u, _ := directories{c}.Upload(t.Context())
	defer u.Close()
	root, err := u.Put(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantCorrupt(t, u.Commit(t.Context(), root), "digest mismatch")
}

// A message with the right digest that is not a directory is refused.
func TestHostileMessages(t *testing.T) {
	noDirectory := []byte{0x20, 0x01}
	c := serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{get: func(send func([]byte) error) error { return send(noDirectory) }})
	_, err := directories{c}.Get(t.Context(), store.Sum(noDirectory))
	wantCorrupt(t, err, "invalid directory")

	c = serveLies(t, wire.TvixPackage, &liar{}, &directoryLiar{get: func(func([]byte) error) error { return nil }})
	_, err = directories{c}.Get(t.Context(), store.Sum(noDirectory))
	wantCorrupt(t, err, "the answer is empty")

	huge := make([]byte, clientMessageSize)
	l := &liar{read: func(_ store.Digest, send func([]byte) error) error { return send(huge) }}
	_, err = blobs{c: serveLies(t, wire.TvixPackage, l, nil)}.Open(t.Context(), store.Sum(huge))
	if err == nil || !strings.Contains(err.Error(), "larger than max") || store.IsNotFound(err) {
		t.Errorf("a message that is too long: %v", err)
	}
}

// A server that never answers is an error after a while.
func TestSilence(t *testing.T) {
	release := make(chan struct{})
	l := &liar{
		read: func(store.Digest, func([]byte) error) error { <-release; return nil },
		put:  func([]byte) store.Digest { <-release; return store.Digest{} },
	}
	c := serveLies(t, wire.TvixPackage, l, &directoryLiar{
		get: func(func([]byte) error) error { <-release; return nil },
		put: func() store.Digest { <-release; return store.Digest{} },
	})
	t.Cleanup(func() { close(release) })
	c.usePackage(wire.TvixPackage)
	c.patience = 20 * time.Millisecond
	_, err := blobs{c: c}.Open(t.Context(), store.Sum(nil))
	wantSilence(t, err)
	_, err = directories{c}.Get(t.Context(), store.Sum(nil))
	wantSilence(t, err)
	for _, err = range (directories{c}).Walk(t.Context(), store.Sum(nil)) {
	}
	wantSilence(t, err)
	_, err = blobs{c: c}.Put(t.Context(), rpctest.Random(longBlob))
	wantSilence(t, err)
	u, _ := directories{c}.Upload(t.Context())
	defer u.Close()
	if _, err := u.Put(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	wantSilence(t, u.Commit(t.Context(), store.Sum(nil)))
}

func wantSilence(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, errNoAnswer) {
		t.Errorf("error %v, want %v", err, errNoAnswer)
	}
}

// The client asks again if it cannot reach the server yet.
func TestRetry(t *testing.T) {
	data := rpctest.Random(1000)
	failures := 2
	l := &liar{read: func(_ store.Digest, send func([]byte) error) error {
		if failures > 0 {
			failures--
			return status.Error(codes.Unavailable, "not yet")
		}
		return send(data)
	}}
	c := serveLies(t, wire.TvixPackage, l, nil)
	b, err := blobs{c: c}.Open(t.Context(), store.Sum(data))
	if err != nil {
		t.Fatal(err)
	}
	if b.Size() != 1000 || failures != 0 {
		t.Errorf("%d bytes, %d failures left", b.Size(), failures)
	}
}

// A server that is another instance in each answer is not asked for ever.
func TestHostileInstances(t *testing.T) {
	uploads := 0
	s, err := server.New(memory.New(), server.Options{AllowPut: true})
	if err != nil {
		t.Fatal(err)
	}
	l := rpctest.Listen(t, s.Serve, func() { s.Shutdown(context.Background()) })
	hostile := func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
		if strings.HasSuffix(method, "DirectoryService/Put") {
			if uploads++; uploads == 1 {
				return nil, status.Error(codes.Unavailable, "not now")
			}
		}
		stream, err := streamer(ctx, desc, cc, method, o...)
		return renamed{stream}, err
	}
	c := newClient(rpctest.Connect(t, l, grpc.WithStreamInterceptor(hostile)), wire.TvixPackage)
	t.Cleanup(c.outbox.close)
	if err := c.ledger.put("another", store.Sum([]byte("a"))); err != nil {
		t.Fatal(err)
	}
	if _, err := c.bulk.Put(t.Context(), &protos.PutBlobsRequest{Sizes: []uint64{1}, Contents: &protos.PutBlobsRequest_Plain{Plain: []byte("a")}}); err != nil {
		t.Fatal(err) // so that it has all
	}
	if err := (barrier{c}).Sync(t.Context()); !errors.Is(err, errRestarted) {
		t.Errorf("Sync: %v", err)
	}
	if uploads > 2*mostChanges {
		t.Errorf("%d uploads", uploads)
	}
}

// renamed is a call in whose answer the server calls itself by a new name.
type renamed struct{ grpc.ClientStream }

func (r renamed) Header() (metadata.MD, error) {
	return metadata.Pairs(wire.InstanceHeader, rand.Text()), nil
}

package rpc

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// service is BlobService or DirectoryService, in the package that the server has it in.
type service[T any] struct {
	c     *client
	make  func(grpc.ClientConnInterface) T
	probe func(ctx context.Context, s T) error // a harmless call

	mu    sync.Mutex
	found atomic.Pointer[T]
}

// get returns the service. The first call asks the server for the package.
func (s *service[T]) get(ctx context.Context) (T, error) {
	if p := s.found.Load(); p != nil {
		return *p, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.found.Load(); p != nil {
		return *p, nil
	}
	var err error
	for _, pkg := range []string{wire.TvixPackage, wire.SnixPackage} {
		err = s.c.retry(ctx, func(k *call) error { return s.probe(k.ctx, s.make(renamed{s.c.conn, pkg})) })
		_, answered := status.FromError(err)
		code := status.Code(err)
		if answered && code == codes.Unimplemented {
			continue
		}
		if !answered || slices.Contains(undecided(), code) {
			break
		}
		return s.settle(pkg), nil
	}
	return *new(T), fromStatus(err, store.Digest{})
}

// undecided returns the codes that leave open whether the server knows a method.
func undecided() []codes.Code {
	return []codes.Code{codes.Unavailable, codes.Unauthenticated, codes.Canceled, codes.DeadlineExceeded}
}

// settle fixes the package.
func (s *service[T]) settle(pkg string) T {
	made := s.make(renamed{s.c.conn, pkg})
	s.found.Store(&made)
	return made
}

// blobService is the client of BlobService, with one call more.
type blobService struct {
	protos.BlobServiceClient
	conn grpc.ClientConnInterface
}

func newBlobService(conn grpc.ClientConnInterface) blobService {
	return blobService{protos.NewBlobServiceClient(conn), conn}
}

// putOne calls Put with one message. It makes a call without a stream, which is the same on the wire and takes less time.
func (s blobService) putOne(ctx context.Context, data []byte) (*protos.PutBlobResponse, metadata.MD, error) {
	var headers metadata.MD
	resp := new(protos.PutBlobResponse)
	err := s.conn.Invoke(ctx, protos.BlobService_Put_FullMethodName, &protos.BlobChunk{Data: data}, resp,
		grpc.StaticMethod(), grpc.Header(&headers))
	return resp, headers, err
}

func probeBlobs(ctx context.Context, s blobService) error {
	empty := store.Sum(nil)
	_, err := s.Stat(ctx, &protos.StatBlobRequest{Digest: empty[:]})
	return err
}

func probeDirectories(ctx context.Context, s protos.DirectoryServiceClient) error {
	empty := store.Sum(nil)
	stream, err := s.Get(ctx, &protos.GetDirectoryRequest{ByWhat: &protos.GetDirectoryRequest_Digest{Digest: empty[:]}})
	if err == nil {
		_, err = wire.RecvDirectory(stream)
	}
	if err == io.EOF {
		return nil // odd, but an answer
	}
	return err
}

// renamed is a connection that calls the methods of tvix in another package.
type renamed struct {
	conn *grpc.ClientConn
	pkg  string
}

func (r renamed) method(name string) string {
	if r.pkg == wire.TvixPackage {
		return name
	}
	return "/" + r.pkg + strings.TrimPrefix(name, "/"+wire.TvixPackage)
}

func (r renamed) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return r.conn.Invoke(ctx, r.method(method), args, reply, opts...)
}

func (r renamed) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	return r.conn.NewStream(ctx, desc, r.method(method), opts...)
}

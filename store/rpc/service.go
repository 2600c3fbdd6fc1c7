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

// service is a connection for the calls of BlobService or of DirectoryService, by their names in tvix. It makes them in
// the package that the server has the service in. The first call asks the server for that.
type service struct {
	c     *client
	probe func(context.Context, grpc.ClientConnInterface) error // a harmless call

	finding sync.Mutex
	pkg     atomic.Pointer[string] // nil: not known yet
}

// method returns the name of a method in the server's package.
func (s *service) method(ctx context.Context, name string) (string, error) {
	pkg := s.pkg.Load()
	if pkg == nil {
		var err error
		if pkg, err = s.find(ctx); err != nil {
			return "", err
		}
	}
	if *pkg == wire.TvixPackage {
		return name, nil
	}
	return "/" + *pkg + strings.TrimPrefix(name, "/"+wire.TvixPackage), nil
}

// find asks the server for the package.
func (s *service) find(ctx context.Context) (*string, error) {
	s.finding.Lock()
	defer s.finding.Unlock()
	if pkg := s.pkg.Load(); pkg != nil {
		return pkg, nil
	}
	var err error
	for _, pkg := range []string{wire.TvixPackage, wire.SnixPackage} {
		try := &service{c: s.c}
		try.pkg.Store(&pkg)
		err = s.c.retry(ctx, func(k *call) error { return s.probe(k.ctx, try) })
		if answered(err) && status.Code(err) != codes.Unimplemented {
			s.pkg.Store(&pkg)
			return &pkg, nil
		}
		if !answered(err) {
			break
		}
	}
	return nil, fromStatus(err, store.Digest{})
}

// answered reports whether err, which may be nil, is what a server says, rather than that it says nothing.
func answered(err error) bool {
	s, ok := status.FromError(err)
	undecided := []codes.Code{codes.Unavailable, codes.Unauthenticated, codes.Canceled, codes.DeadlineExceeded}
	return ok && !slices.Contains(undecided, s.Code())
}

// Invoke implements grpc.ClientConnInterface.
func (s *service) Invoke(ctx context.Context, name string, args, reply any, o ...grpc.CallOption) error {
	method, err := s.method(ctx, name)
	if err != nil {
		return err
	}
	return s.c.conn.Invoke(ctx, method, args, reply, o...)
}

// NewStream implements grpc.ClientConnInterface.
func (s *service) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, name string, o ...grpc.CallOption,
) (grpc.ClientStream, error) {
	method, err := s.method(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.c.conn.NewStream(ctx, desc, method, o...)
}

// blobService is the client of BlobService, with one call more.
type blobService struct {
	protos.BlobServiceClient
	*service
}

// putOne calls Put with one message. It makes a call without a stream, which is the same on the wire and takes less time.
func (s blobService) putOne(ctx context.Context, data []byte) (*protos.PutBlobResponse, metadata.MD, error) {
	var headers metadata.MD
	resp := new(protos.PutBlobResponse)
	err := s.Invoke(ctx, protos.BlobService_Put_FullMethodName, &protos.BlobChunk{Data: data}, resp,
		grpc.StaticMethod(), grpc.Header(&headers))
	return resp, headers, err
}

func probeBlobs(ctx context.Context, conn grpc.ClientConnInterface) error {
	empty := store.Sum(nil)
	_, err := protos.NewBlobServiceClient(conn).Stat(ctx, &protos.StatBlobRequest{Digest: empty[:]})
	return err
}

func probeDirectories(ctx context.Context, conn grpc.ClientConnInterface) error {
	stream, err := protos.NewDirectoryServiceClient(conn).Get(ctx, request(store.Sum(nil), false))
	if err == nil {
		_, err = wire.RecvDirectory(stream)
	}
	if err == io.EOF {
		return nil // odd, but an answer
	}
	return err
}

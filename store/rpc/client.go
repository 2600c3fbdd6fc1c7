package rpc

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/retry"
	"castar/store/rpc/internal/wire"
)

// client is a connection to a server, and what is known about the server.
type client struct {
	conn        *grpc.ClientConn
	blobs       service[blobService]
	directories service[protos.DirectoryServiceClient]
	closures    *closures // of directories
	bulk        protos.BulkServiceClient
	lanes       atomic.Uint32
	known       recent // blobs that the server has
	flight      *flight
	groups      groups
	ledger      ledger
	patience    time.Duration // how long a call may wait for the server to do anything
	maxSpool    int64         // length of the longest blob that is kept in a temporary file
}

const (
	defaultPatience = 5 * time.Minute
	defaultMaxSpool = 4 << 30
)

// New returns the store at the other end of conn, which it closes with the store. id is the store's ID. pkg is the
// package under which the server has its services, or "" to find out.
func New(conn *grpc.ClientConn, id, pkg string) *store.Store {
	return newClient(conn, pkg).bundle(id)
}

func newClient(conn *grpc.ClientConn, pkg string) *client {
	c := &client{conn: conn, bulk: protos.NewBulkServiceClient(conn), patience: defaultPatience, maxSpool: defaultMaxSpool}
	c.flight = newFlight(c)
	c.groups.init(c)
	c.closures = newClosures(c)
	c.blobs = service[blobService]{c: c, make: newBlobService, probe: probeBlobs}
	c.directories = service[protos.DirectoryServiceClient]{c: c, make: protos.NewDirectoryServiceClient, probe: probeDirectories}
	if pkg != "" {
		c.blobs.settle(pkg)
		c.directories.settle(pkg)
	}
	return c
}

func (c *client) bundle(id string) *store.Store {
	b := blobs{c: c}
	return &store.Store{ID: id, Blobs: b, Lanes: b, Directories: directories{c}, Barrier: barrier{c}}
}

// service is one of the two services, under the package that the server knows it by.
type service[T any] struct {
	c     *client
	make  func(grpc.ClientConnInterface) T
	probe func(ctx context.Context, s T) error // a harmless call

	mu    sync.Mutex
	found atomic.Pointer[T]
}

// get returns the service. The first call asks the server which of the packages it has.
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

// undecided returns the codes that do not say whether the server knows a method.
func undecided() []codes.Code {
	return []codes.Code{codes.Unavailable, codes.Unauthenticated, codes.Canceled, codes.DeadlineExceeded}
}

// settle decides for a package.
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

// putOne calls Put with a stream of one message, which on the wire is the same as a call without a stream, and takes
// less time.
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

// renamed is a connection on which the methods of tvix are called under the name of another package.
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

// call is one call to the server. Its context ends with it, and when the server does nothing for too long.
type call struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	patience time.Duration
}

// begin begins a call. The server is waited for until the first wait returns, and in those that follow.
func (c *client) begin(ctx context.Context) *call {
	k := &call{patience: c.patience}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.timer = time.AfterFunc(k.patience, func() { k.cancel(errNoAnswer) })
	return k
}

// wait calls f, which waits for the server. While no wait is running, nobody blames the server.
func (k *call) wait(f func() error) error {
	k.timer.Reset(k.patience)
	err := f()
	k.timer.Stop()
	return k.why(err)
}

// why returns the reason of err where that is the server's silence.
func (k *call) why(err error) error {
	if err != nil && context.Cause(k.ctx) == errNoAnswer {
		return fmt.Errorf("%w: nothing came for %v", errNoAnswer, k.patience)
	}
	return err
}

func (k *call) end() {
	k.timer.Stop()
	k.cancel(nil)
}

// unreached is the policy while the server cannot be reached: it is tried for about a second and a half.
func unreached() retry.Policy { return retry.Policy{Tries: 6, First: 40 * time.Millisecond} }

// retry makes a call that may be made again, until it has another result than that the server is unavailable.
func (c *client) retry(ctx context.Context, do func(k *call) error) error {
	return again(ctx, func() error {
		k := c.begin(ctx)
		defer k.end()
		return k.why(do(k))
	})
}

// again calls do until it has another result than that the server is unavailable, or that has lasted for too long.
func again(ctx context.Context, do func() error) error {
	unavailable := func(err error) bool { return status.Code(err) == codes.Unavailable }
	return unreached().Do(ctx, unavailable, func(context.Context) error { return do() })
}

// instanceOf returns the instance of a server of castar's, from the headers of an answer, or "".
func instanceOf(headers metadata.MD) string {
	if v := headers.Get(wire.InstanceHeader); len(v) > 0 {
		return v[0]
	}
	return ""
}

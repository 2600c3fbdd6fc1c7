package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"castar/protos"
	"castar/store"
	"castar/store/retry"
	"castar/store/rpc/internal/wire"
)

// client is a connection to a server, with what it knows about the server.
type client struct {
	conn        *grpc.ClientConn
	name        string      // of the server, in messages
	met         atomic.Bool // the server has answered
	blobs       blobService
	directories protos.DirectoryServiceClient
	services    []*service // of both
	closures    *closures  // of directories
	expected    *expected  // the same
	bulk        protos.BulkServiceClient
	lanes       atomic.Uint32
	known       recent[bool] // blobs that the server has, as far as it said so
	lacking     recent[bool] // blobs that it lacked when it was asked
	outbox      *outbox
	groups      groups
	questions   questions
	singles     *pace // of calls about one blob
	ledger      ledger
	patience    time.Duration // how long a call may wait for the server to do anything
	maxSpool    int64         // length of the longest blob that is kept in a temporary file
}

const (
	defaultPatience = 5 * time.Minute
	defaultMaxSpool = 4 << 30
)

// New returns the store at the other end of conn, with the given ID. Closing the store closes conn. Errors call the server
// by that name. pkg is the package of the server's services, tvix.castore.v1 or snix.castore.v1; "" asks the server.
func New(conn *grpc.ClientConn, name, id, pkg string) *store.Store {
	c := newClient(conn, pkg)
	c.name = name
	return c.bundle(id)
}

func newClient(conn *grpc.ClientConn, pkg string) *client {
	c := &client{conn: conn, name: "server", bulk: protos.NewBulkServiceClient(conn), patience: defaultPatience, maxSpool: defaultMaxSpool}
	c.outbox, c.ledger.c = newOutbox(c), c
	c.groups.init(c)
	c.questions.c, c.singles = c, newPace()
	c.closures = &closures{
		fetch: directories{c}.fetch, ended: map[store.Digest]ended{}, maxBytes: maxKept, turn: make(chan struct{}, 1),
		kept: newKeptDirectories(),
	}
	c.expected = &expected{ds: directories{c}, most: manyExpected, loads: map[*load]struct{}{}, kept: newKeptDirectories()}
	b, d := &service{c: c, probe: probeBlobs}, &service{c: c, probe: probeDirectories}
	c.blobs, c.directories = blobService{protos.NewBlobServiceClient(b), b}, protos.NewDirectoryServiceClient(d)
	c.services = []*service{b, d}
	if pkg != "" {
		c.usePackage(pkg)
	}
	return c
}

// usePackage fixes the package of the services.
func (c *client) usePackage(pkg string) {
	for _, s := range c.services {
		s.pkg.Store(&pkg)
	}
}

// meetCastar notes that the server is castar's, which has its services in both packages.
func (c *client) meetCastar() {
	for _, s := range c.services {
		pkg := wire.TvixPackage
		s.pkg.CompareAndSwap(nil, &pkg)
	}
}

func (c *client) bundle(id string) *store.Store {
	b, t := blobs{c: c}, tags{c, protos.NewTagServiceClient(c.conn), new(atomic.Int32), mostRecords}
	return &store.Store{ID: id, Blobs: b, Lanes: b, Takes: b, Tags: t, RemoteTags: t, Collector: collector{c},
		Directories: directories{c}, RemoteBlobs: b, RemoteDirectories: directories{c}, Far: true, Barrier: barrier{c}}
}

// call is one call to the server. Its context ends with the call, and when the server does nothing for too long.
type call struct {
	ctx      context.Context
	cancel   context.CancelCauseFunc
	timer    *time.Timer
	patience time.Duration
	c        *client
}

// begin begins a call. The time of the first wait counts from here.
func (c *client) begin(ctx context.Context) *call {
	k := &call{patience: c.patience, c: c}
	k.ctx, k.cancel = context.WithCancelCause(ctx)
	k.timer = time.AfterFunc(k.patience, func() { k.cancel(errNoAnswer) })
	return k
}

// wait calls f, which waits for the server. Time between two waits does not count.
func (k *call) wait(f func() error) error {
	k.timer.Reset(k.patience)
	err := f()
	k.timer.Stop()
	return k.why(err)
}

// why returns err with the name of the server, or the server's silence if that is the cause.
func (k *call) why(err error) error {
	if err != nil && context.Cause(k.ctx) == errNoAnswer {
		return &store.ServerError{Server: k.c.name, Err: fmt.Errorf("%w: nothing came for %v", errNoAnswer, k.patience)}
	}
	if err = saidBy(k.c.name, err); !k.c.met.Load() && answered(err) {
		k.c.met.Store(true)
	}
	return err
}

func (k *call) end() {
	k.timer.Stop()
	k.cancel(nil)
}

// unreached returns the policy for a server that cannot be reached: about a second and a half of tries, because the
// address may be wrong, and half a minute if the server has answered before, because it may be restarting.
func (c *client) unreached() retry.Policy {
	if c.met.Load() {
		return retry.Policy{Tries: 14, First: 50 * time.Millisecond, Most: 4 * time.Second}
	}
	return retry.Policy{Tries: 6, First: 40 * time.Millisecond}
}

// retry makes a call, and makes it again while the server is unavailable.
func (c *client) retry(ctx context.Context, do func(k *call) error) error {
	return c.retryUnavailable(ctx, func() error {
		k := c.begin(ctx)
		defer k.end()
		return k.why(do(k))
	})
}

// retryUnavailable calls do, and calls it again while the server is unavailable, but not for long.
func (c *client) retryUnavailable(ctx context.Context, do func() error) error {
	return c.unreached().Do(ctx, isUnavailable, func(context.Context) error { return do() })
}

func isUnavailable(err error) bool { return status.Code(err) == codes.Unavailable }

// instanceOf returns the instance of a server of castar from the headers of an answer, or "".
func instanceOf(headers metadata.MD) string {
	if v := headers.Get(wire.InstanceHeader); len(v) > 0 {
		return v[0]
	}
	return ""
}

// finish ends a call that stores the object d, and checks the answer. err is the last error of opening or sending. acked
// gets the server's instance.
func (k *call) finish(
	stream grpc.ClientStream, err error, answer proto.Message, d store.Digest, acked func(instance string) error,
) error {
	if err = sendError(stream, err); err != nil {
		return k.why(err)
	}
	return k.wait(func() error {
		err := stream.CloseSend()
		if err == nil {
			err = stream.RecvMsg(answer)
		}
		if err != nil {
			return err
		}
		headers, err := stream.Header()
		if err != nil {
			return err
		}
		if a, ok := answer.(*protos.PutDirectoryResponse); ok {
			return checked(a.GetRootDigest(), headers, d, acked)
		}
		return checked(answer.(interface{ GetDigest() []byte }).GetDigest(), headers, d, acked)
	})
}

// checked checks the digest in an answer, and passes on the instance in its headers.
func checked(got []byte, headers metadata.MD, want store.Digest, acked func(instance string) error) error {
	d, err := store.DigestFromBytes(got)
	if err == nil && d != want {
		err = fmt.Errorf("%w: the server calls it %s", store.ErrDigestMismatch, d)
	}
	if err != nil {
		return corrupt(want, err)
	}
	return acked(instanceOf(headers))
}

// errEarly says that a server answered before it had received everything.
var errEarly = errors.New("the server ended the call before it had everything")

// sendError returns why sending failed. If the server ended the stream, Send returns only io.EOF, and the reason is the
// answer.
func sendError(stream grpc.ClientStream, err error) error {
	if err == io.EOF {
		err = stream.RecvMsg(new(protos.PutDirectoryResponse))
		if err == nil {
			err = errEarly
		}
	}
	return err
}

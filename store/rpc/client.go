package rpc

import (
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
)

// client is a connection to a server, with what it knows about the server.
type client struct {
	conn        *grpc.ClientConn
	blobs       blobService
	directories protos.DirectoryServiceClient
	services    []*service // of both
	closures    *closures  // of directories
	bulk        protos.BulkServiceClient
	lanes       atomic.Uint32
	known       recent[bool] // blobs that the server has, as far as it said so
	outbox      *outbox
	groups      groups
	ledger      ledger
	patience    time.Duration // how long a call may wait for the server to do anything
	maxSpool    int64         // length of the longest blob that is kept in a temporary file
}

const (
	defaultPatience = 5 * time.Minute
	defaultMaxSpool = 4 << 30
)

// New returns the store at the other end of conn, with the given ID. Closing the store closes conn. pkg is the package of
// the server's services, tvix.castore.v1 or snix.castore.v1; "" asks the server.
func New(conn *grpc.ClientConn, id, pkg string) *store.Store {
	return newClient(conn, pkg).bundle(id)
}

func newClient(conn *grpc.ClientConn, pkg string) *client {
	c := &client{conn: conn, bulk: protos.NewBulkServiceClient(conn), patience: defaultPatience, maxSpool: defaultMaxSpool}
	c.outbox = newOutbox(c)
	c.groups.init(c)
	c.closures = newClosures(c)
	b, d := &service{c: c, probe: probeBlobs}, &service{c: c, probe: probeDirectories}
	c.blobs, c.directories = blobService{protos.NewBlobServiceClient(b), b}, protos.NewDirectoryServiceClient(d)
	c.services = []*service{b, d}
	if pkg != "" {
		c.settle(pkg)
	}
	return c
}

// settle fixes the package of the services.
func (c *client) settle(pkg string) {
	for _, s := range c.services {
		s.pkg.Store(&pkg)
	}
}

func (c *client) bundle(id string) *store.Store {
	b := blobs{c: c}
	return &store.Store{ID: id, Blobs: b, Lanes: b, Directories: directories{c}, Barrier: barrier{c}}
}

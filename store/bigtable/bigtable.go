// Package bigtable keeps directories in a table of Google's Bigtable. Each directory is a row, in the layout of tvix
// and snix:
//
//	row key    the digest in lower-case hexadecimal
//	family     the configured one
//	column     the same as the row key
//	value      the canonical encoding, at most 10 MiB; the latest version counts
//
// The package speaks the protocol itself (google.bigtable.v2, ReadRows and CheckAndMutateRow). Google's client would
// make the program 20 MB larger.
package bigtable

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"cloud.google.com/go/bigtable/apiv2/bigtablepb"
	"golang.org/x/oauth2/google"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/oauth"
	"google.golang.org/grpc/metadata"

	"castar/store"
	"castar/store/query"
	"castar/store/traffic"
)

// Config says where the table is and how to use it. The tags are the keys of a composition file.
type Config struct {
	Project    string         `toml:"project_id"`
	Instance   string         `toml:"instance_name"`
	Table      string         `toml:"table_name"`
	Family     string         `toml:"family_name"` // of columns
	ReadOnly   bool           `toml:"is_read_only"`
	Channels   int            `toml:"channel_size"`   // number of connections; 0: 4
	AppProfile string         `toml:"app_profile_id"` // empty: "default"
	Timeout    time.Duration  `toml:"-"`              // of each try of a call; 0: 4 seconds
	Meter      *traffic.Meter `toml:"-"`              // of all connections; may be nil
}

const (
	endpoint = "bigtable.googleapis.com:443"
	// emulatorVariable has the host and port of an emulator, as for Google's own clients.
	emulatorVariable = "BIGTABLE_EMULATOR_HOST"
	// maxMessage is the longest message that is sent or received, in bytes: a few of the longest cells.
	maxMessage = 64 << 20
)

// Check returns nil if c is complete and valid, and otherwise says what is wrong with it.
func (c Config) Check() error {
	switch {
	case c.Channels < 0 || c.Channels > 1000:
		return fmt.Errorf("channel_size %d: want 1 to 1000", c.Channels)
	case c.Timeout < 0:
		return errors.New("negative timeout")
	}
	return query.Missing("project_id", c.Project, "instance_name", c.Instance, "table_name", c.Table, "family_name", c.Family)
}

// Open returns the store in a table, which must exist. It uses the credentials that Google's own programs would find,
// or the emulator that the environment variable BIGTABLE_EMULATOR_HOST names. It connects at the first call. The store
// has directories only.
func Open(ctx context.Context, c Config) (*store.Store, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	target, options := os.Getenv(emulatorVariable), c.Meter.DialOptions(insecure.NewCredentials())
	if target == "" {
		scope := "https://www.googleapis.com/auth/bigtable.data"
		if c.ReadOnly {
			scope += ".readonly"
		}
		found, err := google.FindDefaultCredentials(context.WithoutCancel(ctx), scope)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.where(), err)
		}
		target = endpoint
		options = append(c.Meter.DialOptions(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})),
			grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: found.TokenSource}))
	}
	options = append(options, grpc.WithUserAgent("castar"), grpc.WithDefaultCallOptions(
		grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	var conns []*grpc.ClientConn
	for range cmp.Or(c.Channels, 4) {
		conn, err := grpc.NewClient(target, options...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", c.where(), err), closeAll(conns))
		}
		conns = append(conns, conn)
	}
	return New(conns, c), nil
}

// New returns the store in a table that conns lead to. The store uses the connections in turn, and closes them.
func New(conns []*grpc.ClientConn, c Config) *store.Store {
	c.AppProfile, c.Timeout = cmp.Or(c.AppProfile, "default"), cmp.Or(c.Timeout, 4*time.Second)
	t := &remote{Config: c, conns: conns, most: 32 << 20}
	for _, conn := range conns {
		t.clients = append(t.clients, bigtablepb.NewBigtableClient(conn))
	}
	id := store.Sum([]byte(t.name() + " " + c.Family)).String()
	return &store.Store{ID: "bigtable-" + id[:32], Directories: directories{t}, Far: true, Barrier: barrier{t}}
}

// remote is a table.
type remote struct {
	Config
	conns   []*grpc.ClientConn
	clients []bigtablepb.BigtableClient
	calls   atomic.Uint64
	most    int // bytes of values at which an answer is cut off
}

func (c Config) where() string { return "bigtable " + c.Instance + "/" + c.Table }

// name returns the name of the table in the protocol.
func (c Config) name() string {
	return "projects/" + c.Project + "/instances/" + c.Instance + "/tables/" + c.Table
}

func (t *remote) client() bigtablepb.BigtableClient {
	return t.clients[t.calls.Add(1)%uint64(len(t.clients))]
}

// routed adds to ctx the header by which the service finds the table.
func (t *remote) routed(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "x-goog-request-params",
		"table_name="+url.QueryEscape(t.name())+"&app_profile_id="+url.QueryEscape(t.AppProfile))
}

// barrier does nothing for durability, because the service acknowledges only durable writes.
type barrier struct{ t *remote }

func (barrier) Sync(context.Context) error { return nil }
func (b barrier) Close() error             { return closeAll(b.t.conns) }

func closeAll(conns []*grpc.ClientConn) error {
	var errs []error
	for _, conn := range conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Package objects is a store of small objects in a bucket: a folder, a service that speaks S3, an HTTP server, or memory.
// Its layout is that of tvix and snix (paths.go), so that what the one stored the others read.
//
// A blob is cut into chunks. Each is an object of its own, named by the digest of its bytes and compressed with zstd;
// the blob's record lists them, or is empty where there is one chunk, which then has the blob's own name. Directories are
// stored in closures: one object, named by the root, with the root and all that are below it. Package store wants every
// directory to be found under its own name too: beside the closures this package keeps lists of what is in them, which
// it can do without (directories.go).
package objects

import (
	"context"
	"crypto/rand"
	"sync/atomic"

	"castar/store"
	"castar/store/chunk"
)

// Options say how a Bucket is used. The zero value is good for one in memory.
type Options struct {
	// ID is the store's, by which other things know it; random where it is empty.
	ID string
	// ReadOnly refuses to write.
	ReadOnly bool
	// AvgChunkSize is the average length of chunks in bytes, 256 KiB where it is 0. It must be the same each time for
	// equal data to be found again; whoever reads need not know it.
	AvgChunkSize int
	// Concurrency is how many calls of the Bucket are made at once for one purpose: to upload, or to read ahead; 8
	// where it is 0. It is made less where chunks of the longest kind would then be more than 64 MiB together.
	Concurrency int
	// ListPage is how many names one call of List gets for the price of one call of Head, or 0 where that is no saving.
	ListPage int
}

// bytesInFlight bounds what is on its way, in bytes.
const bytesInFlight = 64 << 20

// Open returns the store in a Bucket, which it closes. The store has all parts. Blobs and directories are stored in the
// background: what was put can be read at once, and is lost unless Sync succeeds. Sync reports every failure to store,
// and once one was reported nothing more can be put. Objects that are there are taken to stay there while the store is
// open. Several programs may use one Bucket at once.
func Open(ctx context.Context, b Bucket, o Options) (*store.Store, error) {
	st, err := open(b, o)
	if err != nil {
		b.Close()
		return nil, err
	}
	id := o.ID
	if id == "" {
		id = "objects-" + rand.Text()
	}
	return &store.Store{
		ID: id, Blobs: st.blobs, Directories: st.directories, Tags: tags{st.q, st.blobs.ahead, new(atomic.Int64)},
		Lister: lister{st}, Barrier: st,
	}, ctx.Err()
}

// bucketStore is what the parts of a store share.
type bucketStore struct {
	q           *queue
	codec       *codec
	blobs       *blobs
	directories *directories
}

func open(b Bucket, o Options) (*bucketStore, error) {
	params := chunk.Default()
	if o.AvgChunkSize != 0 {
		var err error
		if params, err = chunk.ParamsFor(o.AvgChunkSize); err != nil {
			return nil, err
		}
	}
	cutter, err := chunk.NewCutter(params)
	if err != nil {
		return nil, err
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	n := o.concurrency(params)
	q := newQueue(b, n, o.ReadOnly)
	return &bucketStore{
		q: q, codec: c,
		blobs: &blobs{
			q: q, codec: c, cutter: cutter, ahead: n, pool: chunk.NewPool(cutter, make(chan struct{}, n)),
			records: newPresence(q, blobsPrefix, blobName, o.ListPage),
			chunks:  newPresence(q, chunksPrefix, chunkName, o.ListPage),
		},
		directories: newDirectories(q, c, n),
	}, nil
}

func (o Options) concurrency(p chunk.Params) int {
	n := o.Concurrency
	if n <= 0 {
		n = 8
	}
	return max(1, min(n, bytesInFlight/p.Max))
}

// Sync implements store.Barrier.
func (st *bucketStore) Sync(ctx context.Context) error { return st.q.sync(ctx) }

// Close implements store.Barrier.
func (st *bucketStore) Close() error {
	err := st.q.close()
	st.codec.close()
	return err
}

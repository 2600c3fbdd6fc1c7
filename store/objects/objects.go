// Package objects is a store of small objects in a bucket: a folder, a service that speaks S3, an HTTP server, or memory.
// The layout is that of tvix and snix, so castar can read what they stored and they can read what castar stored. The
// names of objects are in paths.go.
//
// A blob goes in from left to right, and comes out from right to left:
//
//	          cut              compress
//	blob ───────────► chunks ───────────► chunks/b3/…   one object for each chunk, named by its digest
//	                                      blobs/b3/…    the list of its chunks, written last
//
// The list of a blob of one chunk is empty, and its chunk has the blob's own name. A tree of directories goes into one
// object, its closure: dirs/b3/…, named by the root, with the root and all directories below it. Package store must
// find every directory by its own name, so this package also keeps a list of the directories in each closure. It works
// without the lists, but more slowly (directories.go).
//
// Tags and the log are objects that tvix and snix do not know (tags.go). A record may have fields of a later castar;
// this one keeps them. A record may need a feature that this castar does not know. Then the error is store.ErrNewer,
// and the record is neither replaced nor removed. Package record has the rules.
//
// A caller opens a Bucket and puts a store on it, or opens a URL, which does both:
//
//	st, err := objects.OpenURL(ctx, "objectstore+s3://bucket/path", objects.URLOptions{})
//	if err != nil {
//		return err
//	}
//	defer st.Close()
//	for _, data := range files {
//		if _, err := st.Blobs.Put(ctx, data); err != nil { // returns before data is in the bucket
//			return err
//		}
//	}
//	return st.Sync(ctx) // returns when everything is, or with the first failure
package objects

import (
	"cmp"
	"container/list"
	"context"
	"crypto/rand"
	"iter"
	"strings"
	"sync/atomic"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/service"
	"castar/store/chunk"
	"castar/store/traffic"
)

// Options say how to use a Bucket. The zero value suits a Bucket in memory.
type Options struct {
	// ID identifies the store. If it is empty, the store gets a random one.
	ID string
	// ReadOnly makes the store refuse writes.
	ReadOnly bool
	// AvgChunkSize is the average length of chunks in bytes; 0 means 256 KiB. Equal data is stored once only if the length
	// is the same each time. Readers need not know it.
	AvgChunkSize int
	// Concurrency is how many calls of the Bucket run at once for one purpose, to upload or to read ahead; 0 means 8. It is
	// lowered if that many chunks of the greatest length would exceed 64 MiB.
	Concurrency int
	// ListPage is how many names one call of List returns at the cost of one call of Head. 0 means that listing saves
	// nothing.
	ListPage int
}

// bytesInFlight bounds the bytes of chunks on their way.
const bytesInFlight = 64 << 20

// Open returns the store in a Bucket. The store has all parts, and closes the Bucket, also if Open fails. Blobs and
// directories are stored in the background. What was put can be read at once, and may be lost unless Sync succeeds. Sync
// reports every failure to store; after a failure nothing more can be put. An open store assumes that the objects in the
// Bucket stay there. Several programs may use one Bucket at once.
func Open(ctx context.Context, b bucket.Bucket, o Options) (*store.Store, error) {
	st, err := open(b, o)
	if err != nil {
		b.Close()
		return nil, err
	}
	return &store.Store{
		ID: cmp.Or(o.ID, "objects-"+rand.Text()), Blobs: st.blobs, Directories: st.directories,
		Tags: tags{st.q, st.blobs.ahead, new(atomic.Int64)}, Far: true, Lister: st, Barrier: st,
	}, ctx.Err()
}

// bucketStore holds what the parts of a store share. It implements store.Barrier and store.Lister.
type bucketStore struct {
	q           *queue
	codec       *codec
	blobs       *blobs
	directories *directories
}

func open(b bucket.Bucket, o Options) (*bucketStore, error) {
	cutter, err := chunk.NewCutter(cmp.Or(o.AvgChunkSize, chunk.Default().Avg))
	if err != nil {
		return nil, err
	}
	c, err := newCodec()
	if err != nil {
		return nil, err
	}
	n := max(1, min(cmp.Or(max(0, o.Concurrency), 8), bytesInFlight/cutter.Params().Max))
	q := newQueue(b, n, o.ReadOnly)
	return &bucketStore{
		q: q, codec: c,
		blobs: &blobs{
			q: q, codec: c, cutter: cutter, ahead: n, pool: chunk.NewPool(cutter, make(chan struct{}, n)),
			lists:  newPresence(q, blobsPrefix, blobName, o.ListPage),
			chunks: newPresence(q, chunksPrefix, chunkName, o.ListPage),
		},
		directories: &directories{
			q: q, codec: c, ahead: n, cache: closureCache{entries: map[store.Digest]*list.Element{}},
			home: map[store.Digest]uint32{}, listed: map[store.Digest]bool{},
		},
	}, nil
}

func (st *bucketStore) Sync(ctx context.Context) error { return st.q.sync(ctx) }

func (st *bucketStore) Close() error {
	err := st.q.close()
	st.codec.close()
	return err
}

// List yields the digests of objects below the four prefixes, and of directories in known closures.
func (st *bucketStore) List(ctx context.Context, prefix store.Digest, nibbles int) iter.Seq2[store.Digest, error] {
	nibbles = min(max(nibbles, 0), 2*store.DigestSize)
	return func(yield func(store.Digest, error) bool) {
		for _, kind := range []string{blobsPrefix, chunksPrefix, dirsPrefix, ownDirsPrefix} {
			for d, err := range st.q.digests(ctx, kind, shardedPrefix(kind, prefix, nibbles)) {
				if !yield(d, err) || err != nil {
					return
				}
			}
		}
		if err := st.directories.scan(ctx); err != nil {
			yield(store.Digest{}, err)
			return
		}
		ds := st.directories
		ds.mu.RLock()
		var found []store.Digest // the loop may store more directories
		for d := range ds.home {
			if strings.HasPrefix(d.String(), prefix.String()[:nibbles]) {
				found = append(found, d)
			}
		}
		ds.mu.RUnlock()
		for _, d := range found {
			if !yield(d, nil) {
				return
			}
		}
	}
}

// URLOptions say how to open the store that a URL names. The zero value opens a store that exists.
type URLOptions struct {
	Create       bool              // make the folder of a file: store if it does not exist; buckets are never made
	ReadOnly     bool              // refuse writes
	AvgChunkSize int               // see Options
	Settings     map[string]string // more settings, as in the query; a key in both is an error
	Meter        *traffic.Meter    // of remote services; may be nil
}

// OpenURL opens the store in the bucket that a URL names, as service.Locate reads it: objectstore+s3://bucket/path, for
// example, where "objectstore+" may be left out. Package config refuses URLs with parts that nobody reads.
//
// The error is store.ErrNoStore if there is no such store. The ID of the store depends only on where it is.
func OpenURL(ctx context.Context, raw string, o URLOptions) (*store.Store, error) {
	l, err := service.Locate(raw, o.Settings)
	if err != nil {
		return nil, err
	}
	b, err := l.Open(ctx, service.OpenOptions{Own: ownPrefix, Create: o.Create && !o.ReadOnly, Meter: o.Meter})
	if err != nil {
		return nil, err
	}
	options := Options{ReadOnly: o.ReadOnly, AvgChunkSize: o.AvgChunkSize, ListPage: l.ListPage}
	if l.ID != "" {
		options.ID = "objects-" + l.ID
	}
	if l.Far {
		options.Concurrency = 32
	}
	return Open(ctx, b, options)
}

// CheckURL returns the error that OpenURL would return for the URL, its settings or the length of chunks, as far as that
// can be known without opening anything.
func CheckURL(raw string, o URLOptions) error {
	if o.AvgChunkSize != 0 {
		if _, err := chunk.ParamsFor(o.AvgChunkSize); err != nil {
			return err
		}
	}
	_, err := service.Locate(raw, o.Settings)
	return err
}

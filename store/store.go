// Package store is the vocabulary of castar: digests, nodes, directories, and the small interfaces that every kind of
// store implements. Read it first.
//
// A store keeps three things. Blobs are the contents of files. Directories are Directory messages. Both are named by
// the BLAKE3 digest of their bytes. Only EncodeDirectory and DecodeDirectory turn directories into bytes and back. Tags
// are names that point at roots and may move.
//
// # For other programs
//
// These packages are meant for other programs too, and keep their names: store; the stores store/packed, store/memory,
// store/objects and store/rpc; store/config, which opens any of them by its URL; store/tree, which answers questions
// about stored trees; store/bucket, in which store/packed and store/objects can keep a store; store/listing, which has
// what a tree leaves out; store/storetest, which tests a store of one's own; ingest and export. Each has an example or a
// package comment to begin with. The others (all below these, and store/bigtable, store/chunk, store/durable,
// store/history, store/posix, store/query, store/record, store/retry, store/table, store/tier, store/traffic, store/zstd,
// protos, cmd) serve castar and may change. A program that opens a packed store with store/packed alone is built without any package for
// the network.
package store

import (
	"context"
	"errors"
	"io"
	"iter"
)

// Blobs keeps file contents. Each is named by the digest of its bytes. How a store cuts a blob into chunks is its own
// business and never shows in the name. All methods may be called concurrently. A blob is visible to the same handle as
// soon as it is put, and durable once the store's Sync has returned.
type Blobs interface {
	// Has reports whether the store has the blob or chunk d and does not know it to be damaged.
	Has(ctx context.Context, d Digest) (bool, error)
	// Open returns the blob or chunk d. The error is ErrNotFound if the store does not have it.
	Open(ctx context.Context, d Digest) (Blob, error)
	// Chunks returns the chunks of d, in order, or none if it is stored whole.
	// The error is ErrNotFound if the store does not have it.
	Chunks(ctx context.Context, d Digest) ([]Chunk, error)
	// Put stores a blob that is in memory. It does not keep data.
	Put(ctx context.Context, data []byte) (Digest, error)
	// Create begins a blob of any length.
	Create(ctx context.Context) (BlobWriter, error)
}

// Laner keeps the blobs of one lane together, so that they are cheap to read in the order they were put. A caller that
// walks parts of a tree in several goroutines gives each goroutine a lane.
type Laner interface {
	// Lane returns a view of the store's Blobs that puts into a new lane. An unused lane takes no room.
	Lane() Blobs
}

// Grouper gives access to the groups of blobs that the store compresses together.
type Grouper interface {
	// Group returns the group that holds the blob or chunk d. Nothing in it is checked. The error is ErrNotFound if the
	// store does not have d, and ErrUnsupported if d is in no group. A blob of several chunks is in none, and neither
	// is a very long one.
	Group(ctx context.Context, d Digest) (Group, error)
	// PutGroup stores blobs and returns their digests, in order. raw is their bytes, one blob right after the other,
	// and sizes their lengths. frame is a zstd frame (RFC 8878) of raw. The caller has decoded it, so it is known to be
	// that. PutGroup keeps none of its arguments.
	PutGroup(ctx context.Context, raw []byte, sizes []int, frame []byte) ([]Digest, error)
}

// Group is blobs and chunks that are compressed together.
type Group struct {
	Members []Chunk
	Frame   []byte // a zstd frame (RFC 8878) of their concatenated bytes, or nil
	Plain   []byte // their concatenated bytes, if Frame is nil
	Release func() // may be called once, to have the memory of Frame and Plain used again; may be nil
}

// Taker takes blobs as another store compresses them, so that nothing is compressed again.
type Taker interface {
	// ChunkSize returns the average length, in bytes, of the chunks that the store cuts, or 0 if it takes nothing.
	ChunkSize() int
	// TakeGroup stores the blobs and chunks of a group of another store that cuts chunks of the same length. The caller has
	// checked g.Frame, which is not nil, and raw, what it decodes to, against the digests. TakeGroup keeps neither. It reports
	// false, and stores nothing, if the store would not keep the group as it is: the members may be put one by one. It may
	// return before the group has arrived; then an error shows by the next Sync at the latest.
	TakeGroup(ctx context.Context, g Group, raw []byte) (taken bool, err error)
	// TakeList is Joiner.Join for a caller that has checked that the chunks make up the blob d.
	TakeList(ctx context.Context, d Digest, chunks []Chunk) error
}

// Joiner names a long blob by its chunks, so a caller need not resend chunks that the store has.
type Joiner interface {
	// ChunkSize returns the average length, in bytes, of the chunks that the store's Blobs cuts. Castore derives the
	// cut points from it.
	ChunkSize() int
	// Join stores the blob d, whose chunks are stored already. It reads them to check that they make up d, unless the
	// store has d. The error is ErrNotFound if a chunk is missing, a *CorruptError if one is damaged, and
	// ErrDigestMismatch if they make up another blob.
	Join(ctx context.Context, d Digest, chunks []Chunk) error
}

// Blob is an open blob. Read returns only bytes that were checked against a digest. Bytes that do not hash to their
// name are a *CorruptError. The store may hold memory for a Blob until it is closed. A Blob is not for concurrent use.
type Blob interface {
	io.ReadSeekCloser
	// WriteTo writes what follows the current offset. From offset 0 it checks the bytes against the blob's own digest
	// while it writes, so believe what w got only if the error is nil. It is the fast way to read a whole blob.
	io.WriterTo
	// Size is the blob's length in bytes.
	Size() uint64
}

// BlobWriter takes the bytes of one blob. It is not for concurrent use.
type BlobWriter interface {
	io.Writer
	// Commit ends the blob and returns its name. A second call returns the same.
	Commit() (Digest, error)
	// Close discards a blob that was not committed. It may be called more than once, and after Commit.
	io.Closer
}

// Chunk is a piece of a blob, stored under its own digest.
type Chunk struct {
	Digest Digest
	Size   uint64 // in bytes
}

// Directories keeps Directory messages. Each is named by the digest of its canonical encoding. All that goes in or
// comes out is valid. All methods may be called concurrently. Visibility and durability are those of Blobs.
type Directories interface {
	// Get returns a directory. The error is ErrNotFound if the store does not have it.
	Get(ctx context.Context, d Digest) (Directory, error)
	// Put stores one directory. The store need not have its children.
	Put(ctx context.Context, dir Directory) (Digest, error)
	// Walk yields the directory root and all directories below it. It yields each digest once, and only after a
	// directory that refers to it. It ends with the first error, which is ErrNotFound if root or a directory below it
	// is missing.
	Walk(ctx context.Context, root Digest) iter.Seq2[NamedDirectory, error]
	// Upload begins a batch, which stores a closure as one.
	Upload(ctx context.Context) (DirectoryWriter, error)
}

// NamedDirectory is a directory with its digest, as Walk yields it.
type NamedDirectory struct {
	Digest    Digest
	Directory Directory
}

// DirectoryWriter takes the directories of one closure. Put may be called concurrently, but a directory must wait until
// the Put of each of its children has returned.
type DirectoryWriter interface {
	// Put adds a directory and returns its digest. Adding one twice does no harm.
	Put(ctx context.Context, dir Directory) (Digest, error)
	// Commit ends the batch. root is the one directory that no other refers to.
	Commit(ctx context.Context, root Digest) error
	// Close discards a batch that was not committed. It may be called more than once, and after Commit.
	io.Closer
}

// Tags keeps names that point at roots, and the log of what was ingested.
type Tags interface {
	// Get returns the tag of that name, or an error that is ErrNotFound, or ErrNewer.
	Get(ctx context.Context, name string) (Tag, error)
	// Set makes t.Name point at t.Root. The change is durable when Set returns. Readers see the old tag or the new one.
	// The error is ErrNewer if the old one must not be replaced.
	Set(ctx context.Context, t Tag) error
	// Delete removes a tag, durably. The error is ErrNotFound if there is none, and ErrNewer if it must not be removed.
	Delete(ctx context.Context, name string) error
	// All yields the tags in the order of their names. It yields an error for each tag that it cannot read, and goes
	// on.
	All(ctx context.Context) iter.Seq2[Tag, error]
	// Record adds an ingest to the end of the log, durably. t.Name may be empty.
	Record(ctx context.Context, t Tag) error
	// Log yields the recorded ingests, oldest first. It yields an error for what it cannot read, and goes on.
	Log(ctx context.Context) iter.Seq2[Tag, error]
	// Forget removes from the log all lines that are equal to one of ingests, durably. Nothing else changes: not the
	// other lines and their order, nor what cannot be read, nor tags, nor objects, which Sweeper.Sweep removes. A crash
	// leaves each line whole or gone. A store that locks must be open exclusively.
	Forget(ctx context.Context, ingests []Tag) error
}

// Lister says what a store holds. Without it, a digest cannot be shortened to a prefix.
type Lister interface {
	// List yields the digests of directories, blobs and chunks that begin with the first nibbles hexadecimal digits of
	// prefix. The order is not defined, and a digest may come more than once.
	List(ctx context.Context, prefix Digest, nibbles int) iter.Seq2[Digest, error]
}

// ObjectSet is a set of objects of one store. It is small enough to mark all that can be reached in a large store.
// Objects are directories (KindDirectory), and blobs and chunks (KindFile). All methods may be called concurrently.
type ObjectSet interface {
	// Add adds an object and reports whether it is new to the set. The error is ErrNotFound if the store lacks it.
	Add(k Kind, d Digest) (added bool, err error)
	// Has reports whether an object is in the set.
	Has(k Kind, d Digest) bool
}

// Sizer knows how much room objects take.
type Sizer interface {
	// Stored returns how many bytes an object takes in the store. An object that is compressed together with others
	// takes its share by length. Objects are those of ObjectSet; a blob in chunks is its list of chunks. The error is
	// ErrNotFound if the store lacks it. Stored may be called concurrently.
	Stored(ctx context.Context, k Kind, d Digest) (uint64, error)
}

// Meter counts what a handle has added to its store. Its method may be called at any time.
type Meter interface {
	// Added returns how many bytes of file contents were new to the store, and how many bytes were written for all that
	// was new. The latter is complete after a Sync.
	Added() (contents, stored uint64)
}

// Barrier is what makes writes durable.
type Barrier interface {
	// Sync returns when everything that was stored before the call will survive a crash. Name a root only after that.
	Sync(ctx context.Context) error
	// Close releases the store. What was not synced may be lost.
	Close() error
}

// Keeper makes durable and names what was stored, in fewer round trips than Barrier and Tags. All methods may be called
// concurrently.
type Keeper interface {
	// Send begins to move what was stored to its place. It returns as soon as all of it is on its way, and can be read.
	Send(ctx context.Context) error
	// Keep is Barrier.Sync, and then Tags.Record of t and, if t has a name, Tags.Set, these two in any order.
	Keep(ctx context.Context, t Tag) error
}

// Store is one place that keeps archives. A part that its kind does not have is nil. Nothing else says what a store can
// do, so code that wraps one part must wrap every part that leads to the same data.
type Store struct {
	ID                string // unique and permanent; caches about the store are named by it
	Blobs             Blobs
	Directories       Directories
	RemoteDirectories RemoteDirectories  // of Directories; nil: they are near
	SizeRule          SizeRule           // by which the sizes of directories are counted in trees that are made for this store
	Lanes             Laner              // of Blobs; nil: it does not matter who puts what
	Groups            Grouper            // of Blobs; nil: each blob is compressed by itself
	Takes             Taker              // of Blobs; nil: it takes blobs only as they are
	Joins             Joiner             // of Blobs; nil: it takes whole blobs only
	RemoteBlobs       RemoteBlobs        // of Blobs; nil: they are near, and an answer takes no time
	Clones            func(fd int) error // fills an empty file with a clone, to find out whether its file system can; nil: blobs have no Extent
	Far               bool               // to learn that it lacks something takes a round trip
	Tags              Tags               // nil: no tags and no log
	RemoteTags        RemoteTags         // of Tags; nil: they are near
	Lister            Lister             // nil: cannot list
	Sizer             Sizer              // nil: cannot tell what an object takes
	Meter             Meter              // nil: cannot tell what was added
	NewSet            func() ObjectSet   // an empty set of the objects that are committed; nil: there are none so small
	// Room returns an error while there is no room to store more. It may write to find out. nil: cannot tell.
	Room      func(context.Context) error
	Scrubber  Scrubber  // nil: cannot check itself
	Sweeper   Sweeper   // nil: cannot forget
	Collector Collector // nil: its user finds out what to keep, and asks Sweeper
	Repairer  Repairer  // nil: cannot mend itself
	Barrier   Barrier
	Keeper    Keeper // of Barrier and Tags; nil: these are as good
}

// Lane returns Blobs, by a lane of its own where the store has lanes.
func (s *Store) Lane() Blobs {
	if s.Lanes == nil {
		return s.Blobs
	}
	return s.Lanes.Lane()
}

// Sync makes everything that was stored durable; see Barrier.
func (s *Store) Sync(ctx context.Context) error { return s.Barrier.Sync(ctx) }

// Send makes what was stored durable, or begins to. Keep must follow, or Sync.
func (s *Store) Send(ctx context.Context) error {
	if s.Keeper == nil {
		return s.Sync(ctx)
	}
	return s.Keeper.Send(ctx)
}

// Keep records t in the log and, if t has a name, sets the tag, when all that was sent before is durable; see Send.
func (s *Store) Keep(ctx context.Context, t Tag) error {
	if s.Keeper != nil {
		return s.Keeper.Keep(ctx, t)
	}
	if err := s.Tags.Record(ctx, t); err != nil || t.Name == "" {
		return err
	}
	return s.Tags.Set(ctx, t)
}

// Close releases the store; see Barrier.
func (s *Store) Close() error { return s.Barrier.Close() }

// IsNotFound reports whether err says that a store lacks an object or tag. A *CorruptError never does, even if its
// reason is ErrNotFound: the object is there, and a part of it is missing.
func IsNotFound(err error) bool { return errors.Is(err, ErrNotFound) && !IsCorrupt(err) }

package store

import (
	"context"
	"iter"
	"sync/atomic"
	"time"
)

// Each of these is what a store does for a command. A package below store/tree does the rest, which any store needs.
// Those of a packed store are in store/packed/internal/care, in files with the name of the command.
//
//	castar gc        collect.Run    Sweeper     gc*.go; a server has a Collector, which does all of it
//	castar verify    tree.Verify    Scrubber    verify*.go
//	castar repair    repair.Run     Repairer    repair*.go

// Sweeper forgets objects. It knows nothing of trees: its caller finds out what to keep.
type Sweeper interface {
	// Held yields what has to be in the set to keep although neither tags nor the log may reach it: roots that others are
	// about to record, and what others have stored less than grace ago. On disk there is none. What is yielded reaches more.
	Held(ctx context.Context, grace time.Duration) iter.Seq2[Node, error]
	// Sweep removes all objects that are not in keep. keep came from NewSet of the same Store, before the tags and the log
	// were read, and does not change during the call. On disk no other process may have the store open. In a bucket others
	// may use the store, and if they have changed it since NewSet, the error is ErrChanged. Nothing in keep is lost at a
	// crash, an error or a cancelled context, at any moment; the next Sweep finishes the work. Damage in what is kept is
	// reported and left as it is.
	Sweep(ctx context.Context, keep ObjectSet, o SweepOptions) (SweepResult, error)

	// GivenUp returns the tags that were deleted and the ingests that were forgotten since the last Sweep, oldest first, as
	// far as that is known. Something may keep their roots all the same.
	GivenUp(ctx context.Context) []Tag
}

// SweepOptions say how to sweep.
type SweepOptions struct {
	DryRun   bool // change nothing, and estimate what would be freed
	TagsLost bool // sweep although tags were lost, which is ErrTagsLost otherwise, and forget that in the end
	// Grace is how long files stay in a bucket after they were given up, so that those who read or rely on them can finish.
	Grace    time.Duration
	Damaged  func(error) // called for damage in what is kept, one call at a time; may be nil
	Progress *Progress   // counts while Sweep works; may be nil
}

// Progress counts what a sweep has moved to new packs, or what a repair has read: whole objects, and bytes on disk. It may
// be read at any time.
type Progress struct{ Objects, Bytes atomic.Uint64 }

// SweepResult is what a sweep did, or would do.
type SweepResult struct {
	FreedObjects uint64 `json:"freed_objects"` // directories, blobs and chunks
	FreedBytes   uint64 `json:"freed_bytes"`   // on disk
	FreedPacks   uint64 `json:"freed_packs"`   // files removed
	Rewritten    uint64 `json:"rewritten" help:"bytes moved from removed packs to new ones"`
	KeptObjects  uint64 `json:"kept_objects"`
	KeptBytes    uint64 `json:"kept_bytes"` // on disk
}

// Repairer mends a store as far as what is left allows. What is still missing may be copied from another store.
type Repairer interface {
	// Repair finds all that is whole. It replaces lost or damaged records of it, moves it out of damaged files, and
	// removes or sets aside the damage. No other process may have the store open. Repair writes what is new before it
	// removes what is old, so the store keeps what it had whatever interrupts the call. It does not change a sound
	// store. An error is a reason to stop, such as a full disk, and never damage.
	Repair(ctx context.Context, o RepairOptions) (RepairResult, error)
}

// RepairOptions say how to repair.
type RepairOptions struct {
	Tags []Tag                    // what damaged tags may have been, if the log does not know
	Did  func(where, what string) // called for each thing that was done or found; may be nil
	// Progress counts while Repair works; may be nil.
	Progress *Progress
}

// RepairResult is what a repair found.
type RepairResult struct {
	Objects  uint64 `json:"objects"`   // directories, blobs and chunks that are whole
	Lost     uint64 `json:"lost"`      // recorded objects that are not whole; some may have been unreachable
	LostTags uint64 `json:"lost_tags"` // tags that could not be restored; Sweep refuses to run until told of them
	// LostContainers counts folders and files that were lost with their contents and not restored. Nobody knows how much
	// was in them.
	LostContainers uint64 `json:"lost_containers,omitempty" help:"how many of the log, the tags and the packs were lost as a whole"`
}

// Collector collects garbage where the store is: at the other end of a network, or beside those that use it.
type Collector interface {
	// Collect removes what neither tags nor the log reach. The error is ErrLocked if others have used the store for all of
	// o.Wait, and ErrDenied if the caller may not.
	Collect(ctx context.Context, o CollectOptions) (CollectResult, error)
}

// CollectOptions say how to collect garbage.
type CollectOptions struct {
	DryRun   bool          // change nothing, and estimate what would be freed
	All      bool          // go on if nothing is kept, if tags were lost, or without lines of the log that are damaged
	Keep     []Node        // further roots to keep
	Forgot   []Tag         // lines of the log that do not count; for a dry run
	Grace    time.Duration // as in SweepOptions
	Wait     time.Duration // how long a Collector waits for others that use the store
	Warn     func(error)   // called for damage, one call at a time
	Progress *Progress     // counts what was moved; may be nil
}

// CollectResult is what a collection did, or would do.
type CollectResult struct {
	SweepResult
	Tags    int  `json:"tags"`    // whose roots were kept
	Ingests int  `json:"ingests"` // lines of the log whose roots were kept
	Damaged bool `json:"damaged,omitempty"`
	// Dropped are roots that were given up since the last gc, as tags or lines of the log named them, the newest first.
	Dropped []Tag `json:"-"`
}

// Scrubber checks everything that a store holds, where it lies. It knows nothing of trees: its caller finds out whether
// the store has all that a tree refers to.
type Scrubber interface {
	// Scrub reads all that was committed before the call, or with o.Only before that set was made. It calls found for
	// each damage, one call at a time, and goes on whatever it finds. Its error says only that it could not finish; it
	// is that of ctx if that has ended. Others may read and write the store during the call; Scrub does not look at
	// what they add.
	//
	// Scrub records damaged objects, unless o forbids it. From then on the store does not have them, so the next caller
	// that puts the same bytes stores them again. Objects found whole again are cleared.
	Scrub(ctx context.Context, o ScrubOptions, found func(Damage)) (ScrubResult, error)
	// BlobSize returns the length of a blob by the store's records. It reads no contents. The error is ErrNotFound if
	// the store does not have the blob, and a *CorruptError if it is known to be damaged.
	BlobSize(ctx context.Context, d Digest) (uint64, error)
}

// ScrubOptions say what to look at. The zero value is everything.
type ScrubOptions struct {
	Only        ObjectSet      // from NewSet of the same store: look at these objects only; nil: at all
	Structure   bool           // read no file contents: directories, chunk lists and the store's own records only
	Parts       int            // read only one part in so many of the file contents, the next one each time; 0 is 1
	MaxDuration time.Duration  // stop reading file contents after this long; the next such call goes on there; 0: never
	NoRecord    bool           // write nothing into the store
	Progress    *ScrubProgress // counts while Scrub works; may be nil
}

// ScrubProgress is how far a Scrub is. It may be read at any time.
type ScrubProgress struct {
	Bytes   atomic.Uint64 // read, of what the store has on disk
	Total   atomic.Uint64 // there are; may grow
	Objects atomic.Uint64 // found to be whole
	Damaged atomic.Uint64 // found to be damaged
}

// ScrubResult is what a Scrub did.
type ScrubResult struct {
	Objects     uint64 // found to be whole
	Bytes       uint64 // bytes on disk that were read
	Assembled   uint64 // blobs of several chunks that were assembled and hashed
	Part        int    // with Parts: the part that was read, from 1
	Resumed     string // with MaxDuration: where the previous call stopped, or ""
	Stopped     string // with MaxDuration: where this call stopped, or "" if it finished
	Recorded    int    // damaged objects that were recorded
	Released    int    // objects that had been recorded as damaged and were found whole
	NotRecorded error  // why the damage could not be recorded, or nil
	// Newer names what a newer castar wrote, and so could not be checked. Each is ErrNewer. It is neither sound nor damaged.
	Newer []error
}

// Claim is what damage contradicts.
type Claim string

// The claims that Scrub checks.
const (
	ClaimFiles      Claim = "files"      // the store's own files are there and are what they should be
	ClaimObjects    Claim = "objects"    // every stored object hashes to its name
	ClaimReferences Claim = "references" // every reference resolves
	ClaimSizes      Claim = "sizes"      // every size is what it says
	ClaimChunks     Claim = "chunks"     // every blob of several chunks, assembled, hashes to its own name
)

// DamageKind says what is damaged.
type DamageKind string

// The kinds of damage. The first eight are files of the store or parts of them. Such damage need not concern an object.
const (
	DamageConfig     DamageKind = "config"
	DamageIndex      DamageKind = "index"
	DamagePack       DamageKind = "pack"
	DamageFrame      DamageKind = "frame" // a part of a pack
	DamageTag        DamageKind = "tag"
	DamageLog        DamageKind = "log"
	DamageState      DamageKind = "state"   // the progress of earlier checks
	DamageUnknown    DamageKind = "unknown" // not a file of the store
	DamageObject     DamageKind = "object"
	DamageMissing    DamageKind = "missing"    // an object that something refers to
	DamageSize       DamageKind = "size"       // of an entry, or of a chunk
	DamageAssembly   DamageKind = "assembly"   // a blob of chunks
	DamageUnreadable DamageKind = "unreadable" // an object that may be whole
	DamageDepth      DamageKind = "depth"      // a directory more than MaxDepth levels deep
)

// Claim returns the claim that such damage contradicts.
func (k DamageKind) Claim() Claim {
	switch k {
	case DamageObject, DamageUnreadable:
		return ClaimObjects
	case DamageMissing, DamageDepth:
		return ClaimReferences
	case DamageSize:
		return ClaimSizes
	case DamageAssembly:
		return ClaimChunks
	}
	return ClaimFiles
}

// Damage is something in a store that is not as it should be.
type Damage struct {
	What   DamageKind
	Kind   Kind     // of the object: a directory, or a file for blobs and chunks; 0 where damage is to none
	Digest Digest   // of the object
	Also   []Digest // the blobs that are lost with it because it is one of their chunks
	Where  string   // file and offset, as far as the store knows
	Err    error    // what is wrong, without the names above
	// Harmless says that nothing is lost: the damage is to something that is not needed, such as one of two copies.
	Harmless bool
	// Doubtful says that the object is known only from a damaged record. The store may never have had it.
	Doubtful bool
}

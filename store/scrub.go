package store

import (
	"context"
	"sync/atomic"
	"time"
)

// Scrubber checks everything that a store holds, where it lies. It knows nothing of trees: its caller finds out whether
// the store has all that a tree refers to.
type Scrubber interface {
	// Scrub reads all that was committed before the call, or with o.Only before that set was made. It calls found for
	// each damage, one call at a time, and goes on whatever it finds. Its error says only that it could not finish; it
	// is that of ctx if that has ended. Others may read and write the store during the call; Scrub does not look at
	// what they add.
	//
	// Scrub records damaged objects, unless o forbids it. From then on the store does not have them, so the next caller
	// that puts the same bytes stores them anew. Objects found whole again are cleared.
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

// What is damaged.
type What string

// What may be damaged. The first eight are files of the store or parts of them. Such damage need not concern an object.
const (
	WhatConfig     What = "config"
	WhatIndex      What = "index"
	WhatPack       What = "pack"
	WhatFrame      What = "frame" // a part of a pack
	WhatTag        What = "tag"
	WhatLog        What = "log"
	WhatState      What = "state"   // the progress of earlier checks
	WhatUnknown    What = "unknown" // not a file of the store
	WhatObject     What = "object"
	WhatMissing    What = "missing"    // an object that something refers to
	WhatSize       What = "size"       // of an entry, or of a chunk
	WhatAssembly   What = "assembly"   // a blob of chunks
	WhatUnreadable What = "unreadable" // an object that may be whole
	WhatDepth      What = "depth"      // a directory more than MaxDepth levels deep
)

// Claim returns the claim that such damage contradicts.
func (w What) Claim() Claim {
	switch w {
	case WhatObject, WhatUnreadable:
		return ClaimObjects
	case WhatMissing, WhatDepth:
		return ClaimReferences
	case WhatSize:
		return ClaimSizes
	case WhatAssembly:
		return ClaimChunks
	}
	return ClaimFiles
}

// Damage is something in a store that is not as it should be.
type Damage struct {
	What   What
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

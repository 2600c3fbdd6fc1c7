package store

import (
	"context"
	"sync/atomic"
	"time"
)

// Scrubber is implemented by stores that can check everything they hold where it lies. It knows nothing of trees: whether
// all that a tree refers to is there is for others to find out.
type Scrubber interface {
	// Scrub reads what the store holds, all that was committed when it was called, or with o.Only when that was made. It
	// calls found for what is not as it should be, one call at a time. It goes on whatever it finds: its error says only
	// that it could not finish, and is that of ctx where that has ended. Others may read and write the store meanwhile;
	// what they add is not looked at.
	//
	// Damaged objects are recorded, unless o forbids it: from then on the store does not have them, so that whoever
	// comes with the same bytes stores them anew. Those that were recorded before and prove to be whole are so no more.
	Scrub(ctx context.Context, o ScrubOptions, found func(Damage)) (ScrubResult, error)
	// BlobSize returns the length of a blob, as the store's records have it, and reads no contents. The error is
	// ErrNotFound where the store does not have it, and a *CorruptError where it is known to be damaged.
	BlobSize(ctx context.Context, d Digest) (uint64, error)
}

// ScrubOptions say what to look at. The zero value is everything.
type ScrubOptions struct {
	Only        ObjectSet      // from NewSet of the same store: look at these objects only; nil: at all
	Structure   bool           // read no file contents: directories, chunk lists and the store's own records only
	Parts       int            // of file contents read only one in so many parts, each time the next one; 0 is 1
	MaxDuration time.Duration  // stop reading file contents after so long; the next such call goes on there; 0: never
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
	Bytes       uint64 // read, of what the store has on disk
	Assembled   uint64 // blobs of several chunks that were put together and hashed
	Part        int    // with Parts: which one was read, from 1
	Resumed     string // with MaxDuration: where the last one had stopped, or ""
	Stopped     string // with MaxDuration: where this one stopped, or "" where it came to the end
	Recorded    int    // damaged objects that the store now does without
	Released    int    // objects that were recorded as damaged and are not
	NotRecorded error  // why the store could not be written, or nil
}

// Claim is what damage contradicts.
type Claim string

// The claims that a check makes.
const (
	ClaimFiles      Claim = "files"      // the store's own files are there and are what they should be
	ClaimObjects    Claim = "objects"    // every stored object hashes to its name
	ClaimReferences Claim = "references" // every reference resolves
	ClaimSizes      Claim = "sizes"      // every size is what it says
	ClaimChunks     Claim = "chunks"     // every blob of several chunks, assembled, hashes to its own name
)

// What is damaged.
type What string

// What may be damaged. The first eight are files of the store or parts of them, and need not concern any object.
const (
	WhatConfig     What = "config"
	WhatIndex      What = "index"
	WhatPack       What = "pack"
	WhatFrame      What = "frame" // a part of a pack
	WhatTag        What = "tag"
	WhatLog        What = "log"
	WhatState      What = "state"   // what a check remembers
	WhatUnknown    What = "unknown" // not a file of the store
	WhatObject     What = "object"
	WhatMissing    What = "missing"    // an object that something refers to
	WhatSize       What = "size"       // of an entry, or of a chunk
	WhatAssembly   What = "assembly"   // a blob of chunks
	WhatUnreadable What = "unreadable" // an object that may be whole
	WhatDepth      What = "depth"      // a directory below more than MaxDepth others
)

// Claim returns what such damage contradicts.
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
	// Harmless says that nothing is lost: the damage is to what is not needed, such as one of two copies.
	Harmless bool
	// Doubtful says that the object is known only from a damaged record, and may never have been there.
	Doubtful bool
}

package store

import (
	"context"
	"sync/atomic"
)

// Sweeper is implemented by stores that can forget objects. What to keep is for others to find out: Sweep keeps what is
// in a set, and knows nothing of trees.
type Sweeper interface {
	// Sweep removes what is not in keep, which came from NewSet of the same Store, and to which nobody adds meanwhile.
	// Nobody else may have the store open. A crash, an error or a cancelled context at any moment loses nothing that is
	// in keep, and what was not finished is for the next Sweep. What was kept before and proves to be damaged is reported
	// and left as it is.
	Sweep(ctx context.Context, keep ObjectSet, o SweepOptions) (SweepResult, error)
}

// SweepOptions say how to sweep.
type SweepOptions struct {
	DryRun   bool           // change nothing, and estimate what would be freed
	Damaged  func(error)    // called for damage in what is kept, one call at a time; may be nil
	Progress *SweepProgress // counts while Sweep works; may be nil
}

// SweepProgress is how much a sweep has moved to new places. It may be read at any time.
type SweepProgress struct{ Objects, Bytes atomic.Uint64 }

// SweepResult is what a sweep did, or would do.
type SweepResult struct {
	FreedObjects uint64 `json:"freed_objects"` // directories, blobs and chunks
	FreedBytes   uint64 `json:"freed_bytes"`   // on disk
	FreedPacks   uint64 `json:"freed_packs"`   // files removed
	Rewritten    uint64 `json:"rewritten"`     // bytes that were moved from some of those to new ones
	KeptObjects  uint64 `json:"kept_objects"`
	KeptBytes    uint64 `json:"kept_bytes"` // on disk
}

// Repairer is implemented by stores that can mend themselves, as far as what is left allows. What is missing then may be
// copied from another store.
type Repairer interface {
	// Repair finds all that is whole, makes the store's own records of it anew where they are lost or damaged, moves what
	// is whole out of damaged files, and removes or sets aside the damage. Nobody else may have the store open. It writes
	// what is new before it removes what is old, so that whatever interrupts it, the store has what it had. A sound store
	// is not changed. An error is a reason to stop, such as a full disk, and never damage.
	Repair(ctx context.Context, o RepairOptions) (RepairResult, error)
}

// RepairOptions say how to repair.
type RepairOptions struct {
	Tags []Tag                    // what damaged tags may have been, where the log does not know
	Did  func(where, what string) // called for each thing that was done or found; may be nil
	// Progress counts while Repair works; may be nil.
	Progress *RepairProgress
}

// RepairProgress is how much a repair has read: objects that are whole, and bytes on disk. It may be read at any time.
type RepairProgress struct{ Objects, Bytes atomic.Uint64 }

// RepairResult is what a repair found.
type RepairResult struct {
	Objects  uint64 `json:"objects"`   // directories, blobs and chunks that are whole
	Lost     uint64 `json:"lost"`      // of those that were on record, how many are not; some of them may have been dead
	LostTags uint64 `json:"lost_tags"` // tags that could not be restored: nothing keeps what they reach from a gc
}

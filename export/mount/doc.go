// Package mount shows stored trees as a read-only file system, by FUSE:
//
//	kernel ── request with an inode number ──> server ──> fsys.find ── Directories.Get, level by level ──> node
//	                                             └──────> fsys.read ── Blobs.Open, piece by piece ───────> bytes
//
// Its one idea is that an inode number says where an entry is; see numbers.go. So nothing is remembered for the entries
// that the kernel knows, and memory is bounded by the caches: of directories and of pieces of files.
//
// Only Linux is supported.
package mount

import (
	"context"
	"errors"
	"time"

	"castar/store"
	"castar/store/listing"
)

// Options says how to mount.
type Options struct {
	// AllowOther lets all users read, and not only the one who mounts.
	AllowOther bool
	// Nonempty allows a mountpoint that has entries. They are hidden until the mount ends.
	Nonempty bool
	// Time is the time of access, modification and change of all entries. If it is zero, they have the time of
	// modification that a listing says, or else that of the mount.
	Time time.Time
	// Facts opens a listing, and says how many bytes of memory it takes. It may be called concurrently. If it is nil,
	// modes and times are the same everywhere.
	Facts func(ctx context.Context, listing store.Digest) (*listing.Folder, int64, error)
	// Listing is the listing of the root that is mounted, or zero, and Inside the path in it of what is mounted. In a mount
	// of the whole store each tag and each line of the log has its own.
	Listing store.Digest
	Inside  string
	// Report is called for each damaged or missing object that was asked for, once, with the path in the mount that was
	// read, and if the store does not answer. Calls may overlap.
	Report func(path string, err error)
}

// Errors of Mount and Unmount.
var (
	// ErrDead says that the process that served a mount is gone, and its mount is still there.
	ErrDead = errors.New("a mount whose process is gone")
	// ErrNonempty says that a mountpoint has entries.
	ErrNonempty = errors.New("not empty: its entries would be hidden")
	// ErrBusy says that something in the mount is in use.
	ErrBusy = errors.New("busy")
	// ErrNotMounted says that a folder is no mount of castar's.
	ErrNotMounted = errors.New("not a mount of castar's")
)

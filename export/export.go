// Package export brings what a store holds back out of it: Dir writes a stored tree as a local directory.
//
// A new tree is written under a temporary name beside its destination and gets its own name by one rename when it is
// whole. Every entry is made relative to the open directory it belongs in, by a system call that follows no symlink, so
// that neither a hostile tree nor a race can lead outside the destination.
package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"castar/store"

	"golang.org/x/sys/unix"
)

// Options says how Dir writes. The zero value is a good default.
type Options struct {
	// FileMode, ExecMode and DirMode are the permission bits of new files, new executable files and new directories,
	// subject to the umask. 0 stands for 0644, 0755 and 0755. DirMode must let its owner read and search (0500).
	// A file that replaces another keeps that one's bits where FileMode, or ExecMode if it is executable, is 0.
	FileMode, ExecMode, DirMode fs.FileMode
	// MTime is set on everything in the tree, symlinks too, as the time of access and modification. Zero leaves the
	// time of writing.
	MTime time.Time
	// Overwrite allows a destination that is there and not empty, and rewrites what differs in it.
	Overwrite bool
	// Delete, with Overwrite, removes what the tree does not have or has as another kind of entry, inside the destination
	// only. It never follows a symlink and refuses to remove a mount point.
	Delete bool
	// Sparse leaves holes in new files for blocks of zeros.
	Sparse bool
	// Landmarks tell the directories that the store is in, should they be in the destination: nothing is written or
	// deleted in them.
	Landmarks []store.Landmark
	// Spared, if not nil, is told of each of these directories that Delete leaves alone. Calls come one at a time.
	Spared func(path string)
	// DryRun changes nothing and counts what would be done. It looks for every blob, but reads none.
	DryRun bool
	// Jobs is how many files are written at once. 0 stands for the number of processors, but at least 8: on two, four
	// writers took three quarters of the time of two, and eight no longer from a local store but four fifths of it from
	// a server on the same machine.
	Jobs int
	// Progress, if not nil, counts while Dir works. It must not be shared between calls.
	Progress *Progress
	// Notify, if not nil, is told of every change after it was made, or with DryRun would be. Calls come one at a time,
	// in no set order. What is removed because an export failed is not told.
	Notify func(Change)
}

// Progress is what an export has done so far. It may be read at any time.
type Progress struct {
	Files, Directories, Symlinks atomic.Uint64 // entries of the tree that are done, the root among them
	Bytes                        atomic.Uint64 // of file contents, written or found to be there
	Written                      atomic.Uint64 // entries that were made, replaced or given another mode
	Unchanged                    atomic.Uint64 // entries that were found as they should be; Written has all others
	Deleted                      atomic.Uint64 // entries that were removed because the tree does not have them
}

// Result is what an export did, or with DryRun would do. The fields are those of Progress.
type Result struct {
	Files       uint64 `json:"files"`
	Directories uint64 `json:"directories"`
	Symlinks    uint64 `json:"symlinks"`
	Bytes       uint64 `json:"bytes"`
	Written     uint64 `json:"written"`
	Unchanged   uint64 `json:"unchanged"`
	Deleted     uint64 `json:"deleted"`
}

// Op is what was done to an entry.
type Op string

// What Notify is told of.
const (
	OpMkdir  Op = "mkdir"  // a directory was made
	OpWrite  Op = "write"  // a file or a symlink was made or replaced
	OpChmod  Op = "chmod"  // a file's contents were right and its executable bits were not
	OpDelete Op = "delete" // an entry was removed
)

// Change is one thing that was done.
type Change struct {
	Path string // inside the destination, raw bytes; "" is the destination itself
	Op   Op
}

// Error is a reason with the path of the entry it is about.
type Error struct {
	Path string // in the tree, raw bytes
	Err  error
}

// Error returns the path, quoted where it would not print, and the reason.
func (e *Error) Error() string { return store.Quote(store.ShortPath(e.Path)) + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// ErrNotEmpty says that the destination is a directory that has entries, and Overwrite was not set.
var ErrNotEmpty = errors.New("not empty")

// Dir writes the tree, file or symlink root, whose name is ignored, as dest.
//
// If dest is not there, or is an empty directory, the tree is written beside it, under the name .NAME.castar-RANDOM,
// and renamed to dest when it is whole. An empty directory that should not be replaced (the working directory, a mount
// point, another user's or group's, one with access lists, one whose parent is read-only) is filled from a temporary
// directory in it instead, entry by entry; only a crash in the middle of that leaves a part, and the temporary directory
// beside it. A directory that was there keeps its mode.
// Any other dest is an error unless Overwrite is set: ErrNotEmpty, or fs.ErrExist for what is not a directory. A symlink
// is not followed to a directory. Its parents are whatever the path says, symlinks included, and must be there.
//
// With Overwrite, entries that are as they should be are left alone, and the others are written under temporary names
// and renamed, so that an interrupted export leaves old and new entries but no torn file. A directory where the tree has
// a file or symlink, and the reverse, gives way if Delete is set and is otherwise an error, as it always is for dest
// itself. What would stop the export is looked for before anything is changed, and the error joins all that is found:
// what is in the way, mount points, directories that may not be written in and, if Delete has anything to remove, what
// the store does not have. A file that replaces another keeps its mode, and its owner and group where the system lets it.
// A file whose contents are right but whose executable bits are not gets them changed, unless it has other links or is
// another user's. Directories of the caller's own that are not writable are made so for as long as it takes.
//
// All sizes and digests are checked on the way; the recorded size of a directory, the root's too, may exceed what is
// counted (store.SizeDocumented) but not fall short of it. The first error, or the end of ctx, ends the export: what is
// temporary is removed, and the error is returned, an *Error where it is about one entry of the tree. Nothing is synced:
// like a copy, an export is durable when the system gets round to it.
func Dir(ctx context.Context, st *store.Store, root store.Node, dest string, o Options) (Result, error) {
	e, err := newExporter(ctx, st, o)
	if err != nil {
		return Result{}, err
	}
	defer e.stop(nil)
	root.Name = ""
	if err := root.Validate(); err != nil {
		return Result{}, err
	}
	if err := e.export(&root, dest); err != nil {
		e.stop(err) // unless another goroutine's error came first, and this one is only its echo
		err = context.Cause(e.ctx)
		if e.left != nil {
			err = fmt.Errorf("%w; what is temporary was left there: %v", err, e.left)
		}
		return e.done.result(), err
	}
	return e.done.result(), nil
}

// exporter is one call of Dir.
type exporter struct {
	ctx   context.Context // ends with the first error
	stop  context.CancelCauseFunc
	st    *store.Store
	o     Options
	done  *Progress
	times []unix.Timespec // access and modification, or nil to leave them
	slots chan struct{}   // one for each goroutine that works; see group
	bufs  sync.Pool       // of *[compareSize]byte
	empty store.Digest    // of no bytes

	keepsFileMode, keepsExecMode bool // of files that are replaced

	mu   sync.Mutex // for what follows, and for calls of Notify
	left error      // why something temporary could not be removed
}

func newExporter(ctx context.Context, st *store.Store, o Options) (*exporter, error) {
	if st.Blobs == nil || st.Directories == nil {
		return nil, fmt.Errorf("a store that keeps only blobs or only directories: %w", store.ErrUnsupported)
	}
	if o.Delete && !o.Overwrite {
		return nil, errors.New("delete without overwrite")
	}
	e := &exporter{st: st, done: o.Progress, empty: store.Sum(nil), keepsFileMode: o.FileMode == 0, keepsExecMode: o.ExecMode == 0}
	o.FileMode = orDefault(o.FileMode, 0o644)
	o.ExecMode = orDefault(o.ExecMode, 0o755)
	o.DirMode = orDefault(o.DirMode, 0o755)
	if o.DirMode&0o500 != 0o500 {
		return nil, fmt.Errorf("directory mode %04o: the owner could not enter it", o.DirMode)
	}
	if o.Jobs <= 0 {
		o.Jobs = max(8, runtime.GOMAXPROCS(0))
	}
	e.o, e.slots = o, make(chan struct{}, o.Jobs)
	if e.done == nil {
		e.done = new(Progress)
	}
	if !o.MTime.IsZero() {
		ts, err := unix.TimeToTimespec(o.MTime)
		if err != nil {
			return nil, fmt.Errorf("time %v: %w", o.MTime, err)
		}
		e.times = []unix.Timespec{ts, ts}
	}
	e.bufs.New = func() any { return new([compareSize]byte) }
	e.ctx, e.stop = context.WithCancelCause(ctx)
	e.slots <- struct{}{} // the caller's own goroutine works too
	return e, nil
}

func orDefault(mode, otherwise fs.FileMode) fs.FileMode {
	if mode == 0 {
		return otherwise
	}
	return mode.Perm()
}

func (p *Progress) result() Result {
	return Result{
		Files: p.Files.Load(), Directories: p.Directories.Load(), Symlinks: p.Symlinks.Load(), Bytes: p.Bytes.Load(),
		Written: p.Written.Load(), Unchanged: p.Unchanged.Load(), Deleted: p.Deleted.Load(),
	}
}

// met counts an entry of the tree, all but a file's bytes.
func (p *Progress) met(kind store.Kind, written bool) {
	switch kind {
	case store.KindDirectory:
		p.Directories.Add(1)
	case store.KindFile:
		p.Files.Add(1)
	case store.KindSymlink:
		p.Symlinks.Add(1)
	}
	if written {
		p.Written.Add(1)
	} else {
		p.Unchanged.Add(1)
	}
}

// notify tells of a change to the entry name of the directory up.
func (e *exporter) notify(op Op, up *path, name string) {
	if e.o.Notify == nil {
		return
	}
	c := Change{Path: up.join(name), Op: op}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.o.Notify(c)
}

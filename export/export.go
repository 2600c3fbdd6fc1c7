// Package export writes trees of a store to the local file system. This is how Dir writes a tree to out:
//
//	root ── Directories.Get ── entries ──┬─ directory: mkdir, and the same for its entries
//	                                     ├─ file:      Blobs.Open, create, write
//	                                     └─ symlink:   symlink
//
//	all below .out.castar-RANDOM  ── rename ──> out
//
// So a new tree gets its name only when it is complete. With Overwrite, Dir instead compares the tree with the entries
// of out, and replaces each entry that differs by the same steps.
//
// Every entry is made in an open directory, by a system call that takes its name and follows no symlink. So neither a
// hostile tree nor a race leads outside the destination.
package export

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"castar/store"
	"castar/store/listing"
	stored "castar/store/tree"

	"golang.org/x/sys/unix"
)

// Options says how Dir writes. The zero value is a good default.
type Options struct {
	// FileMode, ExecMode and DirMode are the permission bits of new files, new executable files and new directories,
	// subject to the umask. 0 stands for 0644, 0755 and 0755. DirMode must let its owner read and search (0500).
	// A file that replaces another keeps the bits of the old one if FileMode, or ExecMode if it is executable, is 0.
	FileMode, ExecMode, DirMode fs.FileMode
	// MTime is the time of access and modification that every entry of the tree gets, symlinks too. Zero keeps the time
	// of writing.
	MTime time.Time
	// Overwrite allows a destination that exists and is not empty. Entries that differ from the tree are rewritten.
	Overwrite bool
	// Delete, with Overwrite, removes entries that the tree does not have, or has as another kind. It removes only
	// inside the destination, never follows a symlink, and refuses to remove a mount point.
	Delete bool
	// Sparse leaves holes in new files for blocks of zeros.
	Sparse bool
	// Reflink says whether new files share blocks with those of the store: store.Extent. A block that is shared was read and
	// checked like any other. With Sparse, a piece of a file that has blocks of zeros is written.
	Reflink Reflink
	// Listing, if not nil, is what package listing keeps of the root: Dir restores modes, times and hard links from it, and
	// leaves holes in files that had some. It believes no more of it than the tree has too. FileMode, ExecMode, DirMode
	// and MTime are stronger if they are set.
	Listing *listing.Folder
	// Partial says that the root is a part of what Listing is about. Then it is no lie that Listing has more.
	Partial bool
	// Owner, with Listing, also restores owners, setuid and setgid. Users and groups are those of the same name or, if
	// the system has no such name, number.
	Owner bool
	// Xattrs, with Listing, also restores extended attributes and ACLs.
	Xattrs bool
	// Complain, if not nil, is called for everything in Listing that Dir could not restore or does not believe. Path is
	// that of the entry, as in Action. Calls do not overlap.
	Complain func(path string, err error)
	// Landmarks identify the directories of the store, if they are in the destination. Nothing in them is written or
	// deleted.
	Landmarks []store.Landmark
	// Spared, if not nil, is called for each directory of the store that Delete leaves alone. Calls do not overlap.
	Spared func(path string)
	// DryRun changes nothing and counts what would be done. It asks for every blob, but reads none.
	DryRun bool
	// Jobs is how many files are written at once. 0 stands for the number of processors, but at least 8. On two
	// processors, four writers took three quarters of the time of two writers. Eight took as long as four from a local
	// store, and four fifths of it from a server on the same machine.
	Jobs int
	// Progress, if not nil, counts while Dir works. Each call needs its own.
	Progress *Progress
	// Notify, if not nil, is called after every change, or with DryRun for every change to be made. Calls do not overlap,
	// and come in no set order. There are none for what is removed because an export failed.
	Notify func(Action)
}

// Progress is what an export has done so far. It may be read at any time.
type Progress struct {
	Files, Directories, Symlinks atomic.Uint64 // finished entries of the tree, including the root
	Bytes                        atomic.Uint64 // of file contents, written or unchanged
	Shared                       atomic.Uint64 // of them, in blocks that were not written but are shared with the store
	Written                      atomic.Uint64 // entries that were made, replaced or given another mode, owner or time
	Unchanged                    atomic.Uint64 // entries that were right already
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
	Shared      uint64 `json:"shared,omitempty" help:"how many of the bytes were not written, but share their blocks with the store"`
}

// Op is what was done to an entry.
type Op string

// The operations that Notify is called for.
const (
	OpMkdir  Op = "mkdir"  // a directory was made
	OpWrite  Op = "write"  // a file or a symlink was made or replaced
	OpChmod  Op = "chmod"  // a file had the right contents and the wrong executable bits
	OpSet    Op = "set"    // an entry had the right contents, and not the mode, owner, time or attributes of the listing
	OpLink   Op = "link"   // a file became another name of one that is there
	OpDelete Op = "delete" // an entry was removed
)

// Action is one operation on one entry.
type Action struct {
	Path string // relative to the destination, raw bytes; "" is the destination itself
	Op   Op
}

// Error is an error about one entry of the tree.
type Error struct {
	Path string // in the tree, raw bytes
	Err  error
}

// Error returns the path, quoted if it would not print, and the reason.
func (e *Error) Error() string { return store.Quote(store.ShortPath(e.Path)) + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// ErrNotEmpty is the error for a destination that is a directory with entries if Overwrite is not set.
var ErrNotEmpty = errors.New("not empty")

// Dir writes the tree, file or symlink root as dest, and ignores the name of root.
//
// If dest does not exist or is an empty directory, Dir writes the tree beside it, as .NAME.castar-RANDOM, and renames it
// to dest when it is complete. Some empty directories must not be replaced: the working directory, a mount point, one of
// another user or group, one with an access list, one in a read-only parent. These are filled from a temporary directory
// inside them, entry by entry. Only a crash during these moves leaves a part of the tree, with the temporary directory
// beside it. A directory that existed keeps its mode, unless Listing has another.
//
// Any other dest is an error unless Overwrite is set: ErrNotEmpty for a directory, fs.ErrExist for the rest. Dir does not
// follow dest if it is a symlink. It follows symlinks in the path to dest, which must exist.
//
// With Overwrite, Dir leaves entries alone that are right already. It writes the others under temporary names and
// renames them, so an interrupted export leaves old and new entries but no torn file. If the tree has a file or symlink
// in place of a directory, or the reverse, Delete allows Dir to replace the entry; without Delete it is an error, and for
// dest itself it always is.
//
// Before Dir changes anything it looks for what would stop it, and its error joins all that it finds: entries in the
// way, mount points to be removed, directories that it cannot write to and, if Delete has anything to remove, objects
// that the store lacks. A file mounted over a file that differs from the tree is found only when it is to be replaced.
//
// A file that replaces another keeps the mode of the old one, and its owner and group if the system allows that. If only
// the executable bits of a file are wrong, Dir changes them in place, unless the file has other links or belongs to
// another user. A directory of the caller that is not writable is made writable for as long as Dir needs it.
//
// With Listing, a new file or directory never allows more than the listing does. In the end it has the mode of the
// listing, whatever the umask is. An entry that differs from the listing only in these is changed in place, on
// the same terms as executable bits. Names of one file become links to one file if the tree has the same file for all of
// them. That needs a temporary directory in the destination. A directory gets its time and mode after everything in it.
// What cannot be done is told to Complain, and is no error.
//
// Dir checks all sizes and digests. The recorded size of a directory may be larger than the counted size
// (store.SizeDocumented), but not smaller. The first error, or the end of ctx, ends the export: Dir removes temporary
// entries and returns the error, an *Error if it is about one entry of the tree. Nothing is synced: as with any copy,
// the system decides when an export becomes durable.
func Dir(ctx context.Context, st *store.Store, root store.Node, dest string, o Options) (Result, error) {
	root.Name = ""
	e, err := newExporter(ctx, st, &root, o)
	if err != nil {
		return Result{}, err
	}
	defer e.stop(nil)
	if !o.DryRun {
		stored.Expect(e.ctx, st, []stored.Root{{Node: root}}, nil)
	}
	if err := e.export(&root, dest); err != nil {
		e.stop(err) // no effect if the error of another goroutine came first and caused this one
		err = context.Cause(e.ctx)
		if e.left != nil {
			err = fmt.Errorf("%w; a temporary entry was left behind: %v", err, e.left)
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
	times []unix.Timespec // access and modification, or nil to keep those of writing
	slots chan struct{}   // one for each goroutine that works; see group
	bufs  sync.Pool       // of *[compareSize]byte
	empty store.Digest    // of no bytes

	keepsFileMode, keepsExecMode bool // a file that replaces another gets the mode of the old one
	keepsDirMode                 bool // DirMode was not set

	umask  uint32 // with Listing: the bits that no new entry has
	owners owners
	links  links

	reflinks reflinks

	mu   sync.Mutex // guards left and the calls of Notify, Spared and Complain
	left error      // why a temporary entry could not be removed
}

func newExporter(ctx context.Context, st *store.Store, root *store.Node, o Options) (*exporter, error) {
	if err := root.Validate(); err != nil {
		return nil, err
	}
	if st.Blobs == nil || st.Directories == nil {
		return nil, fmt.Errorf("a store that keeps only blobs or only directories: %w", store.ErrUnsupported)
	}
	if o.Delete && !o.Overwrite {
		return nil, errors.New("delete without overwrite")
	}
	if o.Reflink == ReflinkAlways && st.Clones == nil {
		return nil, reflinkError(fmt.Errorf("the contents of this store are in no files here: %w", store.ErrUnsupported))
	}
	if st.Clones == nil {
		o.Reflink = ReflinkNever
	}
	e := &exporter{st: st, done: o.Progress, empty: store.Sum(nil), keepsFileMode: o.FileMode == 0, keepsExecMode: o.ExecMode == 0,
		keepsDirMode: o.DirMode == 0}
	if o.Listing != nil {
		e.umask = umask()
	}
	o.FileMode = cmp.Or(o.FileMode, 0o644).Perm()
	o.ExecMode = cmp.Or(o.ExecMode, 0o755).Perm()
	o.DirMode = cmp.Or(o.DirMode, 0o755).Perm()
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
	e.reflinks.mode = o.Reflink
	e.bufs.New = func() any { return new([compareSize]byte) }
	e.ctx, e.stop = context.WithCancelCause(ctx)
	e.slots <- struct{}{} // for the goroutine of the caller
	return e, nil
}

func (p *Progress) result() Result {
	return Result{
		Files: p.Files.Load(), Directories: p.Directories.Load(), Symlinks: p.Symlinks.Load(), Bytes: p.Bytes.Load(),
		Written: p.Written.Load(), Unchanged: p.Unchanged.Load(), Deleted: p.Deleted.Load(),
		Shared: p.Shared.Load(),
	}
}

// met counts an entry of the tree, but not the bytes of a file.
func (p *Progress) met(kind store.Kind, written bool) {
	kinds := [...]*atomic.Uint64{store.KindDirectory: &p.Directories, store.KindFile: &p.Files, store.KindSymlink: &p.Symlinks}
	kinds[kind].Add(1)
	if written {
		p.Written.Add(1)
	} else {
		p.Unchanged.Add(1)
	}
}

// notify reports a change to the entry name of the directory up.
func (e *exporter) notify(op Op, up *trail, name string) {
	if e.o.Notify == nil {
		return
	}
	a := Action{Path: up.join(name), Op: op}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.o.Notify(a)
}

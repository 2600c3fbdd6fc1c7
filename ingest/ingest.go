// Package ingest stores trees of the local file system. This is how FS stores a directory:
//
//	names ── excludes ── stat ──┬─ file:      unchanged in the Cache? ── its digest
//	                            │             otherwise read ── Blobs.Put ── its digest
//	                            ├─ symlink:   its target
//	                            └─ directory: the same for its entries ── its digest
//	   │
//	   └── all nodes of the directory ── Directories.Upload ── its digest
//
// So a directory is stored after everything that it refers to, and the root comes last.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"

	"castar/ingest/ignore"
	"castar/store"
)

// Options says what to ingest, and how. The zero value stores everything.
type Options struct {
	Jobs          int                // files read at once; 0 for a number that suits the machine
	SizeRule      store.SizeRule     // how directory sizes are counted
	SkipSpecial   bool               // leave out pipes and devices, and report them
	IgnoreErrors  bool               // leave out and report these, and entries that cannot be read or keep changing
	OneFileSystem bool               // store directories on other file systems empty, and leave out files mounted from there
	ExcludeCaches bool               // of a directory with a valid CACHEDIR.TAG, store only that file
	GitIgnore     bool               // obey .gitignore files
	Excludes      []*ignore.Patterns // a later list overrides the earlier ones
	Only          *Only              // if not nil, what to read of a directory; Scan and FS of anything else ignore it
	LargerThan    int64              // if not 0, leave out files of more bytes
	IfPresent     []string           // of a directory that has one of these names, store only that entry
	Landmarks     []store.Landmark   // leave out directories that have one, because they belong to the store
	Cache         *Cache             // if nil, read every file
	TrustCache    bool               // believe path, size, mtime and ctime on any file system
	Listing       bool               // store a listing beside the root; see package listing
	Xattrs        bool               // with extended attributes
	Progress      *Progress          // may be nil

	hook func(m hookMoment, path string) // for tests
}

// complete sets the options that have a default. It returns st, or a store for dry runs if st is nil.
func (o *Options) complete(st *store.Store, jobs int) *store.Store {
	if o.Progress == nil {
		o.Progress = new(Progress)
	}
	if o.Jobs <= 0 {
		o.Jobs = jobs
	}
	if st == nil {
		return discard()
	}
	return st
}

// Progress is updated while an ingest runs. All fields may be read at any time.
type Progress struct {
	Files       atomic.Uint64
	Directories atomic.Uint64
	Symlinks    atomic.Uint64
	Bytes       atomic.Uint64 // of file contents, read or found in the cache
	Unchanged   atomic.Uint64 // files found in the cache
	Excluded    atomic.Uint64 // entries that a pattern or option left out

	TotalFiles atomic.Uint64 // counted by Scan so far
	TotalBytes atomic.Uint64
	Scanned    atomic.Bool // the totals are final
}

// Result is the outcome of an ingest.
type Result struct {
	Root     store.Node
	Counts   store.Counts
	Listing  store.Digest // the blob with the listing, or zero
	Private  uint64       // files and directories that others than their owners may not read
	Excluded uint64       // entries that patterns and options left out; entries below an excluded directory do not count
	LeftOut  []Problem    // entries that could not be stored, sorted by path
	Stores   []string     // directories below the root with a landmark; they count as excluded
	Sockets  []string     // paths as in a Problem, sorted: sockets hold no data, and are left out in any case
}

// Problem is an entry that could not be stored.
type Problem struct {
	Path    string // the path given to FS, continued down to the entry
	Err     error
	Special bool // a pipe or a device, or a socket as the root
}

// Error returns the path, quoted if it is empty or would not print, and the reason.
func (p Problem) Error() string {
	return store.Quote(store.ShortPath(p.Path)) + ": " + p.Err.Error()
}

// Unwrap returns the reason.
func (p Problem) Unwrap() error { return p.Err }

// LeftOutError is the error for entries that could not be stored and that the options do not leave out.
type LeftOutError struct{ Problems []Problem }

// Error returns the problem if there is one, and otherwise how many there are.
func (e *LeftOutError) Error() string {
	if len(e.Problems) == 1 {
		return e.Problems[0].Error()
	}
	return fmt.Sprintf("%d entries could not be stored", len(e.Problems))
}

// Unwrap returns the problems.
func (e *LeftOutError) Unwrap() []error {
	all := make([]error, len(e.Problems))
	for i := range e.Problems {
		all[i] = e.Problems[i]
	}
	return all
}

// Reasons of a Problem. Other reasons come from the system.
var (
	ErrSpecial = errors.New("not a file, directory or symbolic link")
	ErrChanged = errors.New("changed while it was read")
)

// FS stores the file, directory or symlink at path in st, and returns its root. A symlink is stored, not followed, unless
// path ends in a slash. If st is nil, FS computes the root and stores nothing. Nothing is durable before st.Sync.
//
// Some entries cannot be stored: those that cannot be read, that keep changing while they are read, or that are not
// files, directories or symlinks. FS leaves them out if o allows it. Otherwise it walks the rest of the tree and returns
// a *LeftOutError that has all of them, and no root. Result.LeftOut has them in both cases. The first error of the store
// ends the walk, and so does a lack of descriptors or memory.
func FS(ctx context.Context, st *store.Store, path string, o Options) (Result, error) {
	o.Listing = o.Listing && st != nil
	o.Xattrs = o.Xattrs && o.Listing
	st = o.complete(st, defaultJobs())
	p := newPresence(st, o.Cache)
	counters := o.Progress.counters()
	var before [len(counters)]uint64
	for i, c := range counters {
		before[i] = c.Load()
	}
	for walks := 1; ; walks++ {
		r, err := walkOnce(ctx, st, path, o, p)
		if err != errAgain {
			return r, err
		}
		for i, c := range counters {
			c.Store(before[i])
		}
		if walks == maxWalks {
			p = nil
		}
	}
}

// counters returns what one walk counts.
func (p *Progress) counters() [6]*atomic.Uint64 {
	return [...]*atomic.Uint64{&p.Files, &p.Directories, &p.Symlinks, &p.Bytes, &p.Unchanged, &p.Excluded}
}

// maxWalks is how often a tree is walked because a remote store lacks what the cache knows. After that, somebody removes
// blobs from the store all the time, and it is asked about each file.
const maxWalks = 3

// walkOnce is FS, except that it commits nothing if the walk has to begin again. The error is then errAgain.
func walkOnce(ctx context.Context, st *store.Store, path string, o Options, p *presence) (r Result, err error) {
	w, err := newWalker(ctx, st, o)
	if err != nil {
		return r, err
	}
	defer w.close()
	if w.presence = p; p != nil {
		p.begin(w.ctx, w.stop)
		defer p.asked.Wait()
		defer w.stop(nil)
	}
	root, err := w.firstWorker().root(path)
	if err == nil && p != nil {
		err = p.confirm()
	}
	if err != nil && w.ctx.Err() != nil {
		err = context.Cause(w.ctx) // the first error, which caused the others
	}
	if err != nil {
		return Result{LeftOut: w.problems.sorted()}, err
	}
	r = Result{Root: root, Excluded: w.excluded.Load(), Private: w.private.Load(), LeftOut: w.problems.sorted(),
		Stores: w.stores.sorted(strings.Compare), Sockets: w.sockets.sorted(strings.Compare), Counts: store.Counts{
			Files: w.files.Load(), Directories: w.directories.Load(), Symlinks: w.symlinks.Load(), Bytes: w.bytes.Load(),
		}}
	if err := w.problems.refused(o); err != nil {
		r.Root = store.Node{}
		return r, err
	}
	if w.listing != nil {
		if r.Listing, err = w.listing.put(ctx, st.Blobs, w.block); err != nil {
			return r, err
		}
	}
	if root.Kind == store.KindDirectory {
		err = w.upload.Commit(ctx, root.Digest)
	}
	return r, err
}

// Scan counts what FS with the same path and options will meet, in the totals of o.Progress. It is meant to run beside
// FS, and ignores errors, because FS reports them.
func Scan(ctx context.Context, path string, o Options) {
	progress := o.Progress
	o.Jobs, o.Cache, o.Listing, o.Progress = 1, nil, false, new(Progress)
	w, err := newWalker(ctx, discard(), o)
	if err != nil {
		return
	}
	defer w.close()
	w.scan = progress
	if _, err := w.firstWorker().root(path); err == nil {
		progress.Scanned.Store(true)
	}
}

// defaultJobs returns a number that keeps every core busy, and some requests waiting at the disk.
func defaultJobs() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

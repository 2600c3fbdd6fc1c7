// Package ingest brings trees into a store: it walks a file system, stores what the files hold, and builds the
// directories from the leaves up, so that every directory is stored after all that it refers to.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"

	"castar/ingest/ignore"
	"castar/store"
)

// Options says what to ingest, and how.
type Options struct {
	Jobs          int                // files read at once; 0 for a number that suits the machine
	SizeRule      store.SizeRule     // how directory sizes are counted
	SkipSpecial   bool               // leave out sockets, pipes and devices, and say so
	IgnoreErrors  bool               // the same for all that cannot be read or will not hold still, too
	OneFileSystem bool               // store directories on other file systems as empty ones, and leave out files mounted from there
	ExcludeCaches bool               // of directories with a valid CACHEDIR.TAG, store only that file
	GitIgnore     bool               // obey .gitignore files
	Excludes      []*ignore.Patterns // each list over the earlier ones
	Landmarks     []store.Landmark   // leave out the directories that have one: the store is in them
	Cache         *Cache             // nil: read every file
	TrustCache    bool               // believe path, size, mtime and ctime on any file system
	Progress      *Progress          // nil: nobody watches

	hook func(s step, path string) // of tests
}

// Progress is updated while an ingest runs. All fields may be read at any time.
type Progress struct {
	Files       atomic.Uint64
	Directories atomic.Uint64
	Symlinks    atomic.Uint64
	Bytes       atomic.Uint64 // of file contents, read or known from the cache
	Unchanged   atomic.Uint64 // files that the cache knew
	Excluded    atomic.Uint64 // entries that a pattern or option left out

	TotalFiles atomic.Uint64 // what Scan has counted so far
	TotalBytes atomic.Uint64
	Scanned    atomic.Bool // the totals are final
}

// Result is what an ingest made.
type Result struct {
	Root     store.Node
	Counts   store.Counts
	Excluded uint64    // entries left out by patterns and options; those below an excluded directory do not count
	LeftOut  []Problem // what could not be stored; the order is that of its paths
	Stores   []string  // directories in the root that have a landmark, which are among the excluded
}

// Problem is an entry that could not be stored.
type Problem struct {
	Path    string // as the ingest was given it, and the way down from there
	Err     error
	Special bool // a socket, a pipe or a device
}

// Error is the path, quoted where it is empty or would not print, and the reason.
func (p Problem) Error() string {
	return store.Quote(store.ShortPath(p.Path)) + ": " + p.Err.Error()
}

// Unwrap returns the reason.
func (p Problem) Unwrap() error { return p.Err }

// LeftOutError says that an ingest met entries that it could not store and was not told to leave out. It has them all.
type LeftOutError struct{ Problems []Problem }

// Error counts the problems; each has an error of its own.
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

// Reasons of a Problem; others are those of the system.
var (
	ErrSpecial = errors.New("not a file, directory or symlink")
	ErrChanged = errors.New("changed while it was read")
)

// FS stores the file, directory or symlink at path in st, and returns its root. A symlink is stored, not followed, unless
// path ends in a slash. With a nil st nothing is stored, and the root is what it would be.
//
// Entries that cannot be read, that are no file, directory or symlink, or that change while they are read however often
// it is tried, are left out as far as o allows; otherwise the error is a *LeftOutError that names all of them, after
// the whole tree was looked at, and there is no root. Result.LeftOut has them in any case. Where descriptors or memory
// run out the walk ends, as it does with the first error of the store. Nothing is durable before st.Sync.
func FS(ctx context.Context, st *store.Store, path string, o Options) (Result, error) {
	if st == nil {
		st = discard()
	}
	if o.Progress == nil {
		o.Progress = new(Progress)
	}
	if o.Jobs <= 0 {
		o.Jobs = defaultJobs()
	}
	w, err := newWalker(ctx, st, o)
	if err != nil {
		return Result{}, err
	}
	defer w.close()
	root, err := w.work().root(path)
	if err != nil && w.ctx.Err() != nil {
		err = context.Cause(w.ctx) // the first error, of which others are the echo
	}
	if err != nil {
		return Result{LeftOut: w.problems.sorted()}, err
	}
	r := Result{Root: root, Excluded: w.excluded.Load(), LeftOut: w.problems.sorted(), Stores: w.stores.sorted(), Counts: store.Counts{
		Files: w.files.Load(), Directories: w.directories.Load(), Symlinks: w.symlinks.Load(), Bytes: w.bytes.Load(),
	}}
	if err := w.problems.refused(o); err != nil {
		r.Root = store.Node{}
		return r, err
	}
	if root.Kind == store.KindDirectory {
		err = w.upload.Commit(ctx, root.Digest)
	}
	return r, err
}

// Scan counts what FS with the same path and options will meet, in the totals of o.Progress, while FS is running.
// Errors are left for FS to find.
func Scan(ctx context.Context, path string, o Options) {
	progress := o.Progress
	o.Jobs, o.Cache, o.Progress = 1, nil, new(Progress)
	w, err := newWalker(ctx, discard(), o)
	if err != nil {
		return
	}
	defer w.close()
	w.scan = progress
	if _, err := w.work().root(path); err == nil {
		progress.Scanned.Store(true)
	}
}

// defaultJobs keeps every core busy, and some requests waiting at the disk.
func defaultJobs() int { return max(4, 2*runtime.GOMAXPROCS(0)) }

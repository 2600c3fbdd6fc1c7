package ingest

import (
	"cmp"
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// walker is one walk over a file system. Every directory is read through its own descriptor, and every name relative to
// it, so no path is resolved twice and none is too long. Work is shared by forking: a goroutine that meets a directory or
// a batch of entries gives it to a new goroutine if a slot is free and order allows it, and otherwise does it itself. So
// there are no queues, and memory grows only with the depth of the tree.
type walker struct {
	ctx    context.Context // ends with the first error
	stop   context.CancelCauseFunc
	st     *store.Store
	upload store.DirectoryWriter
	o      Options
	scan   *Progress // if not nil, only count, into its totals

	began      time.Time
	processors int  // with fewer workers, one is idle
	lanes      bool // the store keeps together what one lane puts
	order      order
	slots      chan store.Blobs // for each goroutine that may work, its lane into the store
	buffers    sync.Pool        // of *[]byte, a byte longer than smallFile, to detect that a file grew
	scratches  sync.Pool        // of *scratch
	device     uint64           // of the root
	boot       func() string    // identifies this boot, or returns ""
	links      links
	presence   *presence // nil: the store is asked about each blob

	mediums       chan struct{} // one for each medium buffer in use
	mediumBuffers sync.Pool     // the same for mediumFile
	problems      problems
	stores        collected[string] // directories with a landmark
	sockets       collected[string] // which are left out
	listing       *listingSpool     // the listing, or nil
	block         *spooledBlock     // of the root

	files, directories, symlinks, bytes, excluded, private atomic.Uint64
}

func newWalker(ctx context.Context, st *store.Store, o Options) (*walker, error) {
	w := &walker{st: st, o: o, began: time.Now(), processors: runtime.GOMAXPROCS(0), boot: sync.OnceValue(bootID)}
	w.lanes = st.Lanes != nil
	if o.Listing {
		w.listing = &listingSpool{xattrs: o.Xattrs}
	}
	w.slots = make(chan store.Blobs, o.Jobs)
	for range o.Jobs {
		w.slots <- st.Lane()
	}
	w.ctx, w.stop = context.WithCancelCause(ctx)
	var err error
	if w.upload, err = st.Directories.Upload(w.ctx); err != nil {
		w.stop(nil)
		return nil, err
	}
	w.buffers.New = newBuffer(smallFile + 1)
	w.mediumBuffers.New = newBuffer(mediumFile + 1)
	w.mediums = make(chan struct{}, min(o.Jobs, max(4, runtime.GOMAXPROCS(0))))
	return w, nil
}

// worker is a goroutine of a walk.
type worker struct {
	*walker
	blobs     store.Blobs   // its lane, which is also its slot
	at        *list.Element // in the order of the workers
	questions int64         // how many it has asked the file system
	asked     atomic.Int64  // the number of the one that it waits for; 0 if it does not wait
	hasWorked bool          // read a file or met a directory, since it let other goroutines go first
}

// firstWorker takes a slot for the worker that begins the walk.
func (w *walker) firstWorker() *worker { return w.newWorker(<-w.slots, nil) }

// freeSlot frees the worker's slot.
func (w *worker) freeSlot() { w.slots <- w.blobs }

func newBuffer(size int) func() any {
	return func() any {
		b := make([]byte, size)
		return &b
	}
}

func (w *walker) close() {
	w.upload.Close()
	w.listing.close()
	w.stop(nil)
}

// errLeftOut is the error for an entry to leave out, after it was added to the problems or excluded.
var errLeftOut = errors.New("left out")

func (w *worker) root(path string) (node store.Node, err error) {
	defer w.leave()
	at, up := &place{name: path}, &folder{fd: unix.AT_FDCWD, depth: -1, ignored: ignore.Root(w.o.Excludes...)}
	var st stat
	if err = st.at(up.fd, path); err != nil {
		err = w.problem(at, err)
	} else {
		w.device = st.dev
		w.judgeFile(up, at, &st)
		err = w.store(up, at, &st, &node)
		if err == nil && node.Kind != store.KindDirectory {
			at.block, err = w.single(up, at, &st, &node)
		}
		w.block = at.block
	}
	if errors.Is(err, errLeftOut) {
		err = &LeftOutError{w.problems.sorted()} // a root is all or nothing
	}
	return node, err
}

// judgeFile finds the volume of a root that is a file. It is unknown if the file cannot be opened.
func (w *walker) judgeFile(up *folder, at *place, st *stat) {
	up.volume = &volume{believed: w.o.TrustCache}
	if st.kind() != unix.S_IFREG || w.scan != nil {
		return
	}
	if fd, err := posix.OpenFile(up.fd, at.name); err == nil {
		up.volume = w.volumeOf(fd)
		unix.Close(fd)
	}
}

// keyOf returns the key of the entry at.name of the directory up.
func (w *walker) keyOf(up *folder, at *place) fileKey {
	switch {
	case w.o.Cache == nil:
		return fileKey{}
	case at.parent == nil:
		return w.o.Cache.root
	}
	return fileKey{up.key, up.key.child(at.name)}
}

// store stores the entry at.name of the directory up, and fills in node except for its name. The error is errLeftOut if
// the entry is to be left out. Any other error ends the walk.
func (w *worker) store(up *folder, at *place, st *stat, node *store.Node) error {
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	switch st.kind() {
	case unix.S_IFREG:
		return w.file(up, at, st, node)
	case unix.S_IFLNK:
		return w.symlink(up.fd, at, node)
	case unix.S_IFDIR:
		return w.directory(up, at, st, node)
	}
	if st.kind() == unix.S_IFSOCK && at.parent != nil {
		w.sockets.add(at.path())
		return errLeftOut
	}
	w.problems.add(Problem{at.path(), specialError(st.special()), true})
	return errLeftOut
}

func (w *walker) exclude() {
	w.excluded.Add(1)
	w.o.Progress.Excluded.Add(1)
}

// problem records that an entry cannot be stored. If the walk was cancelled or the system is short of a resource, the
// error is not about the entry, and problem returns an error that ends the walk.
func (w *walker) problem(at *place, err error) error {
	switch {
	case w.ctx.Err() != nil:
		return context.Cause(w.ctx)
	case posix.IsShortage(err):
		return Problem{Path: at.path(), Err: err}
	}
	w.problems.add(Problem{Path: at.path(), Err: err})
	return errLeftOut
}

func (w *walker) symlink(dirfd int, at *place, node *store.Node) error {
	target, err := readlinkat(dirfd, at.name)
	if err == nil {
		err = store.ValidateTarget(target)
	}
	if err != nil {
		return w.problem(at, err)
	}
	node.Kind, node.Target = store.KindSymlink, target
	w.symlinks.Add(1)
	w.o.Progress.Symlinks.Add(1)
	return nil
}

// batchSize is how many entries of a directory a goroutine gets at once: enough to be worth a goroutine, and few enough
// that large files beside each other are read in parallel.
const batchSize = 16

// directory stores the directory at.name of up and everything below it.
func (w *worker) directory(up *folder, at *place, st *stat, node *store.Node) error {
	var dir store.Directory
	l, err := w.listing.begin(up.fd, at, st, &store.Node{Kind: store.KindDirectory})
	if err != nil {
		return w.problem(at, err)
	}
	if !w.o.OneFileSystem || st.dev == w.device {
		f, err := up.open(at)
		if err != nil {
			return w.problem(at, err)
		}
		defer f.close()
		f.key, f.lines, f.scratch = w.keyOf(up, at).path, l, w.newScratch()
		defer w.release(f.scratch)
		if f.volume = up.volume; !up.volume.is(st.dev) {
			f.volume = w.volumeOf(f.fd)
		}
		up.leave(f)
		dir, err = w.enter(f)
		if rerr := up.comeBack(f); rerr != nil {
			return rerr
		}
		if errors.Is(err, errLost) {
			err = w.problem(at, ErrChanged)
		}
		if err != nil {
			return err
		}
	} else {
		w.exclude()
	}
	size, err := dir.Size(w.o.SizeRule)
	if err != nil {
		return w.problem(at, err)
	}
	node.Kind, node.Size = store.KindDirectory, size
	w.directories.Add(1)
	w.o.Progress.Directories.Add(1)
	if w.scan != nil {
		return nil
	}
	if node.Digest, err = w.upload.Put(w.ctx, dir); err != nil {
		return fmt.Errorf("%s: %w", at.path(), err)
	}
	if at.block, err = l.end(true); err != nil {
		return fmt.Errorf("%s: listing: %w", at.path(), err)
	}
	return nil
}

// enter stores the entries of an open directory and returns their nodes, in order. They are in the scratch of f.
func (w *worker) enter(f *folder) (store.Directory, error) {
	buf := w.buffers.Get().(*[]byte)
	names, err := posix.AppendNames(f.names, f.fd, *buf)
	w.buffers.Put(buf)
	f.names = names
	if err != nil {
		return nil, w.problem(f.at, err)
	}
	slices.Sort(names)
	names = slices.Compact(names) // a directory that changes may list an entry twice
	w.hook(hookListed, f.at)
	if err := w.checkStore(f, names); err != nil {
		return nil, err
	}
	if names, err = w.only(f, names); err != nil {
		return nil, err
	}
	if names, err = w.patterns(f, names); err != nil {
		return nil, err
	}
	f.lines.expect(len(names))
	return w.entries(f, names)
}

// entries stores the entries names, which are sorted, of an open directory and returns their nodes.
func (w *worker) entries(f *folder, names []string) (store.Directory, error) {
	f.grow(len(names))
	var err error
	for from := 0; from < len(names) && err == nil; from += batchSize {
		to := min(from+batchSize, len(names))
		err = w.fork(&f.forks, f.alone() || to == len(names), func(w *worker) error {
			for i := from; i < to; i++ {
				f.nodes[i].Name, f.places[i] = names[i], place{parent: f.at, name: names[i]}
				if err := w.child(f, i); err != nil {
					return err
				}
				if w.hasWorked || i%batchSize == batchSize/2 {
					w.hasWorked = false
					runtime.Gosched() // saves half of the thread switches, and 7% of the time, but costs more than to look at a file
				}
			}
			return nil
		})
	}
	if err = cmp.Or(err, w.join(&f.forks)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(f.nodes, func(n store.Node) bool { return n.Kind == 0 }), nil
}

// child stores entry i of f, itself or in a goroutine. The node of an entry that is left out keeps kind 0.
func (w *worker) child(f *folder, i int) error {
	w.asks()
	at := &f.places[i]
	var st stat
	err := store.ValidateName(at.name) // some file systems have longer names
	if err == nil {
		err = st.at(f.fd, at.name)
	}
	if err != nil {
		return w.unlessLeftOut(w.problem(at, err), &f.nodes[i])
	}
	isDir := st.kind() == unix.S_IFDIR
	excluded := !f.ignored.Empty() && f.ignored.Match(at.inside(), isDir) || w.isTooLarge(&st)
	if excluded || w.o.OneFileSystem && !isDir && w.isElsewhere(f.fd, at.name, &st) {
		w.exclude()
		return nil
	}
	w.hook(hookFound, at)
	if !isDir {
		return w.storeListed(f, i, &st)
	}
	w.hasWorked = true
	of := st // a copy, so that only directories cost an allocation
	return w.fork(&f.forks, i == len(f.nodes)-1 || f.alone(), func(w *worker) error { return w.storeListed(f, i, &of) })
}

// storeListed stores entry i of f and adds it to the listing.
func (w *worker) storeListed(f *folder, i int, st *stat) error {
	at, node := &f.places[i], &f.nodes[i]
	err := w.store(f, at, st, node)
	if err == nil {
		if st.private() {
			w.private.Add(1)
		}
		if lerr := f.lines.add(i, f.fd, at, st, node); lerr != nil {
			err = w.problem(at, lerr)
		}
	}
	return w.unlessLeftOut(err, node)
}

// single notes a root that is a file or a symlink.
func (w *worker) single(up *folder, at *place, st *stat, node *store.Node) (*spooledBlock, error) {
	l, err := w.listing.begin(up.fd, at, st, node)
	if err != nil {
		return nil, w.problem(at, err)
	}
	return l.end(false)
}

// unlessLeftOut returns nil for an entry that is left out. An error that ends the walk stops the other goroutines.
func (w *walker) unlessLeftOut(err error, node *store.Node) error {
	switch {
	case errors.Is(err, errLeftOut):
		node.Kind = 0
		return nil
	case err != nil && !errors.Is(err, errLost):
		w.stop(err)
	}
	return err
}

// hookMoment is a moment of a walk at which a test may change the tree.
type hookMoment int

const (
	hookListed hookMoment = iota // after the names in a directory were read
	hookFound                    // after an entry was described, before it is stored
	hookOpened                   // after a file was opened, before it is read
	hookRead                     // after a file was read
)

func (w *walker) hook(m hookMoment, at *place) {
	if w.o.hook != nil {
		w.o.hook(m, at.path())
	}
}

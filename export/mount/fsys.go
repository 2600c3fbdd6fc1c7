//go:build linux

package mount

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"castar/store"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// What the caches may keep, in bytes.
const (
	keepDirectories = 24 << 20
	keepPieces      = 32 << 20
	keepFiles       = 8 << 20
	keepPlaces      = 4 << 20
)

// fsys answers for the entries of a mount. Its methods may be called concurrently.
type fsys struct {
	ctx     context.Context // ends with the mount
	st      *store.Store
	reports *reports

	tops        *tops
	directories *cache[contents, *directory]
	places      *cache[uint64, place] // of directories, by number
	files       *cache[contents, *file]
	pieces      *cache[contents, *piece]
	memory      sync.Pool // of *[]byte, for pieces of up to smallFile bytes

	lists    atomic.Uint32 // how often a directory below a root was listed
	lastFile atomic.Uint64 // the number of the small file that was read last from a remote store
	slots    chan struct{} // for what runs in the background
	running  sync.WaitGroup
}

// place is an entry of the mount.
type place struct {
	number uint64
	up     uint64 // the number of the directory that it is in
	top    *top   // that it is, or is below
	node   store.Node

	// Where the listing of top, if there is one, has it: the path of the directory that it is in, and if it is a directory
	// its own.
	dir, inside string
}

// folder reports whether it is a folder of roots.
func (p *place) folder() bool { return p.number == p.top.number && p.top.folder }

// errStale says that a number names nothing. The kernel asks only for what it was told, so it is rare.
var errStale = errors.New("stale inode number")

func newFsys(ctx context.Context, st *store.Store, root top, report func(path string, err error)) *fsys {
	fs := &fsys{
		ctx: ctx, st: st, tops: newTops(root), slots: make(chan struct{}, mostAhead),
		directories: newCache[contents](keepDirectories, (*directory).weight),
		places:      newCache[uint64](keepPlaces, func(p place) int64 { return 300 + int64(len(p.inside)) }),
		files:       newCache[contents](keepFiles, (*file).weight),
		pieces:      newCache[contents](keepPieces, (*piece).weight),
		reports:     &reports{tell: report, told: map[string]struct{}{}},
	}
	fs.files.dropped, fs.pieces.dropped = (*file).drop, (*piece).leave
	fs.memory.New = func() any {
		b := make([]byte, 0, smallFile)
		return &b
	}
	return fs
}

// list returns the entries of a directory.
func (fs *fsys) list(ctx context.Context, n store.Node) (*directory, error) {
	return fs.directories.get(ctx, contents{n.Digest, n.Size}, func() (*directory, error) {
		dir, err := fs.st.Directories.Get(ctx, n.Digest)
		if err != nil {
			return nil, store.About("directory", n.Digest, err)
		}
		fs.reports.answered()
		l, err := newDirectory(dir, n.Size)
		if err != nil {
			return nil, &store.CorruptError{Digest: n.Digest, Err: err}
		}
		return l, nil
	})
}

// find returns the entry that has a number. Those of directories are remembered: a walk from the root is long in a deep
// tree.
func (fs *fsys) find(ctx context.Context, number uint64) (place, error) {
	if p, ok := fs.places.peek(number); ok {
		return p, nil
	}
	p, err := fs.descend(ctx, number, nil)
	if err == nil && p.node.Kind == store.KindDirectory {
		fs.places.put(number, p)
	}
	return p, err
}

// descend is find by the way from the root. It calls enter, if that is not nil, with each name on the way.
func (fs *fsys) descend(ctx context.Context, number uint64, enter func(name string)) (p place, err error) {
	t := fs.tops.at(number)
	if t == nil {
		return p, errStale
	}
	for p = t.place(); p.number != number; {
		l, err := fs.list(ctx, p.node)
		if err != nil {
			return p, err
		}
		i := l.owner(number - p.number)
		if i < 0 {
			return p, errStale
		}
		p = p.entry(l, i)
		if enter != nil {
			enter(p.node.Name)
		}
	}
	return p, nil
}

// entry returns the entry i of a directory.
func (p *place) entry(l *directory, i int) place {
	e := place{number: p.number + l.offsets[i], up: p.number, top: p.top, node: l.entries[i], dir: p.inside}
	if e.node.Kind == store.KindDirectory && p.top.listing != (store.Digest{}) {
		e.inside = join(p.inside, e.node.Name)
	}
	return e
}

// path returns the path in the mount of what has a number, as far as it can be read.
func (fs *fsys) path(number uint64) string {
	t := fs.tops.at(number)
	if t == nil {
		return ""
	}
	path := t.path
	_, _ = fs.descend(fs.ctx, number, func(name string) { path = join(path, name) })
	return cmp.Or(path, ".")
}

// status returns what the kernel is told of an error that a request about a number met. The user is told once of each
// object that is damaged or missing, and of a store that does not answer.
func (fs *fsys) status(number uint64, err error) fuse.Status {
	switch {
	case err == nil:
		return fuse.OK
	case errors.Is(err, errStale):
		return fuse.Status(syscall.ESTALE)
	case isInterrupt(err):
		return fuse.EINTR
	}
	fs.reports.add(err, func() string { return fs.path(number) })
	return fuse.EIO
}

// panicked reports a fault of the program, and keeps it from ending the mount.
func (fs *fsys) panicked(reason any) fuse.Status {
	fs.reports.add(fmt.Errorf("panic: %v", reason), func() string { return "." })
	return fuse.EIO
}

package ingest

import (
	"errors"
	"slices"
	"strings"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// heldDepth is how deep a directory may be to keep its descriptor while the directories below it are walked. A deeper one
// closes it, so that a walk of any depth needs few descriptors, and belongs to one goroutine. Real trees are shallower:
// those of Linux and Go have 10 levels.
const heldDepth = 64

// errLost is the error for a deep directory to which there is no way back, because somebody moved a directory. Everything
// below the nearest directory that kept its descriptor is left out.
var errLost = errors.New("no way back to the directory")

// folder is an open directory of a walk, or unix.AT_FDCWD.
type folder struct {
	fd       int // or closed
	depth    int // 0 for the root
	dev, ino uint64
	volume   *volume // nil above the root
	key      pathKey // set if there is a cache

	at       *place       // nil above the root
	ignored  ignore.Stack // holds for its entries
	lines    *blockLines  // its part of the listing
	*scratch              // has its entries
	forks    forks        // work on its entries
}

const closed = -1000 // no descriptor, and not unix.AT_FDCWD of any system

// open opens the directory at.name in f. The error is ErrChanged if it is no longer a directory.
func (f *folder) open(at *place) (*folder, error) {
	if f.depth+1 >= store.MaxDepth {
		return nil, store.ErrTooDeep
	}
	fd, err := posix.OpenDir(f.fd, at.name)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		err = ErrChanged
	}
	return &folder{fd: fd, depth: f.depth + 1, at: at, ignored: f.ignored}, err
}

func (f *folder) close() {
	if f.fd != closed {
		unix.Close(f.fd)
		f.fd = closed
	}
}

// alone reports whether f belongs to one goroutine.
func (f *folder) alone() bool { return f.depth > heldDepth }

// leave closes f, if f is deep, while its child is walked. f stays open if the child does not lead back to it, or if
// inode numbers do not last, because then nothing would identify f afterwards.
func (f *folder) leave(child *folder) {
	var here, back stat
	if !f.alone() || here.of(f.fd) != nil || !f.volume.holds(&here) {
		return
	}
	if back.at(child.fd, "..") != nil || here.dev != back.dev || here.ino != back.ino {
		return
	}
	f.dev, f.ino = here.dev, here.ino
	f.close()
}

// comeBack opens f again if leave closed it. The error is errLost if the child no longer leads back, or a shortage.
func (f *folder) comeBack(child *folder) error {
	if f.fd != closed {
		return nil
	}
	if child.fd == closed {
		return errLost
	}
	fd, err := posix.OpenDir(child.fd, "..")
	if posix.IsShortage(err) {
		return err
	}
	if err != nil {
		return errLost
	}
	var st stat
	if st.of(fd) != nil || st.dev != f.dev || st.ino != f.ino {
		unix.Close(fd)
		return errLost
	}
	f.fd = fd
	return nil
}

// scratch is memory for the entries of a directory, which is used again for the next one. Otherwise it would be most of what
// a walk allocates, and each new page of memory costs as much as looking at a file.
type scratch struct {
	names  []string
	nodes  store.Directory
	places []place
}

// maxScratch is how many entries a scratch that is used again may have room for. It has about 130 bytes for each.
const maxScratch = 1024

// newScratch returns memory for a directory. Give it back with release, when nothing refers to it.
func (w *walker) newScratch() *scratch {
	if s, ok := w.scratches.Get().(*scratch); ok {
		return s
	}
	return new(scratch)
}

// grow gives s n entries, all of them zero.
func (s *scratch) grow(n int) {
	if cap(s.nodes) < n {
		s.nodes, s.places = make(store.Directory, n), make([]place, n)
	}
	s.nodes, s.places = s.nodes[:n], s.places[:n]
}

func (w *walker) release(s *scratch) {
	if max(cap(s.nodes), cap(s.names)) > maxScratch {
		return
	}
	clear(s.names) // what they refer to must not be kept
	clear(s.nodes)
	clear(s.places)
	s.names = s.names[:0]
	w.scratches.Put(s)
}

// place is the position of an entry in the tree, as a chain that ends at the root. A path is made from it only when it is
// needed.
type place struct {
	parent *place
	name   string
	block  *spooledBlock // of a directory that was stored, if there is a listing
}

// path returns the path as the user knows it: the path of the root as typed, continued down to the entry.
func (p *place) path() string {
	inside := p.inside()
	for p.parent != nil {
		p = p.parent
	}
	if inside == "" || strings.HasSuffix(p.name, "/") {
		return p.name + inside
	}
	return p.name + "/" + inside
}

// inside returns the path relative to the root, which is "".
func (p *place) inside() string {
	if p.parent == nil {
		return ""
	}
	if p.parent.parent == nil {
		return p.name
	}
	var names []string
	for ; p.parent != nil; p = p.parent {
		names = append(names, p.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

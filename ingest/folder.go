package ingest

import (
	"errors"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// heldDepth is how deep a directory may be and still keep its descriptor while those below it are walked. Deeper ones give
// it up, so that any depth is walked with few descriptors, and are left to one goroutine, whose own they are. Real trees
// are not so deep: those of Linux and Go have 10 levels.
const heldDepth = 64

// errLost says that the way back from a deep directory is gone, for somebody moved a directory on it. All up to the
// first one that kept its descriptor is left out.
var errLost = errors.New("lost")

// folder is an open directory of a walk, or unix.AT_FDCWD.
type folder struct {
	fd       int // or closed
	depth    int // 0 is the root's
	dev, ino uint64
	volume   *volume // nil above the root
	key      pathKey // if there is a cache
}

const closed = -1000 // no descriptor, and not unix.AT_FDCWD of any system

// open opens the directory name in f. Where something else has that name by now, the error is ErrChanged.
func (f *folder) open(name string) (*folder, error) {
	if f.depth+1 >= store.MaxDepth {
		return nil, store.ErrTooDeep
	}
	fd, err := posix.OpenDir(f.fd, name)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		err = ErrChanged
	}
	return &folder{fd: fd, depth: f.depth + 1}, err
}

func (f *folder) close() {
	if f.fd != closed {
		unix.Close(f.fd)
		f.fd = closed
	}
}

// alone reports whether one goroutine has f for itself.
func (f *folder) alone() bool { return f.depth > heldDepth }

// leave closes f while its child is walked if f is deep, and if the child leads back to it. Where inode numbers do not
// last, nothing would tell that it is the same directory: there f keeps its descriptor.
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

// comeBack opens f again if leave closed it. The error is errLost where the child does not lead back any more, or a
// shortage.
func (f *folder) comeBack(child *folder) error {
	if f.fd != closed {
		return nil
	}
	if child.fd == closed {
		return errLost
	}
	fd, err := posix.OpenDir(child.fd, "..")
	if isShortage(err) {
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

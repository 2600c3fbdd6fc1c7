package ingest

import (
	"errors"

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
var errLost = errors.New("lost")

// folder is an open directory of a walk, or unix.AT_FDCWD.
type folder struct {
	fd       int // or closed
	depth    int // 0 for the root
	dev, ino uint64
	volume   *volume // nil above the root
	key      pathKey // set if there is a cache
}

const closed = -1000 // no descriptor, and not unix.AT_FDCWD of any system

// open opens the directory name in f. The error is ErrChanged if it is no longer a directory.
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

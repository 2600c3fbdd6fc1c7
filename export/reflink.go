package export

import (
	"fmt"
	"sync/atomic"

	"castar/store"

	"golang.org/x/sys/unix"
)

// Reflink says whether new files share blocks with the files of the store.
type Reflink int

const (
	ReflinkAuto   Reflink = iota // where that is possible
	ReflinkAlways                // an error where the file system cannot do it
	ReflinkNever
)

// blockSize is the size of the blocks that files share, in bytes, in nearly all file systems.
const blockSize = 4 << 10

// reflinks is what an export knows of sharing blocks.
type reflinks struct {
	mode   Reflink
	failed atomic.Int32 // attempts since the last that succeeded
}

// enough is how many attempts may fail one after the other. Even on a file system that shares blocks, some files cannot: on
// btrfs those without checksums, and everywhere those below another mount point.
const enough = 16

// wanted reports whether an attempt is worthwhile.
func (r *reflinks) wanted() bool {
	return r.mode == ReflinkAlways || r.mode == ReflinkAuto && r.failed.Load() < enough
}

// clone makes n bytes of a file share blocks with an extent. It reports false if they must be written.
func (r *reflinks) clone(fd int, at uint64, x store.Extent, n uint64) (bool, error) {
	err := x.File.CloneTo(fd, int64(at), x.Offset, int64(n))
	switch {
	case err == nil:
		if r.failed.Load() > 0 {
			r.failed.Store(0)
		}
		return true, nil
	case r.mode == ReflinkAlways && err != unix.EINVAL: // which is about these bytes
		return false, reflinkError(err)
	}
	r.failed.Add(1)
	return false, nil
}

func reflinkError(err error) error { return fmt.Errorf("cannot share blocks with the store: %w", err) }

// checkReflink returns an error if ReflinkAlways is set and files in d cannot share blocks with the store. It leaves nothing
// in d. If d takes no file now, the first file will tell.
func (e *exporter) checkReflink(d *dir) error {
	if e.o.DryRun || e.reflinks.mode != ReflinkAlways {
		return nil
	}
	fd, err := d.nameless()
	if err != nil {
		name := tempName("")
		if fd, err = d.create(name, 0o600); err != nil {
			return nil
		}
		defer d.unlink(name)
	}
	defer closeFile(fd)
	if err := e.st.Clones(fd); err != nil {
		return reflinkError(err)
	}
	return nil
}

// WriteExtent implements store.ExtentWriter. The whole blocks of p are cloned, and what is before and after them is written.
// If the next extent goes on where this one ends, the block that has both is cloned with it.
func (w *fileWriter) WriteExtent(p []byte, x store.Extent) (int, error) {
	return w.count(w.add(p, func(p []byte) (int, error) {
		if shared, err := w.share(p, x); shared || err != nil {
			return len(p), err
		}
		return w.put(p)
	}))
}

// share clones the whole blocks of p, which lies at x. It reports false, and takes nothing of p, if p must be written.
func (w *fileWriter) share(p []byte, x store.Extent) (bool, error) {
	at := w.written
	if !w.links.wanted() || (uint64(x.Offset)-at)%blockSize != 0 {
		return false, nil
	}
	if w.sparse {
		if n, zero := runOf(p, at); zero || n < len(p) {
			return false, nil
		}
	}
	from, to := (at+blockSize-1)/blockSize*blockSize, (at+uint64(len(p)))/blockSize*blockSize
	if len(w.tail) > 0 && w.tailEnd == x {
		from = at - uint64(len(w.tail))
	}
	if from >= to {
		return false, nil
	}
	src := store.Extent{File: x.File, Offset: x.Offset + int64(from) - int64(at)}
	if ok, err := w.links.clone(w.fd, from, src, to-from); !ok {
		return false, err
	}
	if from < at {
		w.tail = w.tail[:0] // it is cloned
	} else if _, err := w.put(p[:from-at]); err != nil {
		return false, err
	}
	w.tail = append(w.tail, p[to-at:]...)
	w.tailEnd = store.Extent{File: x.File, Offset: x.Offset + int64(len(p))}
	w.hole = false
	w.done.Shared.Add(to - from)
	return true, nil
}

// flush writes the tail, which no clone has taken in.
func (w *fileWriter) flush() error {
	tail := w.tail
	w.tail = w.tail[:0]
	return writeAt(w.fd, tail, w.written-uint64(len(tail)))
}

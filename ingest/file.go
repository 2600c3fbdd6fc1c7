package ingest

import (
	"fmt"
	"io"
	"time"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

const (
	// smallFile is the largest size of a file that is read whole into a small buffer. Every goroutine can have one.
	smallFile = 128 << 10
	// mediumFile is the largest size of a file that is read whole into a medium buffer, one of a few. A larger file is
	// streamed to the store.
	mediumFile = 4 << 20
	// attempts is how often a file is read if it keeps changing.
	attempts = 3
)

// file stores a regular file of the directory up. It does not open a file that the cache knows and the store has.
func (w *worker) file(up *folder, at *place, st *stat, node *store.Node) error {
	if w.scan != nil {
		w.scan.TotalFiles.Add(1)
		w.scan.TotalBytes.Add(st.size)
		return nil
	}
	d, known, err := w.known(up, at, st)
	switch {
	case err != nil:
		return err
	case known:
		w.o.Progress.Unchanged.Add(1)
		w.o.Progress.Bytes.Add(st.size)
	case st.links > 1 && up.volume.holds(st):
		d, err = w.readOnce(up, at, st)
	default:
		d, err = w.readFile(up, at, st)
	}
	if err != nil {
		return err
	}
	*node = store.Node{Name: node.Name, Kind: store.KindFile, Digest: d, Size: st.size, Executable: st.executable()}
	w.files.Add(1)
	w.bytes.Add(st.size)
	w.o.Progress.Files.Add(1)
	return nil
}

// known returns the digest of a file if the cache knows it and the store has it, as far as is known yet: see presence.
func (w *worker) known(up *folder, at *place, st *stat) (d store.Digest, known bool, err error) {
	if w.o.Cache == nil {
		return d, false, nil
	}
	key := w.keyOf(up, at)
	d, known, fresh := w.o.Cache.lookup(key, up.volume, st)
	switch {
	case known && w.presence != nil:
		known = w.presence.believed(d)
	case known:
		known, err = w.blobs.Has(w.ctx, d)
	}
	if known && !fresh {
		w.o.Cache.add(key, up.volume, st, d, w.began)
	}
	return d, known, err
}

// readFile stores the contents of a file of the directory up. If the file changes, readFile reads it again, and gives up
// after some attempts. st describes the file, and is updated to describe it as it was throughout the last read.
func (w *worker) readFile(up *folder, at *place, st *stat) (d store.Digest, err error) {
	w.hasWorked = true
	var reason error
	for try := range attempts {
		begun := time.Now()
		fd, err := posix.OpenFile(up.fd, at.name)
		if err == unix.ELOOP { // it became a symlink
			err = ErrChanged
		}
		if err != nil {
			return d, w.problem(at, err)
		}
		r, rerr, serr := w.readOpen(fd, at, st, try == 0 && up.volume.holds(st))
		unix.Close(fd)
		switch {
		case serr != nil:
			return d, fmt.Errorf("%s: %w", at.path(), serr)
		case r.after.kind() != unix.S_IFREG:
			return d, w.problem(at, ErrChanged)
		case rerr != nil:
			return d, w.problem(at, rerr)
		case r.size == st.size && r.after.same(st):
			*st = r.after
			w.o.Cache.add(w.keyOf(up, at), up.volume, st, r.digest, begun)
			return r.digest, nil
		}
		w.o.Progress.Bytes.Add(-r.size) // to be read again
		reason = ErrChanged
		if r.after.same(st) { // such as a file in /proc
			reason = fmt.Errorf("%w: it reports a size of %d bytes", ErrChanged, st.size)
		}
		*st = r.after
	}
	return d, w.problem(at, reason)
}

// reading is what was read of a file.
type reading struct {
	digest store.Digest
	size   uint64
	after  stat // describes the file after the read
}

// readOpen stores the contents of the open file fd. It sets st to what the descriptor says before the read, because some
// file systems give a file a new inode number whenever its name is looked up. If byName is set, it saves that system call
// and takes st as it is, from the name. That is safe on a native file system, where the inode number tells whether the
// name still meant this file.
func (w *worker) readOpen(fd int, at *place, st *stat, byName bool) (r reading, rerr, serr error) {
	r.after = *st
	if !byName {
		if rerr = r.after.of(fd); rerr != nil || r.after.kind() != unix.S_IFREG {
			return r, rerr, nil
		}
		*st = r.after
	}
	w.hook(hookOpened, at)
	r.digest, r.size, rerr, serr = w.contents(fd, st.size)
	w.hook(hookRead, at)
	if err := r.after.of(fd); err != nil {
		return r, err, serr
	}
	if !byName {
		r.after.dev, r.after.ino = st.dev, st.ino // the descriptor is the same, so the file is
	}
	return r, rerr, serr
}

// contents stores the contents of an open file and returns their digest and length. rerr is an error of reading, which
// concerns the file, and serr an error of storing, which ends the walk.
func (w *worker) contents(fd int, size uint64) (d store.Digest, n uint64, rerr, serr error) {
	if size <= mediumFile {
		buffers := &w.buffers
		if size > smallFile {
			w.mediums <- struct{}{}
			defer func() { <-w.mediums }()
			buffers = &w.mediumBuffers
		}
		buf := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		data, rerr := readWhole(reader(fd), (*buf)[:size+1])
		w.o.Progress.Bytes.Add(uint64(len(data)))
		if rerr != nil || uint64(len(data)) != size {
			return d, uint64(len(data)), rerr, nil
		}
		w.answered()
		d, serr = w.blobs.Put(w.ctx, data)
		return d, size, nil, serr
	}
	w.answered()
	blob, serr := w.blobs.Create(w.ctx)
	if serr != nil {
		return d, 0, nil, serr
	}
	defer blob.Close()
	src := &input{ctx: w.ctx, r: io.LimitReader(reader(fd), int64(size)+1), bytes: &w.o.Progress.Bytes}
	written, err := io.CopyBuffer(blob, src, nil)
	n = uint64(written)
	if src.err != nil {
		return d, n, src.err, nil
	}
	if err != nil || n != size {
		return d, n, nil, err // without Commit, the blob leaves no trace
	}
	d, serr = blob.Commit()
	return d, n, nil, serr
}

// readWhole reads until buf is full or the file ends. buf is one byte longer than the file should be, to detect a longer
// file. When all but the last byte are filled, a short read has shown that the file ends, and readWhole does not read
// again.
func readWhole(r reader, buf []byte) ([]byte, error) {
	n := 0
	for n < len(buf) {
		m, err := r.Read(buf[n:])
		n += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if n == len(buf)-1 {
			break
		}
	}
	return buf[:n], nil
}

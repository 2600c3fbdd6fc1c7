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
	// smallFile is the length up to which a file is read into a buffer that every goroutine may have.
	smallFile = 128 << 10
	// mediumFile is the length up to which a file is read in one piece, into one of a few larger buffers. What is larger
	// goes to the store as it is read.
	mediumFile = 4 << 20
	// attempts is how often a file is read that changes meanwhile.
	attempts = 3
)

// file stores a regular file of the directory up. One that the cache knows, and whose blob the store has, is not opened.
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

// known returns the digest of a file if the cache knows it and the store has it.
func (w *worker) known(up *folder, at *place, st *stat) (d store.Digest, known bool, err error) {
	if w.o.Cache == nil {
		return d, false, nil
	}
	key := w.keyOf(up, at)
	d, known, fresh := w.o.Cache.lookup(key, up.volume, st)
	if known {
		known, err = w.blobs.Has(w.ctx, d)
	}
	if known && !fresh {
		w.o.Cache.add(key, up.volume, st, d, w.began)
	}
	return d, known, err
}

// readFile stores the contents of a file of the directory up. st is what is known of it, and afterwards what was true all
// the while it was read: a file that changed is read again, and given up where it will not hold still.
func (w *worker) readFile(up *folder, at *place, st *stat) (d store.Digest, err error) {
	var reason error
	for try := range attempts {
		begun := time.Now()
		fd, err := posix.OpenFile(up.fd, at.name)
		if err == unix.ELOOP { // a symlink by now
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
		if r.after.same(st) { // as in /proc
			reason = fmt.Errorf("%w: its size is given as %d bytes", ErrChanged, st.size)
		}
		*st = r.after
	}
	return d, w.problem(at, reason)
}

// reading is what was read of a file.
type reading struct {
	digest store.Digest
	size   uint64
	after  stat // what the file was afterwards
}

// readOpen stores what the open file fd holds. What the file was before is in st. That is asked of the descriptor, as
// some file systems number a file anew whenever its name is looked up. Only where byName is set, for the first attempt on
// a native one, is that system call saved, and st is what the name told: there its number says which file it was.
func (w *worker) readOpen(fd int, at *place, st *stat, byName bool) (r reading, rerr, serr error) {
	r.after = *st
	if !byName {
		if rerr = r.after.of(fd); rerr != nil || r.after.kind() != unix.S_IFREG {
			return r, rerr, nil
		}
		*st = r.after
	}
	w.hook(stepOpened, at)
	r.digest, r.size, rerr, serr = w.contents(fd, st.size)
	w.hook(stepRead, at)
	if err := r.after.of(fd); err != nil {
		return r, err, serr
	}
	if !byName {
		r.after.dev, r.after.ino = st.dev, st.ino // it is one file, whatever they say
	}
	return r, rerr, serr
}

// contents stores what an open file holds and returns its length. Errors of reading and of storing are told apart, for
// the one is the file's and the other the store's.
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
		w.stores()
		d, serr = w.blobs.Put(w.ctx, data)
		return d, size, nil, serr
	}
	w.stores()
	blob, serr := w.blobs.Create(w.ctx)
	if serr != nil {
		return d, 0, nil, serr
	}
	defer blob.Close()
	src := &source{w: w.walker, r: reader(fd), left: size + 1}
	written, err := io.CopyBuffer(blob, src, nil)
	n = uint64(written)
	if src.err != nil {
		return d, n, src.err, nil
	}
	if err != nil || n != size {
		return d, n, nil, err // a blob that is not committed leaves no trace
	}
	d, serr = blob.Commit()
	return d, n, nil, serr
}

// readWhole reads until buf is full or the file ends. The last byte of buf is for one more than the file should have:
// where all others are filled, it is not asked for. A read that is short ends a regular file.
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

// source reads at most left bytes for as long as the walk goes on, and keeps the error that r ended with.
type source struct {
	w    *walker
	r    reader
	left uint64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	if err := s.w.ctx.Err(); err != nil {
		s.err = err
		return 0, err
	}
	n, err := s.r.Read(p[:min(uint64(len(p)), s.left)])
	s.left -= uint64(n)
	s.w.o.Progress.Bytes.Add(uint64(n))
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

package packed

import (
	"context"
	"errors"
	"io"
	"sync"

	"castar/store"
)

// segmentSize is how much of a blob is cut into chunks at a time, and is compressed by one goroutine while the next
// is read. It is a few chunks, so that little of it is carried over to the next.
const segmentSize = 4 << 20

// writer implements store.BlobWriter. It hashes and cuts what is written; the chunks of each full segment are hashed,
// compressed and stored by goroutines of their own, as many as the store has slots, so that the result does not depend
// on how many there are.
type writer struct {
	st   *Store
	lane int
	ctx  context.Context
	hash store.Hasher
	buf  []byte // what is not yet handed on

	segments []*[]store.Chunk // in order; each filled by its goroutine
	working  sync.WaitGroup
	mu       sync.Mutex
	err      error // of a goroutine

	committed bool
	closed    bool
	digest    store.Digest
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		space, err := w.space()
		if err != nil {
			return n, err
		}
		m := copy(space, p)
		w.took(m)
		p = p[m:]
		n += m
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom, so that io.Copy reads straight into the segment.
func (w *writer) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		space, err := w.space()
		if err != nil {
			return n, err
		}
		m, err := r.Read(space)
		w.took(m)
		n += int64(m)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// space returns the free end of the segment. Where it is full, it is handed on first.
func (w *writer) space() ([]byte, error) {
	if w.committed || w.closed {
		return nil, errors.New("write after the blob was ended")
	}
	if err := w.failed(); err != nil {
		return nil, err
	}
	switch {
	case len(w.buf) == cap(w.buf) && 8*cap(w.buf) < segmentSize:
		// Small blobs are many: their segment grows as they do.
		w.buf = append(make([]byte, 0, max(64<<10, 8*cap(w.buf))), w.buf...)
	case len(w.buf) == cap(w.buf) && cap(w.buf) < segmentSize:
		w.buf = append(w.st.segment(), w.buf...)
	case len(w.buf) == segmentSize:
		if err := w.flush(false); err != nil {
			return nil, err
		}
	}
	return w.buf[len(w.buf):cap(w.buf)], nil
}

func (w *writer) took(n int) {
	w.hash.Write(w.buf[len(w.buf):][:n])
	w.buf = w.buf[:len(w.buf)+n]
}

// segment returns an empty segment.
func (st *Store) segment() []byte {
	if b, ok := st.segments.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, segmentSize)
}

// reuse gives a segment back, unless it never grew to be one.
func (st *Store) reuse(b *[]byte) {
	if cap(*b) >= segmentSize {
		st.segments.Put(b)
	}
}

// failed returns the first error of the goroutines or of the context.
func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	return w.err
}

// flush cuts the segment into chunks and has them stored. What may go on in bytes yet to come is kept, unless it is the
// last of the blob.
func (w *writer) flush(last bool) error {
	if err := w.st.checkpoint(); err != nil {
		return err
	}
	whole, rest := w.buf, w.buf
	var lengths []int
	for len(rest) >= w.st.cutter.Params().Max || last && len(rest) > 0 {
		n := w.st.cutter.Cut(rest)
		lengths = append(lengths, n)
		rest = rest[n:]
	}
	w.buf = nil
	if !last {
		w.buf = append(w.st.segment(), rest...)
	}
	chunks := make([]store.Chunk, len(lengths))
	w.segments = append(w.segments, &chunks)
	select {
	case w.st.slots <- struct{}{}:
	case <-w.ctx.Done():
		return w.failed()
	}
	w.working.Go(func() {
		defer func() { <-w.st.slots }()
		defer w.st.reuse(&whole)
		segment := whole
		for i, n := range lengths {
			d := store.Sum(segment[:n])
			chunks[i] = store.Chunk{Digest: d, Size: uint64(n)}
			if err := w.st.put(kindData, w.lane, d, segment[:n], true); err != nil {
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.err == nil {
					w.err = err
				}
				return
			}
			segment = segment[n:]
		}
	})
	return nil
}

// Commit implements store.BlobWriter.
func (w *writer) Commit() (store.Digest, error) {
	if w.committed {
		return w.digest, nil
	}
	if w.closed {
		return store.Digest{}, errors.New("commit of a blob that was discarded")
	}
	if err := w.failed(); err != nil {
		return store.Digest{}, err
	}
	d := w.hash.Sum()
	if err := w.finish(d); err != nil {
		return store.Digest{}, err
	}
	w.committed, w.digest, w.buf, w.segments = true, d, nil, nil
	return d, nil
}

// finish stores what is left of the blob d.
func (w *writer) finish(d store.Digest) error {
	if len(w.segments) == 0 && (len(w.buf) <= w.st.cutter.Params().Min || w.st.cutter.Cut(w.buf) == len(w.buf)) {
		return w.st.putWhole(kindData, w.lane, d, w.buf)
	}
	if err := w.flush(true); err != nil {
		return err
	}
	w.working.Wait()
	if err := w.failed(); err != nil {
		return err
	}
	var chunks []store.Chunk
	for _, s := range w.segments {
		chunks = append(chunks, *s...)
	}
	list := appendList(nil, chunks)
	return w.st.putWhole(kindList, 0, d, list)
}

// Close implements store.BlobWriter.
func (w *writer) Close() error {
	w.working.Wait()
	w.closed, w.buf, w.segments = true, nil, nil
	return nil
}

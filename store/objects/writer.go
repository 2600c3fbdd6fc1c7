package objects

import (
	"context"
	"errors"
	"sync"

	"castar/store"
)

// writer implements store.BlobWriter. What is written is cut in order; the chunks are hashed, compressed and stored by
// goroutines of their own.
type writer struct {
	b    *blobs
	ctx  context.Context
	hash store.Hasher
	buf  []byte // not yet cut

	chunks  []*store.Chunk // each filled by its goroutine
	working sync.WaitGroup
	mu      sync.Mutex
	err     error // of a goroutine

	committed, closed bool
	digest            store.Digest
}

// bufferedChunks is how many of the longest chunks a writer gathers before it cuts.
const bufferedChunks = 4

var errEnded = errors.New("blob has ended")

// Write implements io.Writer.
func (w *writer) Write(p []byte) (n int, err error) {
	if w.committed || w.closed {
		return 0, errEnded
	}
	most := bufferedChunks * w.b.cutter.Params().Max
	for len(p) > 0 {
		m := min(len(p), most-len(w.buf))
		w.hash.Write(p[:m])
		w.buf = append(w.buf, p[:m]...)
		p = p[m:]
		n += m
		if len(w.buf) == most {
			if err := w.cut(false); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// cut has the chunks in the buffer stored. What may go on in bytes yet to come is kept, unless it is the last of the
// blob; and so is what may turn out to be all of it, for that is not a part of something else.
func (w *writer) cut(last bool) error {
	rest := w.buf
	for len(rest) > w.b.cutter.Params().Max || last && len(rest) > 0 {
		n := w.b.cutter.Cut(rest)
		if err := w.start(append([]byte(nil), rest[:n]...)); err != nil {
			return err
		}
		rest = rest[n:]
	}
	w.buf = w.buf[:copy(w.buf, rest)]
	return nil
}

// start has one chunk stored. It waits while too many are.
func (w *writer) start(data []byte) error {
	if err := w.failed(); err != nil {
		return err
	}
	select {
	case w.b.work <- struct{}{}:
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
	c := &store.Chunk{Size: uint64(len(data))}
	w.chunks = append(w.chunks, c)
	w.working.Go(func() {
		defer func() { <-w.b.work }()
		c.Digest = store.Sum(data)
		if err := w.b.putChunk(w.ctx, c.Digest, data); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.err = err
		}
	})
	return nil
}

// failed returns an error of the goroutines or of the context.
func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	return w.ctx.Err()
}

// Commit implements store.BlobWriter.
func (w *writer) Commit() (store.Digest, error) {
	if w.committed {
		return w.digest, nil
	}
	if w.closed {
		return store.Digest{}, errEnded
	}
	if err := w.failed(); err != nil {
		return store.Digest{}, err
	}
	d := w.hash.Sum()
	if err := w.finish(d); err != nil {
		return store.Digest{}, err
	}
	w.committed, w.digest, w.buf, w.chunks = true, d, nil, nil
	return d, nil
}

// finish stores what is left of the blob d, and its record.
func (w *writer) finish(d store.Digest) error {
	had, err := w.b.records.had(w.ctx, d)
	if err != nil {
		return err
	}
	if had {
		w.working.Wait()
		return w.failed()
	}
	if len(w.chunks) == 0 && w.b.cutter.Cut(w.buf) == len(w.buf) {
		return w.b.putWhole(w.ctx, d, w.buf)
	}
	if err := w.cut(true); err != nil {
		return err
	}
	w.working.Wait()
	if err := w.failed(); err != nil {
		return err
	}
	chunks := make([]store.Chunk, len(w.chunks))
	for i, c := range w.chunks {
		chunks[i] = *c
	}
	return w.b.putRecord(w.ctx, d, chunks)
}

// Close implements store.BlobWriter.
func (w *writer) Close() error {
	w.working.Wait()
	w.closed, w.buf, w.chunks = true, nil, nil
	return nil
}

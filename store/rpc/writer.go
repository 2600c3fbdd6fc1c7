package rpc

import (
	"context"
	"errors"

	"castar/store"
	"castar/store/chunk"
)

// Create returns a writer that sends what the server lacks.
func (b blobs) Create(ctx context.Context) (store.BlobWriter, error) {
	return &writer{b: b, ctx: ctx}, nil
}

// errEnded is the error of a writer that is used after Commit or Close.
var errEnded = errors.New("blob has ended")

// writer implements store.BlobWriter. It keeps a blob that is short enough for Put, and passes a longer one on as it comes.
type writer struct {
	b    blobs
	ctx  context.Context
	buf  []byte           // of a short blob
	long store.BlobWriter // of a long one; nil: the blob is short so far

	err       error // that ended it
	digest    store.Digest
	committed bool
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (n int, err error) {
	if w.err == nil {
		n, w.err = w.take(p)
	}
	return n, w.err
}

func (w *writer) take(p []byte) (n int, err error) {
	if w.long == nil && len(w.buf)+len(p) <= inlineSize {
		if w.buf == nil {
			w.buf = make([]byte, 0, inlineSize)
		}
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	if w.long == nil {
		if w.long, err = w.b.long(w.ctx); err != nil {
			return 0, err
		}
		if _, err := w.long.Write(w.buf); err != nil {
			return 0, err
		}
		w.buf = nil
	}
	return w.long.Write(p)
}

// Commit implements store.BlobWriter.
func (w *writer) Commit() (store.Digest, error) {
	if w.committed {
		return w.digest, nil
	}
	if w.err == nil {
		w.digest, w.err = w.commit()
	}
	if w.err != nil {
		return store.Digest{}, w.err
	}
	w.committed, w.err = true, errEnded
	return w.digest, nil
}

func (w *writer) commit() (store.Digest, error) {
	if w.long == nil {
		return w.b.Put(w.ctx, w.buf)
	}
	return w.long.Commit()
}

// Close implements store.BlobWriter.
func (w *writer) Close() error {
	w.buf = nil
	if w.err == nil {
		w.err = errEnded
	}
	if w.long == nil {
		return nil
	}
	return w.long.Close()
}

// long returns a writer for a long blob: in chunks if the server takes them, and otherwise as one stream.
func (b blobs) long(ctx context.Context) (store.BlobWriter, error) {
	if err := b.c.outbox.ready(ctx); err != nil {
		return nil, err
	}
	if pool := b.c.outbox.pool; pool != nil {
		return chunk.NewWriter(ctx, pool, sink{b, ctx}), nil
	}
	return newSpoolWriter(b.c, ctx), nil
}

// sink implements chunk.Sink. It sends one blob in chunks: see join.go.
type sink struct {
	b   blobs
	ctx context.Context
}

func (s sink) Ready() error { return nil }

// Has says no. Only the server knows, and the outbox asks it about many chunks at once.
func (s sink) Has(store.Digest) (bool, error) { return false, nil }

func (s sink) PutChunk(_ store.Digest, data []byte) error {
	_, err := s.b.Put(s.ctx, data)
	return err
}

func (s sink) PutWhole(d store.Digest, data []byte) error { return s.PutChunk(d, data) }

func (s sink) PutList(d store.Digest, chunks []store.Chunk) error {
	return s.b.c.outbox.join(s.ctx, d, chunks)
}

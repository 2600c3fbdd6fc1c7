package rpc

import (
	"context"
	"errors"

	"castar/store"
)

// Create returns a writer that sends what the server lacks; of which sink says how.
func (b blobs) Create(ctx context.Context) (store.BlobWriter, error) {
	return &writer{b: b, ctx: ctx}, nil
}

// sink is where a blob goes that is longer than what is put in one piece, in order.
type sink interface {
	// take takes bytes from the beginning of data, all of them if they are the last ones, and returns the rest. It keeps
	// none of them.
	take(data []byte, last bool) ([]byte, error)
	// finish stores the blob, of which all was taken, under its digest.
	finish(d store.Digest) error
	// close discards what was not stored.
	close()
}

// newSink returns the sink of a new blob: chunks where the server takes them, and otherwise a file.
func (b blobs) newSink(ctx context.Context) (sink, error) {
	if err := b.c.flight.ready(ctx); err != nil {
		return nil, err
	}
	if b.c.flight.cutter != nil {
		return &pieces{b: b, ctx: ctx}, nil
	}
	return newHeld(b.c, ctx), nil
}

// errEnded is the error of a writer that is used after Commit or Close.
var errEnded = errors.New("blob has ended")

// writer implements store.BlobWriter.
type writer struct {
	b    blobs
	ctx  context.Context
	hash store.Hasher // of what was taken
	buf  []byte       // what was not taken yet
	to   sink         // nil: nothing was

	err       error // that ended it
	digest    store.Digest
	committed bool
}

func (w *writer) Write(p []byte) (n int, err error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.buf == nil {
		w.buf = make([]byte, 0, inlineSize)
	}
	for n < len(p) && w.err == nil {
		if len(w.buf) == cap(w.buf) {
			w.err = w.flush(false)
			continue
		}
		k := min(len(p)-n, cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[n:n+k]...)
		n += k
	}
	return n, w.err
}

// flush hands on what is in the buffer: all of it if it is the last, and otherwise at least some.
func (w *writer) flush(last bool) (err error) {
	if w.to == nil {
		if w.to, err = w.b.newSink(w.ctx); err != nil {
			return err
		}
	}
	rest, err := w.to.take(w.buf, last)
	if err != nil {
		return err
	}
	w.hash.Write(w.buf[:len(w.buf)-len(rest)])
	w.buf = w.buf[:copy(w.buf, rest)]
	return nil
}

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
	w.committed = true
	w.err = errEnded
	return w.digest, nil
}

func (w *writer) commit() (store.Digest, error) {
	if w.to == nil {
		return w.b.Put(w.ctx, w.buf)
	}
	if err := w.flush(true); err != nil {
		return store.Digest{}, err
	}
	d := w.hash.Sum()
	return d, w.to.finish(d)
}

func (w *writer) Close() error {
	if w.to != nil {
		w.to.close()
		w.to = nil
	}
	w.buf = nil
	if w.err == nil {
		w.err = errEnded
	}
	return nil
}

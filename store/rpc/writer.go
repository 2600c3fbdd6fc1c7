package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"castar/protos"
	"castar/store"
	"castar/store/chunk"
	"castar/store/posix"
	"castar/store/rpc/internal/wire"
)

// Create returns a writer that sends what the server lacks.
func (b blobs) Create(ctx context.Context) (store.BlobWriter, error) {
	w := &writer{b: b, ctx: ctx}
	w.once = sync.OnceValues(w.commit)
	return w, nil
}

// errEnded is the error of a writer that is used after Commit or Close.
var errEnded = errors.New("blob has ended")

// writer implements store.BlobWriter. It keeps a blob that is short enough for Put, and passes a longer one on as it comes.
type writer struct {
	b    blobs
	ctx  context.Context
	buf  []byte           // of a short blob
	long store.BlobWriter // of a long one; nil: the blob is short so far
	err  error            // that ended it
	once func() (store.Digest, error)
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
func (w *writer) Commit() (store.Digest, error) { return w.once() }

func (w *writer) commit() (store.Digest, error) {
	if w.err != nil {
		return store.Digest{}, w.err
	}
	w.err = errEnded
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
	return &spoolWriter{c: b.c, ctx: ctx, kept: spool{most: inlineSize}}, nil
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

// spooled is a checked blob in a nameless file.
type spooled struct {
	*io.SectionReader
	file *os.File
}

func (s spooled) Size() uint64 { return uint64(s.SectionReader.Size()) }
func (s spooled) Close() error {
	if err := s.file.Close(); !errors.Is(err, os.ErrClosed) {
		return err
	}
	return nil
}

func (s spooled) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{s.SectionReader})
}

// spool reads the rest of a stream into a file, and checks it.
func (c *client) spool(d store.Digest, head []byte, rest *stream) (_ store.Blob, err error) {
	f, err := posix.Nameless("")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	var h store.Hasher
	to := io.MultiWriter(&h, f)
	size := int64(0)
	for data := head; err == nil; data, err = rest.recv() {
		if size += int64(len(data)); size > c.maxSpool {
			return nil, corrupt(d, fmt.Errorf("longer than %d bytes, without chunks or a proof", c.maxSpool))
		}
		if _, err := to.Write(data); err != nil {
			return nil, err
		}
	}
	if err != io.EOF {
		return nil, fromStatus(err, d)
	}
	if h.Sum() != d {
		return nil, corrupt(d, store.ErrDigestMismatch)
	}
	return spooled{io.NewSectionReader(f, 0, size), f}, nil
}

// spoolWriter keeps a long blob until its digest is known, and then sends it if the server lacks it. A blob longer than
// maxSpool, or than the disk has room for, is sent without asking. It implements store.BlobWriter, but Commit may be called
// only once.
type spoolWriter struct {
	c    *client
	ctx  context.Context
	hash store.Hasher
	kept spool // until the blob is being sent

	call   *call // nil: nothing was sent
	stream blobStream
}

func (w *spoolWriter) Write(p []byte) (n int, err error) {
	w.hash.Write(p)
	if w.call == nil {
		if w.kept.size()+int64(len(p)) <= w.c.maxSpool && w.kept.add(p) == nil {
			return len(p), nil
		}
		w.call = w.c.begin(w.ctx)
		if w.stream, err = w.c.blobs.Put(w.call.ctx); err == nil {
			err = w.sendKept(w.call, w.stream)
		}
		w.kept.drop()
	}
	if err == nil {
		n, err = sender{w.call, w.stream}.Write(p)
	}
	if err != nil {
		err = fromStatus(w.call.why(sendError(w.stream, err)), store.Digest{})
	}
	return n, err
}

// sendKept sends what is kept.
func (w *spoolWriter) sendKept(k *call, stream blobStream) error {
	_, err := io.CopyBuffer(sender{k, stream}, struct{ io.Reader }{w.kept.reader()}, make([]byte, wire.FrameSize))
	return err
}

func (w *spoolWriter) Commit() (store.Digest, error) {
	d := w.hash.Sum()
	if w.call != nil {
		return d, fromStatus(w.call.finish(w.stream, nil, new(protos.PutBlobResponse), d, w.c.acked(d)), d)
	}
	lacks, err := blobs{c: w.c}.lacks(w.ctx, d)
	if err != nil || !lacks {
		return d, err
	}
	return d, w.c.putStream(w.ctx, d, w.sendKept)
}

func (w *spoolWriter) Close() error {
	w.kept.drop()
	if w.call != nil {
		w.call.end()
	}
	return nil
}

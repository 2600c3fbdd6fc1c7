package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// Some blobs must be seen whole before anything can be done with them. One that comes without chunks or a proof must be
// checked first, and one that is sent as one stream needs its digest first. Such a blob is spooled to a nameless file.

// nameless returns a new file without a name. Closing it removes it.
func nameless() (*os.File, error) {
	f, err := os.CreateTemp("", "castar-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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
	f, err := nameless()
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

// spoolWriter keeps a long blob in a nameless file until its digest is known, and then sends it if the server lacks it. A
// blob longer than maxSpool, or than the disk has room for, is sent without asking. It implements store.BlobWriter, but
// Commit may be called only once.
type spoolWriter struct {
	c    *client
	ctx  context.Context
	hash store.Hasher
	file *os.File // nil: none could be made, or the blob is being sent
	size int64    // of the file

	call   *call // nil: nothing was sent
	stream blobStream
}

func newSpoolWriter(c *client, ctx context.Context) *spoolWriter {
	w := &spoolWriter{c: c, ctx: ctx}
	w.file, _ = nameless() // without one the blob is sent at once
	return w
}

func (w *spoolWriter) Write(p []byte) (int, error) {
	w.hash.Write(p)
	if w.call == nil && w.file != nil && w.size+int64(len(p)) <= w.c.maxSpool {
		if _, err := w.file.Write(p); err == nil {
			w.size += int64(len(p))
			return len(p), nil
		}
	}
	if w.call == nil {
		if err := w.begin(); err != nil {
			return 0, err
		}
	}
	if err := w.explain(sendBytes(w.call, w.stream, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// begin begins to send the blob without knowing its digest, first what the file has.
func (w *spoolWriter) begin() (err error) {
	w.call = w.c.begin(w.ctx)
	if w.stream, err = w.c.blobs.Put(w.call.ctx); err == nil {
		err = w.sendFile(w.call, w.stream)
	}
	w.closeFile()
	return w.explain(err)
}

// explain returns why sending failed, if it did.
func (w *spoolWriter) explain(err error) error {
	if err != nil {
		err = w.call.why(sendError(w.stream, err))
	}
	return fromStatus(err, store.Digest{})
}

// sendFile sends what the file has.
func (w *spoolWriter) sendFile(k *call, stream blobStream) error {
	from, buf := io.NewSectionReader(w.file, 0, w.size), make([]byte, wire.FrameSize)
	for {
		n, err := from.Read(buf)
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = sendBytes(k, stream, buf[:n])
		}
		if err != nil {
			return err
		}
	}
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
	return d, w.c.putStream(w.ctx, d, w.sendFile)
}

func (w *spoolWriter) closeFile() {
	if w.file != nil {
		w.file.Close()
		w.file = nil
	}
}

func (w *spoolWriter) Close() error {
	w.closeFile()
	if w.call != nil {
		w.call.end()
	}
	return nil
}

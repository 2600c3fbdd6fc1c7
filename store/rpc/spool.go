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

// A blob that must be seen whole before anything can be done with it is kept in a file without a name: one that comes
// without chunks or a proof until it is checked, and one that goes to a server without chunks until its digest is known.

// nameless returns a new file without a name, which ends when it is closed.
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

// spooled is a blob that is in a file without a name, and checked.
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

// held is a long blob that is kept in a file without a name until its digest is known, and then sent if the server lacks
// it. One that is longer than maxSpool, or that the file has no room for, is sent without asking. It implements
// store.BlobWriter, but Commit may be called only once.
type held struct {
	c    *client
	ctx  context.Context
	hash store.Hasher
	file *os.File // nil: there is none, or none any more
	size int64    // of what is in it

	call   *call // nil: nothing was sent
	stream blobStream
}

func newHeld(c *client, ctx context.Context) *held {
	h := &held{c: c, ctx: ctx}
	h.file, _ = nameless() // without one the blob is sent at once
	return h
}

func (h *held) Write(p []byte) (int, error) {
	h.hash.Write(p)
	if h.call == nil && h.file != nil && h.size+int64(len(p)) <= h.c.maxSpool {
		if _, err := h.file.Write(p); err == nil {
			h.size += int64(len(p))
			return len(p), nil
		}
	}
	if h.call == nil {
		if err := h.begin(); err != nil {
			return 0, err
		}
	}
	if err := h.explain(sendBytes(h.call, h.stream, p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// begin begins to send the blob, of which the digest is not known, and sends what the file has.
func (h *held) begin() error {
	s, err := h.c.blobs.get(h.ctx)
	if err != nil {
		return err
	}
	h.call = h.c.begin(h.ctx)
	if h.stream, err = s.Put(h.call.ctx); err == nil {
		err = h.sendFile(h.call, h.stream)
	}
	h.closeFile()
	return h.explain(err)
}

// explain returns why sending failed, if it did.
func (h *held) explain(err error) error {
	if err != nil {
		err = h.call.why(sendError(h.stream, err))
	}
	return fromStatus(err, store.Digest{})
}

// sendFile sends what the file has.
func (h *held) sendFile(k *call, stream blobStream) error {
	from, buf := io.NewSectionReader(h.file, 0, h.size), make([]byte, wire.FrameSize)
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

func (h *held) Commit() (store.Digest, error) {
	d := h.hash.Sum()
	if h.call != nil {
		return d, fromStatus(h.c.endPut(h.call, h.stream, new(protos.PutBlobResponse), nil, d), d)
	}
	lacks, err := blobs{c: h.c}.lacks(h.ctx, d)
	if err != nil || !lacks {
		return d, err
	}
	return d, h.c.putStream(h.ctx, d, h.sendFile)
}

func (h *held) closeFile() {
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}

func (h *held) Close() error {
	h.closeFile()
	if h.call != nil {
		h.call.end()
	}
	return nil
}

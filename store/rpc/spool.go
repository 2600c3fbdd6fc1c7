package rpc

import (
	"context"
	"io"
	"os"

	"castar/protos"
	"castar/store"
)

// held is a long blob that is kept in a file without a name until its digest is known, and then sent if the server lacks
// it. One that is longer than maxSpool, or that the file has no room for, is sent without asking. It implements sink.
type held struct {
	c    *client
	ctx  context.Context
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

func (h *held) take(data []byte, _ bool) ([]byte, error) {
	if h.call == nil && h.file != nil && h.size+int64(len(data)) <= h.c.maxSpool {
		if _, err := h.file.Write(data); err == nil {
			h.size += int64(len(data))
			return nil, nil
		}
	}
	if h.call == nil {
		if err := h.begin(); err != nil {
			return nil, err
		}
	}
	return nil, h.explain(sendBytes(h.call, h.stream, data))
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
	if h.size == 0 {
		return nil
	}
	from, buf := io.NewSectionReader(h.file, 0, h.size), make([]byte, frameSize)
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

func (h *held) finish(d store.Digest) error {
	if h.call != nil {
		return fromStatus(h.c.endPut(h.call, h.stream, new(protos.PutBlobResponse), nil, d), d)
	}
	if h.c.known.has(d) {
		return nil
	}
	has, err := blobs{c: h.c}.Has(h.ctx, d)
	if err != nil {
		return err
	}
	if has {
		h.c.known.add(d)
		return nil
	}
	s, err := h.c.blobs.get(h.ctx)
	if err != nil {
		return err
	}
	return fromStatus(h.c.retry(h.ctx, func(k *call) error {
		stream, err := s.Put(k.ctx)
		if err != nil {
			return err
		}
		return h.c.endPut(k, stream, new(protos.PutBlobResponse), h.sendFile(k, stream), d)
	}), d)
}

func (h *held) closeFile() {
	if h.file != nil {
		h.file.Close()
		h.file = nil
	}
}

func (h *held) close() {
	h.closeFile()
	if h.call != nil {
		h.call.end()
	}
}

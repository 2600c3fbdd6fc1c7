package rpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"castar/protos"
	"castar/store"
)

// blobs implements store.Blobs.
type blobs struct {
	c    *client
	lane int
}

// Lane implements store.Laner.
func (b blobs) Lane() store.Blobs { return blobs{b.c, int(b.c.lanes.Add(1) % laneCount)} }

// errEarly says that a server answered before it had been sent everything.
var errEarly = errors.New("the server ended the call before it had everything")

// sameDigest checks the digest in an answer to Put.
func sameDigest(got []byte, want store.Digest) error {
	d, err := store.DigestFromBytes(got)
	if err == nil && d != want {
		err = fmt.Errorf("%w: the server calls it %s", store.ErrDigestMismatch, d)
	}
	if err != nil {
		return &store.CorruptError{Digest: want, Where: "the server", Err: err}
	}
	return nil
}

// Has asks the server each time.
func (b blobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	if err := b.c.flight.landed(ctx, d); err != nil {
		return false, err
	}
	var headers metadata.MD
	_, err := b.c.stat(ctx, &protos.StatBlobRequest{Digest: d[:]}, grpc.Header(&headers))
	if store.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_ = b.c.ledger.claim(instanceOf(headers)) // if it was restarted, this is still true: who stores will be told
	return true, nil
}

func (c *client) stat(ctx context.Context, req *protos.StatBlobRequest, o ...grpc.CallOption) (resp *protos.StatBlobResponse, err error) {
	s, err := c.blobs.get(ctx)
	if err != nil {
		return nil, err
	}
	err = c.retry(ctx, func(k *call) (err error) {
		resp, err = s.Stat(k.ctx, req, o...)
		return err
	})
	return resp, fromStatus(err, store.Digest(req.GetDigest()))
}

// maxChunk is the length of the longest chunk that is believed: castore allows no averages above 2 MiB, nor chunks of
// more than twice that; this leaves room for others.
const maxChunk = 16 << 20

// Chunks returns what the server says. A list that cannot be is an error, one that is wrong shows when the blob is read.
func (b blobs) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if err := b.c.flight.landed(ctx, d); err != nil {
		return nil, err
	}
	resp, err := b.c.stat(ctx, &protos.StatBlobRequest{Digest: d[:], SendChunks: true})
	if err != nil {
		return nil, err
	}
	list := resp.GetChunks()
	if len(list) == 0 {
		return nil, nil
	}
	chunks := make([]store.Chunk, len(list))
	for i, m := range list {
		cd, err := store.DigestFromBytes(m.GetDigest())
		if err == nil && (m.GetSize() == 0 || m.GetSize() > maxChunk) {
			err = fmt.Errorf("invalid size %d", m.GetSize())
		}
		if err != nil {
			return nil, &store.CorruptError{Digest: d, Where: "the server", Err: fmt.Errorf("chunk %d: %w", i, err)}
		}
		chunks[i] = store.Chunk{Digest: cd, Size: m.GetSize()}
	}
	if len(chunks) == 1 && chunks[0].Digest == d {
		return nil, nil
	}
	return chunks, nil
}

// Put sends a blob unless the server has it. A small one goes with others, of which those that the server lacks are sent;
// or without asking, where the server takes them only one by one. Put may return before it has arrived: an error is told
// to who calls Put, Sync or the Commit of an upload next, and from then on.
func (b blobs) Put(ctx context.Context, data []byte) (store.Digest, error) {
	d := store.Sum(data)
	if err := ctx.Err(); err != nil {
		return d, err
	}
	if b.c.known.has(d) {
		return d, nil
	}
	if sent, err := b.c.flight.send(ctx, b.lane, d, data); sent {
		return d, err
	}
	has, err := b.Has(ctx, d)
	if err != nil {
		return d, err
	}
	if has {
		b.c.known.add(d)
		return d, nil
	}
	return d, b.c.putBlob(ctx, d, data)
}

// putBlob sends a blob that is in memory.
func (c *client) putBlob(ctx context.Context, d store.Digest, data []byte) error {
	s, err := c.blobs.get(ctx)
	if err != nil {
		return err
	}
	err = c.retry(ctx, func(k *call) error {
		if len(data) <= frameSize {
			resp, headers, err := s.putOne(k.ctx, data)
			if err != nil {
				return err
			}
			return c.acked(resp.GetDigest(), headers, d)
		}
		stream, err := s.Put(k.ctx)
		if err != nil {
			return err
		}
		for rest := data; err == nil && len(rest) > 0; {
			n := min(len(rest), frameSize)
			err = k.wait(func() error { return stream.Send(&protos.BlobChunk{Data: rest[:n]}) })
			rest = rest[n:]
		}
		return c.endBlob(k, stream, err, d)
	})
	return fromStatus(err, d)
}

// blobStream is a call of BlobService.Put.
type blobStream = grpc.ClientStreamingClient[protos.BlobChunk, protos.PutBlobResponse]

// endBlob ends a Put, of which err is the last error of sending, and checks the answer.
func (c *client) endBlob(k *call, stream blobStream, err error, d store.Digest) error {
	if err = sendError(stream, err); err != nil {
		return k.why(err)
	}
	return k.wait(func() error {
		resp, err := stream.CloseAndRecv()
		if err != nil {
			return err
		}
		headers, err := stream.Header()
		if err != nil {
			return err
		}
		return c.acked(resp.GetDigest(), headers, d)
	})
}

// acked checks what the server calls the blob d that was put, and takes note that it is there.
func (c *client) acked(digest []byte, headers metadata.MD, d store.Digest) error {
	if err := sameDigest(digest, d); err != nil {
		return err
	}
	if err := c.ledger.put(instanceOf(headers)); err != nil {
		return err
	}
	c.known.add(d)
	return nil
}

// Create returns a writer that sends what it is given. Only blobs of up to inlineSize are compared first with what the
// server has; of others the digest is known when all has been sent.
func (b blobs) Create(ctx context.Context) (store.BlobWriter, error) {
	return &writer{c: b.c, lane: b.lane, ctx: ctx}, nil
}

// errEnded is the error of a writer that is used after Commit or Close.
var errEnded = errors.New("blob has ended")

// writer implements store.BlobWriter.
type writer struct {
	c    *client
	lane int
	ctx  context.Context
	hash store.Hasher
	buf  []byte // what was not sent yet

	call      *call // nil: nothing was sent
	stream    blobStream
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
			w.err = w.flush()
			continue
		}
		k := min(len(p)-n, cap(w.buf)-len(w.buf))
		w.buf = append(w.buf, p[n:n+k]...)
		n += k
	}
	return n, w.err
}

// flush sends what is in the buffer.
func (w *writer) flush() error {
	if w.call == nil {
		s, err := w.c.blobs.get(w.ctx)
		if err != nil {
			return err
		}
		w.call = w.c.begin(w.ctx)
		if w.stream, err = s.Put(w.call.ctx); err != nil {
			return fromStatus(w.call.why(err), store.Digest{})
		}
	}
	w.hash.Write(w.buf)
	for rest := w.buf; len(rest) > 0; {
		n := min(len(rest), frameSize)
		err := w.call.wait(func() error { return w.stream.Send(&protos.BlobChunk{Data: rest[:n]}) })
		if err != nil {
			return fromStatus(w.call.why(sendError(w.stream, err)), store.Digest{})
		}
		rest = rest[n:]
	}
	w.buf = w.buf[:0]
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
	if w.call == nil {
		return blobs{w.c, w.lane}.Put(w.ctx, w.buf)
	}
	if err := w.flush(); err != nil {
		return store.Digest{}, err
	}
	d := w.hash.Sum()
	return d, fromStatus(w.c.endBlob(w.call, w.stream, nil, d), d)
}

func (w *writer) Close() error {
	if w.call != nil {
		w.call.end()
	}
	w.buf = nil
	if w.err == nil {
		w.err = errEnded
	}
	return nil
}

package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"castar/protos"
	"castar/store"
	"castar/store/chunk"
	"castar/store/rpc/internal/wire"
)

// blobs implements store.Blobs.
type blobs struct {
	c    *client
	lane int
}

// Lane implements store.Laner.
func (b blobs) Lane() store.Blobs { return blobs{b.c, int(b.c.lanes.Add(1) % laneCount)} }

// Has asks the server each time. Callers that ask at the same time share a call: see questions.
func (b blobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	if err := b.c.outbox.await(ctx, d); err != nil {
		return false, err
	}
	return b.c.questions.has(ctx, d)
}

// hasBlob asks for one blob by itself.
func (c *client) hasBlob(ctx context.Context, d store.Digest) (bool, error) {
	var headers metadata.MD
	_, err := c.stat(ctx, &protos.StatBlobRequest{Digest: d[:]}, grpc.Header(&headers))
	if store.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_ = c.ledger.claim(instanceOf(headers), d) // after a restart the answer is still true, and the next put fails
	c.known.add(d, true)
	return true, nil
}

func (c *client) stat(ctx context.Context, req *protos.StatBlobRequest, o ...grpc.CallOption) (resp *protos.StatBlobResponse, err error) {
	err = c.retry(ctx, func(k *call) (err error) {
		resp, err = c.blobs.Stat(k.ctx, req, o...)
		return err
	})
	return resp, fromStatus(err, store.Digest(req.GetDigest()))
}

// maxChunk is the length of the longest chunk that a server may name. castore allows averages of up to 2 MiB and chunks of
// twice that. The rest is room for others.
const maxChunk = 16 << 20

// Chunks returns what the server says. An impossible list is an error. A wrong one shows when the blob is read.
func (b blobs) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if err := b.c.outbox.await(ctx, d); err != nil {
		return nil, err
	}
	if chunks, known := b.c.groups.chunks(d); known {
		return chunks, nil
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
		chunks[i].Size = m.GetSize()
		if chunks[i].Digest, err = store.DigestFromBytes(m.GetDigest()); err != nil {
			return nil, corrupt(d, fmt.Errorf("chunk %d: %w", i, err))
		}
	}
	if err := checkSizes(chunks); err != nil {
		return nil, corrupt(d, err)
	}
	if len(chunks) == 1 && chunks[0].Digest == d {
		return nil, nil
	}
	return chunks, nil
}

// checkSizes refuses chunks of an impossible size.
func checkSizes(chunks []store.Chunk) error {
	for i := range chunks {
		if n := chunks[i].Size; n == 0 || n > maxChunk {
			return fmt.Errorf("chunk %d: invalid size %d", i, n)
		}
	}
	return nil
}

// Put sends a blob unless the server has it: see the package comment for how. It may return before the blob has arrived.
// If that fails, the next call of Put, of Sync or of an upload's Commit returns the error, and so do all later ones.
func (b blobs) Put(ctx context.Context, data []byte) (store.Digest, error) {
	d := store.Sum(data)
	if err := ctx.Err(); err != nil {
		return d, err
	}
	if b.c.known.has(d) {
		return d, nil
	}
	if sent, err := b.c.outbox.put(ctx, b.lane, d, data); sent {
		return d, err
	}
	if pool := b.c.outbox.pool; pool != nil {
		w := chunk.NewWriter(ctx, pool, sink{b, ctx})
		defer w.Close()
		if _, err := w.Write(data); err != nil {
			return d, err
		}
		return w.Commit()
	}
	lacks, err := b.lacks(ctx, d)
	if err != nil || !lacks {
		return d, err
	}
	return d, b.c.putBlob(ctx, d, data)
}

// lacks reports whether the server lacks the blob d. It asks unless it knows.
func (b blobs) lacks(ctx context.Context, d store.Digest) (bool, error) {
	if b.c.known.has(d) {
		return false, nil
	}
	has, err := b.Has(ctx, d)
	return !has && err == nil, err
}

// putBlob sends a blob in memory by itself.
func (c *client) putBlob(ctx context.Context, d store.Digest, data []byte) error {
	if len(data) > wire.FrameSize {
		return c.putStream(ctx, d, func(k *call, stream blobStream) error {
			_, err := sender{k, stream}.Write(data)
			return err
		})
	}
	err := c.retry(ctx, func(k *call) error {
		resp, headers, err := c.blobs.putOne(k.ctx, data)
		if err != nil {
			return err
		}
		return checked(resp.GetDigest(), headers, d, c.acked(d))
	})
	return fromStatus(err, d)
}

// putStream sends a blob in several messages. It calls send for that, and again if the server cannot be reached.
func (c *client) putStream(ctx context.Context, d store.Digest, send func(*call, blobStream) error) error {
	err := c.retry(ctx, func(k *call) error {
		stream, err := c.blobs.Put(k.ctx)
		if err != nil {
			return err
		}
		return k.finish(stream, send(k, stream), new(protos.PutBlobResponse), d, c.acked(d))
	})
	return fromStatus(err, d)
}

// blobStream is a call of BlobService.Put.
type blobStream = grpc.ClientStreamingClient[protos.BlobChunk, protos.PutBlobResponse]

// sender sends what is written as the next bytes of a blob. Its errors are for finish to explain.
type sender struct {
	k      *call
	stream blobStream
}

func (s sender) Write(p []byte) (sent int, err error) {
	for err == nil && sent < len(p) {
		data := p[sent:min(sent+wire.FrameSize, len(p))]
		err = s.k.wait(func() error { return s.stream.Send(&protos.BlobChunk{Data: data}) })
		sent += len(data)
	}
	return sent, err
}

// acked returns a function that notes that the server has acknowledged the blob d. It gets the server's instance.
func (c *client) acked(d store.Digest) func(instance string) error {
	return func(instance string) error {
		err := c.ledger.put(instance, d)
		if err == nil {
			c.known.add(d, true)
		}
		return err
	}
}

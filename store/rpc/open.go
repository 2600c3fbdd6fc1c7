package rpc

import (
	"context"
	"fmt"
	"io"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// Open reads a blob from its group if the client uses groups: see groups. Otherwise it reads a blob of up to inlineSize at
// once, and a longer one in one of these ways:
//
//   - in chunks, if the server lists them. Each is checked against its digest, and the whole against the blob's digest
//     when it is read from beginning to end. Reading in another order needs a proof. If the server has none, the first
//     such read reads and checks the whole blob.
//   - from one stream, checked against a proof, if the server has that.
//   - into a nameless file, and checked there.
func (b blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	c := b.c
	if err := c.outbox.await(ctx, d); err != nil {
		return nil, err
	}
	if data, err := c.groups.read(ctx, d); err != nil {
		return nil, err
	} else if data != nil {
		return store.BytesBlob(data), nil
	}
	var head []byte
	var rest *stream
	err := c.retryStream(ctx, d, func(s *stream) (err error) {
		head, err = s.upTo(inlineSize + 1)
		if err == nil {
			rest = s
		} else if err == io.EOF {
			s.close()
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, fromStatus(err, d)
	}
	if rest == nil {
		if store.Sum(head) != d {
			return nil, corrupt(d, store.ErrDigestMismatch)
		}
		return store.BytesBlob(head), nil
	}
	defer rest.close()
	chunks, err := b.Chunks(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(chunks) > 0 {
		return newChunked(ctx, c, d, chunks, head)
	}
	r := &ranged{c: c, ctx: ctx, digest: d}
	if r.size, r.proof, err = c.proof(ctx, d); err != nil {
		return nil, err
	}
	if r.proof != nil {
		r.src = &streamed{c: c, ctx: ctx, digest: d}
		return r, nil
	}
	return c.spool(d, head, rest)
}

// proof asks for the proof of a blob. It returns the length that the proof claims, and the proof, or nil if there is none.
func (c *client) proof(ctx context.Context, d store.Digest) (uint64, []byte, error) {
	resp, err := c.stat(ctx, &protos.StatBlobRequest{Digest: d[:], SendBao: true})
	if err != nil || len(resp.GetBao()) == 0 {
		return 0, nil, err
	}
	size, ok := wire.ProvenSize(resp.GetBao())
	if !ok {
		return 0, nil, corrupt(d, fmt.Errorf("a proof of %d bytes for a blob of %d", len(resp.GetBao()), size))
	}
	return size, resp.GetBao(), nil
}

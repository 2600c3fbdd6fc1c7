package objects

import (
	"context"
	"errors"
	"fmt"

	"castar/store"
	"castar/store/chunk"
)

// reader returns the blob d. It has at least one chunk, and the sizes do not overflow.
func (b *blobs) reader(ctx context.Context, d store.Digest, chunks []store.Chunk) *chunk.Reader {
	return chunk.NewReader(ctx, chunk.Source{
		Digest: d, Chunks: chunks, Most: b.ahead, MostBytes: maxAhead,
		Fetch: func(ctx context.Context, i int, _ bool) (chunk.Piece, error) {
			data, err := b.chunkOf(ctx, d, chunks[i])
			return chunk.Piece{Data: data}, err
		},
		Mismatch: func(error) error {
			err := &store.CorruptError{Digest: d, Where: b.q.where(blobName(d)), Err: store.ErrDigestMismatch}
			b.doubt(d, err)
			return err
		},
	})
}

// chunkOf returns the checked bytes of a chunk of the blob d. Damage to the chunk is reported as damage to the blob.
func (b *blobs) chunkOf(ctx context.Context, d store.Digest, c store.Chunk) (data []byte, err error) {
	if c.Size > maxChunk {
		err = &store.CorruptError{Where: b.q.where(blobName(d)), Err: fmt.Errorf("%d bytes long", c.Size)}
	} else {
		data, err = b.chunk(ctx, c.Digest, int64(c.Size))
	}
	if err == nil {
		return data, nil
	}
	damage, ok := errors.AsType[*store.CorruptError](err)
	switch {
	case ok:
	case store.IsNotFound(err):
		damage = &store.CorruptError{Where: b.q.where(chunkName(c.Digest)), Err: errors.New("missing")}
	default:
		return nil, err
	}
	err = &store.CorruptError{Digest: d, Where: damage.Where, Err: fmt.Errorf("chunk %s: %w", c.Digest, damage.Err)}
	b.doubt(d, err)
	return nil, err
}

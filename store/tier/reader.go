package tier

import (
	"context"
	"errors"
	"fmt"

	"castar/store"
	"castar/store/chunk"
)

// readAheadChunks and readAheadBytes bound the chunks that WriteTo fetches before it needs them.
const (
	readAheadChunks = 8
	readAheadBytes  = 32 << 20
)

// chunked returns a long blob of Far. Each chunk is read from Near if Near has it. A blob that is read from the first
// chunk to the last is copied to Near.
func (b *Blobs) chunked(ctx context.Context, d store.Digest, chunks []store.Chunk) store.Blob {
	c := &copying{to: b.Near, last: len(chunks) - 1}
	c.Reader = chunk.NewReader(ctx, chunk.Source{
		Digest: d, Chunks: chunks, Most: readAheadChunks, MostBytes: readAheadBytes,
		Fetch: func(ctx context.Context, i int, _ bool) (chunk.Piece, error) {
			data, err := b.chunk(ctx, chunks[i])
			if store.IsNotFound(err) {
				err = &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %w", err)}
			}
			return chunk.Piece{Data: data}, err
		},
		Took: func(i int, data []byte) error { return c.add(ctx, i, data) },
	})
	return c
}

// copying is a blob that is copied from its chunks while it is read. The Reader hands over the last chunk only after it
// has checked the whole blob.
type copying struct {
	*chunk.Reader
	to   store.Blobs
	last int              // number of the last chunk
	next int              // number of the next chunk to copy; -1 if the store is read-only
	w    store.BlobWriter // nil before the first chunk
	err  error            // sticky
}

// Close discards the copy of a blob that was not read to its end.
func (c *copying) Close() error {
	err := c.Reader.Close()
	if c.w != nil {
		err = errors.Join(err, c.w.Close())
	}
	return err
}

// add adds chunk i if it is the next one.
func (c *copying) add(ctx context.Context, i int, data []byte) error {
	if i != c.next || c.err != nil {
		return c.err
	}
	if i == 0 {
		w, err := c.to.Create(ctx)
		if errors.Is(err, store.ErrReadOnly) {
			c.next = -1
			return nil
		}
		if err != nil {
			c.err = err
			return err
		}
		c.w = w
	}
	c.next++
	if _, c.err = c.w.Write(data); c.err == nil && i == c.last {
		_, c.err = c.w.Commit()
	}
	return c.err
}

// chunk returns the checked bytes of a chunk, from Near or else from Far.
func (b *Blobs) chunk(ctx context.Context, c store.Chunk) ([]byte, error) {
	data, err := readChunk(ctx, b.Near, c)
	if !store.IsNotFound(err) {
		return data, err
	}
	return b.reading.do(ctx, c.Digest, func(ctx context.Context) ([]byte, error) {
		data, err := readChunk(ctx, b.Near, c) // stored since the first look
		if !store.IsNotFound(err) {
			return data, err
		}
		if data, err = readChunk(ctx, b.Far, c); err == nil {
			err = b.keep(ctx, data)
		}
		return data, err
	})
}

// readChunk returns the checked bytes of a chunk in a store.
func readChunk(ctx context.Context, from store.Blobs, c store.Chunk) ([]byte, error) {
	blob, err := from.Open(ctx, c.Digest)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	if blob.Size() != c.Size {
		return nil, &store.CorruptError{Digest: c.Digest, Err: fmt.Errorf("chunk of %d bytes, want %d", blob.Size(), c.Size)}
	}
	return readAll(blob, c.Digest)
}

package live

import (
	"context"
	"errors"
	"fmt"
	"io"

	"castar/store"
	"castar/store/packed/pack"
)

// ChunkSize implements store.Joiner.
func (b Blobs) ChunkSize() int { return b.st.Cutter.Params().Avg }

// Join implements store.Joiner.
func (b Blobs) Join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	st := b.st
	if err := errors.Join(ctx.Err(), st.Writable()); err != nil {
		return err
	}
	if st.Has(pack.KindData, &d) {
		return nil
	}
	chunks, err := st.resolve(ctx, chunks)
	if err != nil {
		return err
	}
	if len(chunks) == 0 {
		return fmt.Errorf("no chunks of %s: %w", d, store.ErrDigestMismatch)
	}
	_, err = st.reader(ctx, d, chunks).WriteTo(io.Discard)
	if store.IsCorrupt(err) {
		err = st.blame(ctx, d, chunks)
	}
	if err != nil || len(chunks) == 1 { // which is the blob itself, and there
		return err
	}
	return st.PutWhole(pack.KindList, 0, d, pack.AppendList(nil, chunks))
}

// resolve returns the chunks that chunks consist of, after a check that the store has them all. A chunk that was cut further
// when it was put is itself a list.
func (st *Store) resolve(ctx context.Context, chunks []store.Chunk) ([]store.Chunk, error) {
	whole := make([]store.Chunk, 0, len(chunks))
	for i := range chunks {
		c := &chunks[i]
		l, _, err := st.Lookup(pack.KindData, c.Digest, false)
		if err != nil {
			return nil, fmt.Errorf("chunk %w", err)
		}
		if l.Frame.Kind != pack.KindList {
			if uint64(l.Size) != c.Size || c.Size == 0 {
				return nil, fmt.Errorf("chunk %s has %d bytes, not %d: %w", c.Digest, l.Size, c.Size, store.ErrDigestMismatch)
			}
			whole = append(whole, *c)
			continue
		}
		parts, err := Blobs{st}.Chunks(ctx, c.Digest)
		if err != nil {
			return nil, err
		}
		whole = append(whole, parts...)
	}
	return whole, nil
}

// blame returns why chunks do not make up the blob d: one of them is damaged, or they are of another blob.
func (st *Store) blame(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	for _, c := range chunks {
		data, held, err := st.chunk(c.Digest, c, nil)
		if err == nil && store.Sum(data) != c.Digest {
			err = &store.CorruptError{Digest: c.Digest, Err: store.ErrDigestMismatch}
		}
		held.Release()
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: the chunks make up something else: %w", d, store.ErrDigestMismatch)
}

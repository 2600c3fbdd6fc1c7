package live

import (
	"bytes"
	"context"
	"fmt"

	"castar/store"
	"castar/store/chunk"
	"castar/store/packed/pack"
)

// whole is a blob that is in memory and checked.
type whole struct {
	bytes.Reader
	st   *Store
	held *pack.Cached // that its bytes are in, or nil
}

func (w *whole) Size() uint64 { return uint64(w.Reader.Size()) }

func (w *whole) Close() error {
	w.Reset(nil) // others may use the memory now
	w.held.Release()
	w.held = nil
	return nil
}

// reader returns the blob d, which is read chunk by chunk.
func (st *Store) reader(ctx context.Context, d store.Digest, chunks []store.Chunk) *chunk.Reader {
	return chunk.NewReader(ctx, chunk.Source{
		Digest: d, Chunks: chunks, Most: cap(st.Slots) + 1,
		Fetch: func(_ context.Context, i int, checked bool) (chunk.Piece, error) {
			p, err := st.piece(chunks[i], st.loader(d))
			if err == nil && checked {
				if err = st.verifyChunk(d, chunks[i], p.Data); err != nil {
					p.Release()
				}
			}
			return p, err
		},
	})
}

// chunkLoader returns the bytes of a chunk, as pack.Files.View does.
type chunkLoader func(c store.Chunk, buf []byte) ([]byte, *pack.Cached, error)

// loader returns a chunkLoader for the blob d.
func (st *Store) loader(d store.Digest) chunkLoader {
	return func(c store.Chunk, buf []byte) ([]byte, *pack.Cached, error) { return st.chunk(d, c, buf) }
}

// piece returns what load returns, with a function that gives all memory back.
func (st *Store) piece(c store.Chunk, load chunkLoader) (chunk.Piece, error) {
	buf := st.Packs.Buffer(int(c.Size))
	data, held, err := load(c, buf)
	release := func() {
		held.Release()
		st.Packs.Release(buf)
	}
	if err != nil {
		release()
	}
	return chunk.Piece{Data: data, Release: release}, err
}

// chunk returns the bytes of a chunk of the blob d, of the right length but not checked against their digest. They are
// as view returns them.
func (st *Store) chunk(d store.Digest, c store.Chunk, buf []byte) (data []byte, held *pack.Cached, err error) {
	l, data, err := st.Lookup(pack.KindData, c.Digest, true)
	if store.IsNotFound(err) {
		return nil, nil, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %w", err)}
	}
	if err == nil && data == nil {
		if l.Frame.Kind != pack.KindData {
			return nil, nil, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %s is a list of chunks", c.Digest)}
		}
		data, held, err = st.Packs.View(l, buf)
	}
	if err != nil {
		return nil, nil, st.about(d, err)
	}
	if uint64(len(data)) != c.Size {
		held.Release()
		err := fmt.Errorf("chunk %s has %d bytes, want %d", c.Digest, len(data), c.Size)
		return nil, nil, &store.CorruptError{Digest: d, Where: st.Fs.Path(l.String()), Err: err}
	}
	return data, held, nil
}

// verifyChunk checks the bytes of a chunk of the blob d.
func (st *Store) verifyChunk(d store.Digest, c store.Chunk, data []byte) error {
	if store.Sum(data) != c.Digest {
		return &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %s: %w", c.Digest, store.ErrDigestMismatch)}
	}
	return nil
}

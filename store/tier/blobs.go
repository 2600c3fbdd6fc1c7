package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"castar/store"
)

// Blobs is the blobs of two stores. A blob of Far is kept in Near once it is read. Blobs implements store.Blobs.
//
// If Near lacks a blob, it is read from Far. A long blob is read in chunks if Far has a list of them, and only chunks
// that Near lacks are fetched. Bytes are checked against their digest before they are stored. A long blob is complete
// in Near after it was read from beginning to end; until then Near has the chunks that were read. A read-only Near is
// not filled.
//
// Only store.ErrNotFound says that a store lacks something. Every other error of either store is returned: a Near that
// is out of order or damaged does not make Blobs read from Far.
type Blobs struct {
	Near, Far store.Blobs
	// WriteThrough makes writes go to Far as well as to Near. Otherwise they go to Near alone.
	WriteThrough bool

	opening sharedCalls[opener]
	reading sharedCalls[[]byte]
}

const (
	// wholeSize is the length in bytes up to which a blob is fetched in one piece, whatever its chunks.
	wholeSize = 512 << 10
	// maxChunk is the length of the longest chunk that is read as one. Castore's averages are at most 2 MiB and its chunks
	// at most twice that. This leaves room for others.
	maxChunk = 16 << 20
)

// Has asks Near, and then Far. With WriteThrough it asks Far alone, because a caller that is told a blob exists will not
// put it.
func (b *Blobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	if !b.WriteThrough {
		if has, err := b.Near.Has(ctx, d); has || err != nil {
			return has, err
		}
	}
	return b.Far.Has(ctx, d)
}

// Chunks asks Near, and then Far.
func (b *Blobs) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	chunks, err := b.Near.Chunks(ctx, d)
	if store.IsNotFound(err) {
		return b.Far.Chunks(ctx, d)
	}
	return chunks, err
}

// Open opens the blob of Near, or fetches it from Far.
func (b *Blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	blob, err := b.Near.Open(ctx, d)
	if !store.IsNotFound(err) {
		return blob, err
	}
	open, err := b.opening.do(ctx, d, func(ctx context.Context) (opener, error) { return b.fetch(ctx, d) })
	if err != nil {
		return nil, err
	}
	return open(ctx, d)
}

// opener opens a blob that Near lacked, for each of the callers that waited for it.
type opener func(context.Context, store.Digest) (store.Blob, error)

// fetch copies a blob of Far to Near, or finds its chunks, and returns what opens it.
func (b *Blobs) fetch(ctx context.Context, d store.Digest) (opener, error) {
	if has, err := b.Near.Has(ctx, d); has || err != nil { // stored since Open looked
		return b.Near.Open, err
	}
	far, err := b.Far.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer far.Close()
	if far.Size() <= wholeSize {
		data, err := readAll(far, d)
		if err == nil {
			err = b.keep(ctx, data)
		}
		return func(context.Context, store.Digest) (store.Blob, error) { return store.BytesBlob(data), nil }, err
	}
	chunks, err := b.farChunks(ctx, d, far.Size())
	if len(chunks) > 0 || err != nil {
		return func(ctx context.Context, d store.Digest) (store.Blob, error) { return b.chunked(ctx, d, chunks), nil }, err
	}
	kept, err := b.copy(ctx, d, far)
	if !kept {
		return b.Far.Open, err
	}
	return b.Near.Open, err
}

// farChunks returns the chunks of a blob in Far, or none if Far has it whole or in chunks longer than maxChunk.
func (b *Blobs) farChunks(ctx context.Context, d store.Digest, size uint64) ([]store.Chunk, error) {
	chunks, err := b.Far.Chunks(ctx, d)
	if err != nil || len(chunks) == 0 {
		return nil, err
	}
	sum := uint64(0)
	for i := range chunks {
		if chunks[i].Size > maxChunk {
			return nil, nil
		}
		sum += chunks[i].Size
	}
	if sum != size {
		return nil, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunks of %d bytes, want %d", sum, size)}
	}
	return chunks, nil
}

// readAll returns the bytes of a short blob, checked.
func readAll(blob store.Blob, d store.Digest) ([]byte, error) {
	buf := fixedBuffer{make([]byte, 0, blob.Size())}
	if _, err := blob.WriteTo(&buf); err != nil {
		return nil, err
	}
	if store.Sum(buf.data) != d {
		return nil, &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return buf.data, nil
}

// fixedBuffer is a buffer that does not grow, so that a store that misstates a blob's size cannot fill the memory.
type fixedBuffer struct{ data []byte }

func (b *fixedBuffer) Write(p []byte) (int, error) {
	if len(p) > cap(b.data)-len(b.data) {
		return 0, fmt.Errorf("blob is longer than its %d bytes", cap(b.data))
	}
	b.data = append(b.data, p...)
	return len(p), nil
}

// keep stores checked bytes in Near, unless Near is read-only.
func (b *Blobs) keep(ctx context.Context, data []byte) error {
	_, err := b.Near.Put(ctx, data)
	if errors.Is(err, store.ErrReadOnly) {
		return nil
	}
	return err
}

// copy stores a long blob of Far in Near. It reports false and no error if Near is read-only.
func (b *Blobs) copy(ctx context.Context, d store.Digest, far store.Blob) (kept bool, err error) {
	w, err := b.Near.Create(ctx)
	if errors.Is(err, store.ErrReadOnly) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer w.Close()
	var h store.Hasher
	if _, err := far.WriteTo(io.MultiWriter(w, &h)); err != nil {
		return false, err
	}
	if h.Sum() != d {
		return false, &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	_, err = w.Commit()
	return err == nil, err
}

// remoteBlobs implements store.RemoteBlobs for two stores. At least one of them is at the other end of a network.
type remoteBlobs struct {
	blobs     *Blobs
	near, far *store.Store
}

// Expect passes on what Near lacks. Near has it soon after, so it is asked when the turn of a blob comes.
func (r remoteBlobs) Expect(ctx context.Context, ds iter.Seq[store.Digest]) {
	if r.far.RemoteBlobs == nil {
		r.near.RemoteBlobs.Expect(ctx, ds)
		return
	}
	r.far.RemoteBlobs.Expect(ctx, func(yield func(store.Digest) bool) {
		for d := range ds {
			if has, err := r.blobs.Near.Has(ctx, d); (!has || err != nil) && !yield(d) {
				return
			}
		}
	})
}

// Group returns no group: Near may have some of its blobs.
func (r remoteBlobs) Group(context.Context, store.Digest) (store.Group, error) {
	return store.Group{}, store.ErrUnsupported
}

// HasAll asks as Blobs.Has does: Near, and Far for what Near lacks; or Far alone.
func (r remoteBlobs) HasAll(ctx context.Context, ds []store.Digest) ([]bool, error) {
	has := make([]bool, len(ds))
	if !r.blobs.WriteThrough {
		var err error
		if has, err = r.near.HasAll(ctx, ds); err != nil {
			return nil, err
		}
	}
	var rest []store.Digest
	for i := range ds {
		if !has[i] {
			rest = append(rest, ds[i])
		}
	}
	far, err := r.far.HasAll(ctx, rest)
	if err != nil {
		return nil, err
	}
	for i := range ds {
		if !has[i] {
			has[i], far = far[0], far[1:]
		}
	}
	return has, nil
}

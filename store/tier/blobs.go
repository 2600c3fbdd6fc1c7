package tier

import (
	"context"
	"errors"
	"fmt"
	"io"

	"castar/store"
)

// Blobs is the blobs of two stores: those of Near, and those of Far, which are kept in Near once they were read. It
// implements store.Blobs.
//
// A blob that Near lacks is read from Far; a long one in chunks, where Far has a list of them, of which only those are
// fetched that Near lacks. Bytes are checked against their digest before they are stored. A long blob is whole in Near
// when it was read from the beginning to the end; until then, Near has the chunks that were read. A Near that is
// read-only is not filled.
//
// That a store has not got something is what only store.ErrNotFound says: every other error, of either, is returned, and
// nothing is read from Far because Near is out of order or damaged.
type Blobs struct {
	Near, Far store.Blobs
	// WriteThrough has what is put go to Far as well as to Near, otherwise it goes to Near alone.
	WriteThrough bool

	opening flights[opened]
	reading flights[[]byte]
}

const (
	// wholeSize is the length in bytes up to which a blob is fetched at once, whatever chunks it has.
	wholeSize = 512 << 10
	// maxChunk is the length of the longest chunk that is read as one: castore allows no averages above 2 MiB, nor
	// chunks of more than twice that; this leaves room for others.
	maxChunk = 16 << 20
)

// absent reports whether a store says that it has not got something, rather than only a part of it.
func absent(err error) bool {
	_, damaged := errors.AsType[*store.CorruptError](err)
	return store.IsNotFound(err) && !damaged
}

// Has asks Near, and then Far. With WriteThrough it asks Far alone, for who is told that a blob is there does not put
// it.
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
	if absent(err) {
		return b.Far.Chunks(ctx, d)
	}
	return chunks, err
}

// Open opens the blob of Near, or fetches it from Far.
func (b *Blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	blob, err := b.Near.Open(ctx, d)
	if !absent(err) {
		return blob, err
	}
	o, err := b.opening.do(ctx, d, func(ctx context.Context) (opened, error) { return b.fetch(ctx, d) })
	switch {
	case err != nil:
		return nil, err
	case o.chunks != nil:
		return b.chunked(ctx, d, o.chunks), nil
	case o.kept:
		return b.Near.Open(ctx, d)
	case o.long:
		return b.Far.Open(ctx, d)
	}
	return store.BytesBlob(o.data), nil
}

// opened is how a blob that Near lacked can be had now.
type opened struct {
	data   []byte        // it is short, and here
	chunks []store.Chunk // it is long, and made of these
	kept   bool          // Near has it
	long   bool          // Far has it, and Near takes nothing
}

// fetch gets a blob from Far into Near, or finds out of which chunks it is.
func (b *Blobs) fetch(ctx context.Context, d store.Digest) (o opened, err error) {
	if o.kept, err = b.Near.Has(ctx, d); o.kept || err != nil { // stored since
		return o, err
	}
	far, err := b.Far.Open(ctx, d)
	if err != nil {
		return o, err
	}
	defer far.Close()
	if far.Size() <= wholeSize {
		if o.data, err = readAll(far, d); err == nil {
			err = b.keep(ctx, o.data)
		}
		return o, err
	}
	if o.chunks, err = b.farChunks(ctx, d, far.Size()); o.chunks != nil || err != nil {
		return o, err
	}
	o.kept, err = b.copy(ctx, d, far)
	o.long = !o.kept
	return o, err
}

// farChunks returns the chunks that Far has a blob in, or none where it has it whole or in pieces too long.
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
	buf := limited{data: make([]byte, 0, blob.Size())}
	if _, err := blob.WriteTo(&buf); err != nil {
		return nil, err
	}
	if store.Sum(buf.data) != d {
		return nil, &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return buf.data, nil
}

// limited is a buffer that does not grow.
type limited struct{ data []byte }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > cap(l.data)-len(l.data) {
		return 0, fmt.Errorf("blob of more than its %d bytes", cap(l.data))
	}
	l.data = append(l.data, p...)
	return len(p), nil
}

// keep stores in Near what was checked, unless Near is read-only.
func (b *Blobs) keep(ctx context.Context, data []byte) error {
	_, err := b.Near.Put(ctx, data)
	if errors.Is(err, store.ErrReadOnly) {
		return nil
	}
	return err
}

// copy stores a long blob of Far in Near, unless Near is read-only.
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

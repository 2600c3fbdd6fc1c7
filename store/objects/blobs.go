package objects

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"castar/store"
	"castar/store/chunk"
)

// blobs implements store.Blobs.
type blobs struct {
	q      *queue
	codec  *codec
	cutter *chunk.Cutter
	ahead  int         // chunks to read before they are needed
	pool   *chunk.Pool // for blobs put in chunks
	lists  *presence
	chunks *presence
}

// emptyBlob is the digest of no bytes. That blob has no chunks.
var emptyBlob = store.Sum(nil)

// maxChunkList is the length of the longest list of chunks that is read, in bytes: about 12 million chunks, or 3 TB in one
// blob.
const maxChunkList = 512 << 20

// Has looks for the list of chunks, and then for a chunk of that digest.
func (b *blobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	if has, err := b.lists.has(ctx, d); has || err != nil {
		return has, err
	}
	return b.chunks.has(ctx, d)
}

// Put stores the chunk, and then the list of chunks. It stores nothing if the list exists, since that is written last.
func (b *blobs) Put(ctx context.Context, data []byte) (store.Digest, error) {
	if err := errors.Join(ctx.Err(), b.q.writable()); err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(data)
	if had, err := b.lists.had(ctx, d); had || err != nil {
		return d, err
	}
	if b.cutter.Cut(data) == len(data) {
		return d, b.putWhole(ctx, d, data)
	}
	w := chunk.NewWriter(ctx, b.pool, sink{b, ctx})
	defer w.Close()
	if _, err := w.Write(data); err != nil {
		return d, err
	}
	return w.Commit()
}

// putWhole stores a blob of one chunk, or none. It does not ask whether the chunk exists, because a chunk of another blob
// is seldom a blob of its own.
func (b *blobs) putWhole(ctx context.Context, d store.Digest, data []byte) error {
	if len(data) > 0 {
		if err := b.store(ctx, d, data); err != nil {
			return err
		}
	}
	return b.putChunkList(ctx, d, nil)
}

func (b *blobs) putChunkList(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	err := b.q.putAfter(ctx, blobName(d), encodeChunkList(chunks))
	if err == nil {
		b.lists.stored(d)
	}
	return err
}

// store stores a chunk, without asking whether it exists.
func (b *blobs) store(ctx context.Context, d store.Digest, data []byte) error {
	body, err := b.codec.compress(data)
	if err != nil {
		return err
	}
	if err = b.q.put(ctx, chunkName(d), body); err == nil {
		b.chunks.stored(d)
	}
	return err
}

func (b *blobs) Create(ctx context.Context) (store.BlobWriter, error) {
	if err := errors.Join(ctx.Err(), b.q.writable()); err != nil {
		return nil, err
	}
	return chunk.NewWriter(ctx, b.pool, sink{b, ctx}), nil
}

// sink stores one blob. It implements chunk.Sink.
type sink struct {
	b   *blobs
	ctx context.Context
}

func (s sink) Ready() error { return nil }

func (s sink) Has(d store.Digest) (bool, error) { return s.b.lists.had(s.ctx, d) }

func (s sink) Together() int { return 0 }

func (s sink) PutRun(_ uint64, data []byte, one []store.Chunk) error {
	if had, err := s.b.chunks.had(s.ctx, one[0].Digest); had || err != nil {
		return err
	}
	return s.b.store(s.ctx, one[0].Digest, data)
}

func (s sink) PutWhole(d store.Digest, data []byte) error { return s.b.putWhole(s.ctx, d, data) }

func (s sink) PutList(d store.Digest, chunks []store.Chunk) error {
	return s.b.putChunkList(s.ctx, d, chunks)
}

func (b *blobs) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	chunks, err := b.chunkList(ctx, d)
	if !store.IsNotFound(err) {
		return chunks, err
	}
	has, herr := b.q.has(ctx, chunkName(d))
	if has || herr != nil {
		return nil, herr
	}
	return nil, err
}

// chunkList returns the list of the chunks of a blob. The error is store.ErrNotFound if there is none.
func (b *blobs) chunkList(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	name := blobName(d)
	body, err := b.q.get(ctx, name, 0, maxChunkList+1)
	if err != nil {
		return nil, err
	}
	chunks, err := decodeChunkList(body)
	if err == nil && len(body) > maxChunkList {
		err = fmt.Errorf("list of chunks of more than %d bytes", maxChunkList)
	}
	if err != nil {
		return nil, &store.CorruptError{Digest: d, Where: b.q.where(name), Err: err}
	}
	return chunks, nil
}

// Open looks for a chunk of that digest first, because most blobs are one chunk, and then for the list. If the chunk is
// damaged, the list may still have others.
func (b *blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	if d == emptyBlob {
		return store.BytesBlob(nil), ctx.Err()
	}
	data, cerr := b.chunk(ctx, d, -1)
	if cerr == nil {
		return store.BytesBlob(data), nil
	}
	if !store.IsNotFound(cerr) && !store.IsCorrupt(cerr) {
		return nil, cerr
	}
	chunks, err := b.chunkList(ctx, d)
	if err == nil && !anyBytes(chunks) && store.IsNotFound(cerr) {
		// A writer may have stored the chunk and then its list since.
		if data, cerr = b.chunk(ctx, d, -1); cerr == nil {
			return store.BytesBlob(data), nil
		}
	}
	switch {
	case store.IsCorrupt(cerr) && (store.IsNotFound(err) || err == nil && len(chunks) == 0):
		err = cerr
	case store.IsNotFound(err):
		return nil, fmt.Errorf("blob %w", err)
	case err == nil && !anyBytes(chunks):
		err = &store.CorruptError{Digest: d, Where: b.q.where(chunkName(d)), Err: errors.New("the only chunk is missing")}
	}
	if err != nil {
		b.doubt(d, err)
		return nil, err
	}
	return b.reader(ctx, d, chunks), nil
}

// anyBytes reports whether the chunks hold any bytes at all.
func anyBytes(chunks []store.Chunk) bool {
	return slices.ContainsFunc(chunks, func(c store.Chunk) bool { return c.Size > 0 })
}

// doubt remembers that the blob d is damaged, if err says so. Then a Put of it stores it again.
func (b *blobs) doubt(d store.Digest, err error) {
	if store.IsCorrupt(err) {
		b.lists.damage(d)
	}
}

// chunk returns the checked bytes of a chunk. The chunk must be size bytes long, unless size is negative. Wrong bytes are
// fetched once more before they count as damage, because they may have been damaged on the way.
func (b *blobs) chunk(ctx context.Context, d store.Digest, size int64) ([]byte, error) {
	name, most := chunkName(d), size
	if size < 0 {
		most = maxChunk
	}
	var damage error
	for range 2 {
		body, err := b.q.get(ctx, name, 0, maxCompressed(most)+1)
		if err != nil {
			return nil, err
		}
		data, err := b.decode(d, body, size, most)
		if err == nil {
			return data, nil
		}
		damage = err
	}
	b.chunks.damage(d)
	return nil, &store.CorruptError{Digest: d, Where: b.q.where(name), Err: damage}
}

// decode returns the bytes of the chunk d from its object, and checks them.
func (b *blobs) decode(d store.Digest, body []byte, size, most int64) ([]byte, error) {
	if int64(len(body)) > maxCompressed(most) {
		return nil, fmt.Errorf("longer than any compressed form of %d bytes", most)
	}
	data, err := b.codec.decompress(body, size)
	if err == nil && store.Sum(data) != d {
		err = store.ErrDigestMismatch
	}
	return data, err
}

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

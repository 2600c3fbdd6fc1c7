package tier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"castar/store"
)

// readAhead bounds the chunks that WriteTo fetches before they are needed, in number and bytes.
const (
	readAheadChunks = 8
	readAheadBytes  = 32 << 20
)

// chunked is a long blob of Far, read chunk by chunk, each from Near where that has it.
type chunked struct {
	b      *Blobs
	ctx    context.Context
	digest store.Digest
	chunks []store.Chunk
	ends   []uint64 // of each chunk
	at     uint64   // may be past the end
	number int      // of the chunk in data
	data   []byte   // nil: none is loaded
	copy   copier
}

func newChunked(ctx context.Context, b *Blobs, d store.Digest, chunks []store.Chunk) *chunked {
	c := &chunked{b: b, ctx: ctx, digest: d, chunks: chunks, ends: make([]uint64, len(chunks))}
	end := uint64(0)
	for i := range chunks {
		end += chunks[i].Size
		c.ends[i] = end
	}
	return c
}

func (c *chunked) Size() uint64 { return c.ends[len(c.ends)-1] }

// Close discards the copy of what was not read to its end.
func (c *chunked) Close() error {
	c.data = nil
	return c.copy.close()
}

func (c *chunked) Seek(offset int64, whence int) (int64, error) {
	at, err := store.SeekTo(c.at, c.Size(), offset, whence)
	if err == nil {
		c.at = at
	}
	return int64(at), err
}

// chunkAt returns the number of the chunk in which the current offset is.
func (c *chunked) chunkAt() int {
	return sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > c.at })
}

// from returns the part of the chunk i, whose bytes are data, that the current offset leaves.
func (c *chunked) from(i int, data []byte) []byte {
	return data[c.at-(c.ends[i]-c.chunks[i].Size):]
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	i := c.chunkAt()
	if i == len(c.chunks) {
		return 0, io.EOF
	}
	if c.data == nil || c.number != i {
		data, err := c.b.chunk(c.ctx, c.digest, c.chunks[i])
		if err == nil {
			err = c.took(i, data)
		}
		if err != nil {
			return 0, err
		}
		c.number, c.data = i, data
	}
	n := copy(p, c.from(i, c.data))
	c.at += uint64(n)
	return n, nil
}

// WriteTo fetches chunks ahead, several at a time. From the beginning to the end every chunk passes took, which checks
// the digest of the whole.
func (c *chunked) WriteTo(w io.Writer) (n int64, err error) {
	i := c.chunkAt()
	for data, err := range c.b.ahead(c.ctx, c.digest, c.chunks[i:]) {
		if err == nil {
			err = c.took(i, data)
		}
		if err != nil {
			return n, err
		}
		m, err := w.Write(c.from(i, data))
		n += int64(m)
		c.at += uint64(m)
		if err != nil {
			return n, err
		}
		i++
	}
	return n, nil
}

// took is told of every chunk that is read. It copies the blob to Near for as long as the chunks come one after the
// other, and ends the copy after the last, where it also checks the digest: chunks that are right may be the wrong ones.
func (c *chunked) took(i int, data []byte) error {
	if err := c.copy.add(c.ctx, c.b.Near, i, data); err != nil || c.copy.next < len(c.chunks) || i < len(c.chunks)-1 {
		return err
	}
	return c.copy.commit(c.digest)
}

// copier puts a blob together from its chunks.
type copier struct {
	next int // the chunk that is wanted
	hash store.Hasher
	w    store.BlobWriter // nil: not begun, or ended, or the store is read-only
	err  error            // that ended it
}

// add takes the chunk i, if it is the next.
func (c *copier) add(ctx context.Context, to store.Blobs, i int, data []byte) error {
	if i != c.next || c.err != nil {
		return c.err
	}
	if i == 0 {
		if c.w, c.err = to.Create(ctx); c.err != nil {
			c.w = nil
			if !errors.Is(c.err, store.ErrReadOnly) {
				return c.err
			}
			c.err = nil
		}
	}
	c.hash.Write(data)
	c.next++
	if c.w != nil {
		_, c.err = c.w.Write(data)
	}
	return c.err
}

// commit ends the copy, of which d is the digest. Called again, it returns the same.
func (c *copier) commit(d store.Digest) error {
	if c.err == nil && c.hash.Sum() != d {
		c.err = &store.CorruptError{Digest: d, Err: fmt.Errorf("chunks put together: %w", store.ErrDigestMismatch)}
	}
	if c.err != nil || c.w == nil {
		return c.err
	}
	if _, c.err = c.w.Commit(); c.err == nil {
		c.err = c.close()
	}
	return c.err
}

func (c *copier) close() error {
	if c.w == nil {
		return nil
	}
	w := c.w
	c.w = nil
	return w.Close()
}

// chunk returns the bytes of a chunk of the blob d, checked, from Near or else from Far.
func (b *Blobs) chunk(ctx context.Context, d store.Digest, c store.Chunk) ([]byte, error) {
	data, err := readChunk(ctx, b.Near, c)
	if !absent(err) {
		return data, err
	}
	data, err = b.reading.do(ctx, c.Digest, func(ctx context.Context) ([]byte, error) {
		data, err := readChunk(ctx, b.Near, c) // stored since
		if !absent(err) {
			return data, err
		}
		if data, err = readChunk(ctx, b.Far, c); err == nil {
			err = b.keep(ctx, data)
		}
		return data, err
	})
	if absent(err) {
		return nil, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %w", err)}
	}
	return data, err
}

// readChunk returns the bytes of a chunk that a store has, checked.
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

// ahead yields the bytes of chunks in order while it fetches some that follow.
func (b *Blobs) ahead(ctx context.Context, d store.Digest, chunks []store.Chunk) iter.Seq2[[]byte, error] {
	type result struct {
		data []byte
		err  error
	}
	longest := uint64(1)
	for i := range chunks {
		longest = max(longest, chunks[i].Size)
	}
	most := max(1, min(readAheadChunks, int(readAheadBytes/longest)))
	return func(yield func([]byte, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var queue []chan result // the chunks being fetched, in order
		next := 0
		defer func() {
			cancel()
			for _, c := range queue {
				<-c
			}
		}()
		for range chunks {
			for ; next < len(chunks) && len(queue) < most; next++ {
				done := make(chan result, 1)
				queue = append(queue, done)
				go func(c store.Chunk) {
					data, err := b.chunk(ctx, d, c)
					done <- result{data, err}
				}(chunks[next])
			}
			r := <-queue[0]
			queue = queue[1:]
			if !yield(r.data, r.err) || r.err != nil {
				return
			}
		}
	}
}

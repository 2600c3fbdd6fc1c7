package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"castar/store"
)

// whole is a blob that is in memory and checked.
type whole struct{ *bytes.Reader }

func (w whole) Size() uint64 { return uint64(w.Reader.Size()) }
func (w whole) Close() error { return nil }

// chunked is a blob that is read chunk by chunk, each checked before a byte of it is returned.
type chunked struct {
	ctx    context.Context
	b      *blobs
	digest store.Digest
	chunks []store.Chunk
	ends   []int64 // of each chunk; not empty
	at     int64   // may be past the end
	number int     // of the chunk in data
	data   []byte  // nil: none is loaded
}

// newChunked returns the blob d. There is a chunk or more, and their sizes do not overflow.
func newChunked(ctx context.Context, b *blobs, d store.Digest, chunks []store.Chunk) *chunked {
	c := &chunked{ctx: ctx, b: b, digest: d, chunks: chunks, ends: make([]int64, len(chunks))}
	end := int64(0)
	for i := range chunks {
		end += int64(chunks[i].Size)
		c.ends[i] = end
	}
	return c
}

func (c *chunked) size() int64  { return c.ends[len(c.ends)-1] }
func (c *chunked) Size() uint64 { return uint64(c.size()) }

func (c *chunked) Close() error {
	c.data = nil
	return nil
}

func (c *chunked) Seek(offset int64, whence int) (int64, error) {
	at, err := store.SeekTo(uint64(c.at), c.Size(), offset, whence)
	if err == nil {
		c.at = int64(at)
	}
	return int64(at), err
}

// find returns the number of the chunk that the byte at the current offset is in.
func (c *chunked) find() int {
	return sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > c.at })
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.at >= c.size() {
		return 0, io.EOF
	}
	i := c.find()
	if c.data == nil || c.number != i {
		data, err := c.chunk(c.ctx, i)
		if err != nil {
			return 0, err
		}
		c.number, c.data = i, data
	}
	n := copy(p, c.data[c.at-(c.ends[i]-int64(len(c.data))):])
	c.at += int64(n)
	return n, nil
}

// WriteTo gets chunks ahead, in parallel. Each is checked, and from the beginning the whole is, too.
func (c *chunked) WriteTo(w io.Writer) (n int64, err error) {
	if c.at >= c.size() {
		return 0, nil
	}
	first, all := c.find(), c.at == 0
	var h store.Hasher
	numbers := make([]int, len(c.chunks)-first)
	for i := range numbers {
		numbers[i] = first + i
	}
	i := first
	for data, err := range ahead(c.ctx, c.b.ahead, numbers, c.chunk) {
		if err != nil {
			return n, err
		}
		data = data[c.at-(c.ends[i]-int64(len(data))):]
		i++
		if all {
			h.Write(data)
		}
		m, err := w.Write(data)
		n += int64(m)
		c.at += int64(m)
		if err != nil {
			return n, err
		}
	}
	if all && h.Sum() != c.digest {
		err := &store.CorruptError{Digest: c.digest, Where: c.b.q.where(blobName(c.digest)), Err: store.ErrDigestMismatch}
		c.b.doubt(c.digest, err)
		return n, err
	}
	return n, nil
}

// chunk returns the bytes of a chunk. What is wrong with it is wrong with the blob.
func (c *chunked) chunk(ctx context.Context, i int) ([]byte, error) {
	chunk := c.chunks[i]
	name := chunkName(chunk.Digest)
	var data []byte
	var err error
	if chunk.Size > maxChunk {
		err = &store.CorruptError{Where: c.b.q.where(blobName(c.digest)), Err: fmt.Errorf("%d bytes long", chunk.Size)}
	} else {
		data, err = c.b.chunk(ctx, chunk.Digest, int64(chunk.Size))
	}
	if err == nil {
		return data, nil
	}
	damage, ok := errors.AsType[*store.CorruptError](err)
	switch {
	case ok:
	case store.IsNotFound(err):
		damage = &store.CorruptError{Where: c.b.q.where(name), Err: errors.New("missing")}
	default:
		return nil, err
	}
	err = &store.CorruptError{Digest: c.digest, Where: damage.Where, Err: fmt.Errorf("chunk %s: %w", chunk.Digest, damage.Err)}
	c.b.doubt(c.digest, err)
	return nil, err
}

// ahead yields what fetch returns for each of list, in order, while it fetches up to n of those that follow. It ends
// with the first error, and leaves no goroutine behind.
func ahead[K, V any](ctx context.Context, n int, list []K, fetch func(context.Context, K) (V, error)) iter.Seq2[V, error] {
	type result struct {
		value V
		err   error
	}
	return func(yield func(V, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var queue []chan result // of those being fetched, in order
		defer func() {
			cancel()
			for _, c := range queue {
				<-c
			}
		}()
		next := 0
		for i := range list {
			for ; next < len(list) && next <= i+n; next++ {
				done := make(chan result, 1)
				queue = append(queue, done)
				go func(k K) {
					v, err := fetch(ctx, k)
					done <- result{v, err}
				}(list[next])
			}
			r := <-queue[0]
			queue = queue[1:]
			if !yield(r.value, r.err) || r.err != nil {
				return
			}
		}
	}
}

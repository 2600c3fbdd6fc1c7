package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"

	"castar/store"
	"castar/store/chunk"
)

// source is where a long blob comes from.
type source interface {
	// readAt returns n bytes inside the blob. They need not be checked.
	readAt(off uint64, n int) ([]byte, error)
	// close ends running calls.
	close()
}

// streamed is the source of a blob in one stream. To go back it starts a new stream.
type streamed struct {
	c      *client
	ctx    context.Context
	digest store.Digest
	stream *stream
	at     uint64
}

func (s *streamed) close() {
	if s.stream != nil {
		s.stream.close()
		s.stream = nil
	}
}

func (s *streamed) readAt(off uint64, n int) ([]byte, error) {
	if s.stream != nil && off >= s.at {
		data, err := s.read(off, n)
		if err == nil {
			return data, nil
		}
	}
	s.close()
	var data []byte
	err := s.c.retryStream(s.ctx, s.digest, func(st *stream) (err error) {
		s.stream, s.at = st, 0
		data, err = s.read(off, n)
		return err
	})
	if err != nil {
		s.close()
	}
	return data, err
}

// read reads from the open stream.
func (s *streamed) read(off uint64, n int) ([]byte, error) {
	if err := s.stream.skip(off - s.at); err != nil {
		return nil, s.early(err)
	}
	data, err := s.stream.upTo(n)
	if err != nil {
		return nil, s.early(err)
	}
	s.at = off + uint64(n)
	return data, nil
}

// early makes the end of a stream an error.
func (s *streamed) early(err error) error {
	if err == io.EOF {
		return corrupt(s.digest, errors.New("ends too early"))
	}
	return err
}

// chunked is the source of a blob of chunks.
type chunked struct {
	c      *client
	ctx    context.Context
	digest store.Digest
	chunks []store.Chunk
	ends   []uint64  // of each chunk
	head   []byte    // the first bytes of the blob, unchecked
	last   [2][]byte // the chunks that were read last
	lastAt [2]int
}

func newChunked(ctx context.Context, c *client, d store.Digest, chunks []store.Chunk, head []byte) (*ranged, error) {
	k := &chunked{c: c, ctx: ctx, digest: d, chunks: chunks, ends: make([]uint64, len(chunks)), head: head}
	end := uint64(0)
	for i := range chunks {
		end += chunks[i].Size // at most maxChunk: the sum of what fits in a message fits in 64 bits
		k.ends[i] = end
	}
	if end < uint64(len(head)) {
		return nil, corrupt(d, fmt.Errorf("the chunks have %d bytes and the blob has more", end))
	}
	return &ranged{c: c, ctx: ctx, digest: d, size: end, src: k, chunks: k}, nil
}

func (k *chunked) close() { k.head, k.last = nil, [2][]byte{} }

// find returns the number of the chunk that holds the byte at an offset.
func (k *chunked) find(at uint64) int {
	return sort.Search(len(k.ends), func(i int) bool { return k.ends[i] > at })
}

func (k *chunked) start(i int) uint64 { return k.ends[i] - k.chunks[i].Size }

// get returns a chunk, checked. It keeps the last two.
func (k *chunked) get(i int) ([]byte, error) {
	for n := range k.last {
		if k.last[n] != nil && k.lastAt[n] == i {
			return k.last[n], nil
		}
	}
	data, err := k.fetch(k.ctx, i)
	if err != nil {
		return nil, err
	}
	k.last[1], k.lastAt[1] = k.last[0], k.lastAt[0]
	k.last[0], k.lastAt[0] = data, i
	return data, nil
}

// fetch gets a chunk from the head or from the server, and checks it. It may be called concurrently.
func (k *chunked) fetch(ctx context.Context, i int) ([]byte, error) {
	chunk := k.chunks[i]
	if end := k.ends[i]; end <= uint64(len(k.head)) {
		if data := k.head[k.start(i):end:end]; store.Sum(data) == chunk.Digest {
			return data, nil
		}
	}
	data, err := k.c.groups.read(ctx, chunk.Digest)
	if err == nil && data != nil && uint64(len(data)) != chunk.Size {
		err = corrupt(k.digest, fmt.Errorf("chunk %s has %d bytes, want %d", chunk.Digest, len(data), chunk.Size))
	}
	if data != nil || err != nil {
		return data, k.missing(err)
	}
	err = k.c.retryStream(ctx, chunk.Digest, func(s *stream) (err error) {
		if data, err = s.exactly(chunk.Size, chunk.Digest); err == nil {
			s.close()
		}
		return err
	})
	if err == nil && store.Sum(data) != chunk.Digest {
		err = corrupt(chunk.Digest, store.ErrDigestMismatch)
	}
	return data, k.missing(fromStatus(err, chunk.Digest))
}

// missing returns the error of a chunk. The server has the blob, so a missing chunk is damage.
func (k *chunked) missing(err error) error {
	if store.IsNotFound(err) {
		return corrupt(k.digest, fmt.Errorf("chunk %w", err))
	}
	return err
}

func (k *chunked) readAt(off uint64, n int) ([]byte, error) {
	out := make([]byte, 0, n)
	for i := k.find(off); len(out) < n; i++ {
		data, err := k.get(i)
		if err != nil {
			return nil, err
		}
		data = data[off+uint64(len(out))-k.start(i):]
		out = append(out, data[:min(len(data), n-len(out))]...)
	}
	return out, nil
}

// chunksAhead is how many chunks of a blob are fetched at a time.
const chunksAhead = 8

// ahead yields the chunks in order, while it fetches the next ones.
func (k *chunked) ahead() iter.Seq2[[]byte, error] {
	return chunk.Ahead(k.ctx, len(k.chunks), chunksAhead, k.fetch, nil)
}

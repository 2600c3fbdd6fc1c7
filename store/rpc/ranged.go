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
	"castar/store/rpc/internal/wire"
)

// source is where a long blob comes from.
type source interface {
	// readAt returns n bytes that are inside the blob. They need not be checked.
	readAt(off uint64, n int) ([]byte, error)
	// close ends what is running.
	close()
}

// provenWindow is how much is read at once where a proof is used: some groups.
const provenWindow = 16 * wire.ProofGroup

// ranged is a long blob of which parts are fetched. It implements store.Blob.
type ranged struct {
	c      *client
	ctx    context.Context
	digest store.Digest
	size   uint64
	src    source
	chunks *chunked // nil: there are none; otherwise the same as src
	proof  []byte   // nil: there is none, or nobody has asked
	asked  bool     // whether the server has been asked for a proof

	hash    store.Hasher // of the first hashed bytes, which were read in order and checked only against their chunks
	hashed  uint64
	checked bool // all of them, against the blob's digest
	at      uint64
	data    []byte // what was read last, and is checked
	dataAt  uint64
}

func (r *ranged) Size() uint64 { return r.size }

func (r *ranged) Close() error {
	r.src.close()
	r.data = nil
	return nil
}

func (r *ranged) Seek(offset int64, whence int) (int64, error) {
	at, err := store.SeekTo(r.at, r.size, offset, whence)
	if err == nil {
		r.at = at
	}
	return int64(at), err
}

func (r *ranged) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.at >= r.size {
		return 0, io.EOF
	}
	if r.at < r.dataAt || r.at-r.dataAt >= uint64(len(r.data)) {
		if err := r.load(); err != nil {
			return 0, fromStatus(err, r.digest)
		}
	}
	n := copy(p, r.data[r.at-r.dataAt:])
	r.at += uint64(n)
	return n, nil
}

// load makes data hold the byte at the offset.
func (r *ranged) load() error {
	r.data = nil
	if r.chunks != nil && !r.checked && r.at != r.hashed && !r.asked {
		if err := r.ask(); err != nil {
			return err
		}
	}
	if r.chunks != nil && r.proof == nil && !r.checked && r.at != r.hashed {
		if err := r.readThrough(); err != nil {
			return err
		}
	}
	if r.chunks != nil && (r.checked || r.at == r.hashed) {
		return r.loadChunk()
	}
	off := r.at - r.at%provenWindow
	data, err := r.src.readAt(off, int(min(provenWindow, r.size-off)))
	if err != nil {
		return err
	}
	if !wire.Proven(r.proof, data, off, r.digest) {
		return corrupt(r.digest, fmt.Errorf("bytes from %d: %w", off, store.ErrDigestMismatch))
	}
	r.data, r.dataAt = data, off
	return nil
}

// ask gets a proof, if the server has one.
func (r *ranged) ask() error {
	size, proof, err := r.c.proof(r.ctx, r.digest)
	if err != nil {
		return err
	}
	if proof != nil && size != r.size {
		return corrupt(r.digest, fmt.Errorf("the chunks have %d bytes and the proof is for %d", r.size, size))
	}
	r.asked, r.proof = true, proof
	return nil
}

// readThrough reads all chunks, which alone shows that they make up the blob where there is no proof.
func (r *ranged) readThrough() error {
	var h store.Hasher
	for data, err := range r.chunks.ahead() {
		if err != nil {
			return err
		}
		h.Write(data)
	}
	return r.judge(&h)
}

// judge compares the hash of all chunks with the blob's digest.
func (r *ranged) judge(h *store.Hasher) error {
	if h.Sum() != r.digest {
		return corrupt(r.digest, fmt.Errorf("the chunks make up something else: %w", store.ErrDigestMismatch))
	}
	r.checked = true
	return nil
}

// loadChunk makes data the chunk at the offset. The last one of a blob that was read in order shows whether the list of
// chunks was right, before it is believed.
func (r *ranged) loadChunk() error {
	i := r.chunks.find(r.at)
	data, err := r.chunks.get(i)
	if err != nil {
		return err
	}
	start := r.chunks.start(i)
	if start == r.hashed && !r.checked {
		r.hash.Write(data)
		r.hashed += uint64(len(data))
		if r.hashed == r.size {
			if err := r.judge(&r.hash); err != nil {
				return err
			}
		}
	}
	r.data, r.dataAt = data, start
	return nil
}

// WriteTo fetches several chunks at a time.
func (r *ranged) WriteTo(w io.Writer) (n int64, err error) {
	if r.chunks == nil || r.at != 0 {
		return io.Copy(w, struct{ io.Reader }{r})
	}
	var h store.Hasher
	for data, err := range r.chunks.ahead() {
		if err != nil {
			return n, fromStatus(err, r.digest)
		}
		h.Write(data)
		m, err := w.Write(data)
		n += int64(m)
		r.at += uint64(m)
		if err != nil {
			return n, err
		}
	}
	return n, r.judge(&h)
}

// streamed is the source of a blob that comes in one stream, which begins again where something before is wanted.
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

// read reads from the stream that is open.
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

// early says that a stream must not end before all was read.
func (s *streamed) early(err error) error {
	if err == io.EOF {
		return corrupt(s.digest, errors.New("ends too early"))
	}
	return err
}

// chunked is the source of a blob that is made of chunks.
type chunked struct {
	c      *client
	ctx    context.Context
	digest store.Digest
	chunks []store.Chunk
	ends   []uint64  // of each chunk
	head   []byte    // the first bytes of the blob, as the server sent them
	last   [2][]byte // chunks that were read last
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

// find returns the number of the chunk that holds the byte at that offset.
func (k *chunked) find(at uint64) int {
	return sort.Search(len(k.ends), func(i int) bool { return k.ends[i] > at })
}

func (k *chunked) start(i int) uint64 { return k.ends[i] - k.chunks[i].Size }

// get returns a chunk, checked against its digest. It remembers two.
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

// fetch gets a chunk, checked, from the bytes that are there or from the server. It may be called concurrently.
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

// missing returns the error of a chunk: the blob is there, and all of its chunks should be.
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

// ahead yields the chunks in order while those that follow are on their way.
func (k *chunked) ahead() iter.Seq2[[]byte, error] {
	return chunk.Ahead(k.ctx, len(k.chunks), chunksAhead, k.fetch, nil)
}

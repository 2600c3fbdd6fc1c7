package rpc

import (
	"context"
	"errors"
	"fmt"
	"io"

	"castar/protos"
	"castar/store"
	"castar/store/chunk"
	"castar/store/rpc/internal/wire"
)

// Open reads a blob from its group if the client uses groups: see groups. Otherwise it reads a blob of up to inlineSize at
// once, and a longer one in one of these ways:
//
//   - in chunks, if the server lists them. Each is checked against its digest, and the whole against the blob's digest
//     when it is read from beginning to end. Reading in another order needs a proof. If the server has none, the first
//     such read reads and checks the whole blob.
//   - from one stream, checked against a proof, if the server has that.
//   - into a nameless file, and checked there.
func (b blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	c := b.c
	if err := c.outbox.await(ctx, d); err != nil {
		return nil, err
	}
	if data, err := c.groups.read(ctx, d); err != nil {
		return nil, err
	} else if data != nil {
		return store.BytesBlob(data), nil
	}
	if chunks, _ := c.groups.chunks(d); len(chunks) > 0 {
		return newChunked(ctx, c, d, chunks, nil)
	}
	head, rest, err := c.readHead(ctx, d)
	if err != nil {
		return nil, err
	}
	if rest == nil {
		if store.Sum(head) != d {
			return nil, corrupt(d, store.ErrDigestMismatch)
		}
		return store.BytesBlob(head), nil
	}
	defer rest.close()
	chunks, err := b.Chunks(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(chunks) > 0 {
		return newChunked(ctx, c, d, chunks, head)
	}
	size, proof, err := c.proof(ctx, d)
	if err != nil {
		return nil, err
	}
	if proof != nil {
		s := &streamed{c: c, ctx: ctx, digest: d}
		s.Reader = provenReader(ctx, d, size, proof, s.readAt)
		return s, nil
	}
	return c.spool(d, head, rest)
}

// readHead reads up to inlineSize of a blob, unchecked. If there is more, it returns a little more, and the stream of the
// rest.
func (c *client) readHead(ctx context.Context, d store.Digest) (head []byte, rest *stream, err error) {
	err = c.retryStream(ctx, d, func(s *stream) (err error) {
		if head, err = s.upTo(inlineSize + 1); err == nil {
			rest = s
		} else if err == io.EOF {
			s.close()
			err = nil
		}
		return err
	})
	return head, rest, fromStatus(err, d)
}

// proof asks for the proof of a blob. It returns the length that the proof claims, and the proof, or nil if there is none.
func (c *client) proof(ctx context.Context, d store.Digest) (uint64, []byte, error) {
	resp, err := c.stat(ctx, &protos.StatBlobRequest{Digest: d[:], SendBao: true})
	if err != nil || len(resp.GetBao()) == 0 {
		return 0, nil, err
	}
	size, ok := wire.ProvenSize(resp.GetBao())
	if !ok {
		return 0, nil, corrupt(d, fmt.Errorf("a proof of %d bytes for a blob of %d", len(resp.GetBao()), size))
	}
	return size, resp.GetBao(), nil
}

// chunksAhead is how many chunks of a blob are fetched at a time.
const chunksAhead = 8

// chunked implements store.Blob for a blob of chunks. Read in order, the chunks show at the end that they make up the blob.
// Before they are read in another order, that needs a proof, or all of them.
type chunked struct {
	*chunk.Reader
	c       *client
	ctx     context.Context
	src     chunk.Source
	next    int           // the chunks before this one were read in order
	inOrder uint64        // their bytes
	proven  *chunk.Reader // nil: not needed so far, or the server has no proof
}

func newChunked(ctx context.Context, c *client, d store.Digest, chunks []store.Chunk, head []byte) (store.Blob, error) {
	b := &chunked{c: c, ctx: ctx}
	ends, end := make([]uint64, len(chunks)), uint64(0)
	for i := range chunks {
		end += chunks[i].Size // at most maxChunk: the sum of what fits in a message fits in 64 bits
		ends[i] = end
	}
	if end < uint64(len(head)) {
		return nil, corrupt(d, fmt.Errorf("the chunks have %d bytes and the blob has more", end))
	}
	fetch := func(ctx context.Context, i int, _ bool) (chunk.Piece, error) {
		of := chunks[i]
		if ends[i] <= uint64(len(head)) {
			if data := head[ends[i]-of.Size : ends[i]]; store.Sum(data) == of.Digest {
				return chunk.Piece{Data: data}, nil
			}
		}
		data, err := c.fetchChunk(ctx, of)
		if store.IsNotFound(err) { // the server has the blob, so this is damage
			err = corrupt(d, fmt.Errorf("chunk %w", err))
		}
		return chunk.Piece{Data: data}, err
	}
	mismatch := func(error) error {
		return corrupt(d, fmt.Errorf("the chunks make up something else: %w", store.ErrDigestMismatch))
	}
	b.src = chunk.Source{Digest: d, Chunks: chunks, Most: chunksAhead, Fetch: fetch, Mismatch: mismatch}
	counting := b.src
	counting.Took = func(i int, data []byte) error {
		if i == b.next {
			b.next++
			b.inOrder += uint64(len(data))
		}
		return nil
	}
	b.Reader = chunk.NewReader(ctx, counting)
	return b, nil
}

// fetchChunk gets a chunk, checked.
func (c *client) fetchChunk(ctx context.Context, of store.Chunk) ([]byte, error) {
	data, err := c.groups.read(ctx, of.Digest)
	if err == nil && data != nil && uint64(len(data)) != of.Size {
		err = corrupt(of.Digest, fmt.Errorf("has %d bytes, want %d", len(data), of.Size))
	}
	if data != nil || err != nil {
		return data, err
	}
	err = c.retryStream(ctx, of.Digest, func(s *stream) (err error) {
		if data, err = s.exactly(of.Size, of.Digest); err == nil {
			s.close()
		}
		return err
	})
	if err == nil && store.Sum(data) != of.Digest {
		err = corrupt(of.Digest, store.ErrDigestMismatch)
	}
	return data, fromStatus(err, of.Digest)
}

func (b *chunked) Read(p []byte) (int, error) {
	at, _ := b.Seek(0, io.SeekCurrent)
	if len(p) == 0 || uint64(at) <= b.inOrder || b.inOrder == b.Size() {
		return b.Reader.Read(p)
	}
	if b.proven == nil {
		if err := b.prove(); err != nil {
			return 0, err
		}
		if b.proven == nil {
			return b.Reader.Read(p)
		}
	}
	b.proven.Seek(at, io.SeekStart)
	n, err := b.proven.Read(p)
	b.Seek(int64(n), io.SeekCurrent)
	return n, err
}

// prove asks for a proof. If there is none, it reads all chunks.
func (b *chunked) prove() error {
	d, all := b.src.Digest, chunk.NewReader(b.ctx, b.src)
	size, proof, err := b.c.proof(b.ctx, d)
	switch {
	case err != nil:
		return err
	case proof == nil:
		if _, err = all.WriteTo(io.Discard); err == nil {
			b.inOrder = b.Size()
		}
		return err
	case size != b.Size():
		return corrupt(d, fmt.Errorf("the chunks have %d bytes and the proof is for %d", b.Size(), size))
	}
	b.proven = provenReader(b.ctx, d, size, proof, func(off uint64, n int) ([]byte, error) {
		data := make([]byte, n)
		all.Seek(int64(off), io.SeekStart)
		_, err := io.ReadFull(all, data)
		return data, err
	})
	return nil
}

// WriteTo fetches several chunks at a time, from the start of the blob.
func (b *chunked) WriteTo(w io.Writer) (int64, error) {
	if at, _ := b.Seek(0, io.SeekCurrent); at == 0 {
		return b.Reader.WriteTo(w)
	}
	return io.Copy(w, struct{ io.Reader }{b})
}

// provenWindow is how much is read at once with a proof: several groups.
const provenWindow = 16 * wire.ProofGroup

// provenReader returns a reader of a blob with a proof. It reads a window at a time by readAt, which returns n bytes inside
// the blob, unchecked. No two calls of readAt run at once.
func provenReader(
	ctx context.Context, d store.Digest, size uint64, proof []byte, readAt func(off uint64, n int) ([]byte, error),
) *chunk.Reader {
	windows := make([]store.Chunk, 0, size/provenWindow+1)
	for off := uint64(0); off < size; off += provenWindow {
		windows = append(windows, store.Chunk{Size: min(provenWindow, size-off)})
	}
	fetch := func(_ context.Context, i int, _ bool) (chunk.Piece, error) {
		off := uint64(i) * provenWindow
		data, err := readAt(off, int(windows[i].Size))
		if err == nil && !wire.Proven(proof, data, off, d) {
			err = corrupt(d, fmt.Errorf("bytes from %d: %w", off, store.ErrDigestMismatch))
		}
		return chunk.Piece{Data: data}, fromStatus(err, d)
	}
	return chunk.NewReader(ctx, chunk.Source{Digest: d, Chunks: windows, Fetch: fetch})
}

// streamed reads a blob with a proof from one stream. To go back it starts a new stream.
type streamed struct {
	*chunk.Reader
	c      *client
	ctx    context.Context
	digest store.Digest
	stream *stream
	at     uint64
}

// Close also ends the stream.
func (s *streamed) Close() error {
	s.end()
	return s.Reader.Close()
}

func (s *streamed) end() {
	if s.stream != nil {
		s.stream.close()
		s.stream = nil
	}
}

// readAt returns n bytes inside the blob, unchecked.
func (s *streamed) readAt(off uint64, n int) ([]byte, error) {
	if s.stream != nil && off >= s.at {
		if data, err := s.read(off, n); err == nil {
			return data, nil
		}
	}
	s.end()
	var data []byte
	err := s.c.retryStream(s.ctx, s.digest, func(st *stream) (err error) {
		s.stream, s.at = st, 0
		data, err = s.read(off, n)
		return err
	})
	if err != nil {
		s.end()
	}
	return data, err
}

// read reads from the open stream.
func (s *streamed) read(off uint64, n int) (data []byte, err error) {
	if err = s.stream.skip(off - s.at); err == nil {
		data, err = s.stream.upTo(n)
	}
	if err == io.EOF {
		err = corrupt(s.digest, errors.New("ends too early"))
	}
	if err != nil {
		return nil, err
	}
	s.at = off + uint64(n)
	return data, nil
}

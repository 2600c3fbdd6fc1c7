package packed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"sort"

	"castar/store"
)

// whole is a blob that is in memory and checked.
type whole struct {
	bytes.Reader
	st   *Store
	held *cachedFrame // that its bytes are in, or nil
}

func (w *whole) Size() uint64 { return uint64(w.Reader.Size()) }

func (w *whole) Close() error {
	w.Reset(nil) // others use the memory from now on
	w.st.frames.release(w.held)
	w.held = nil
	return nil
}

// chunked is a blob that is read chunk by chunk.
type chunked struct {
	ctx    context.Context
	st     *Store
	digest store.Digest
	chunks []store.Chunk
	ends   []uint64 // of each chunk
	at     uint64   // may be past the end
	number int      // of the chunk in data
	data   []byte   // nil: none is loaded
	held   *cachedFrame
}

func newChunked(ctx context.Context, st *Store, d store.Digest, chunks []store.Chunk) *chunked {
	c := &chunked{ctx: ctx, st: st, digest: d, chunks: chunks, ends: make([]uint64, len(chunks))}
	end := uint64(0)
	for i := range chunks {
		end += chunks[i].Size
		c.ends[i] = end
	}
	return c
}

func (c *chunked) Size() uint64 { return c.ends[len(c.ends)-1] }

func (c *chunked) Close() error {
	c.st.frames.release(c.held)
	c.data, c.held = nil, nil
	return nil
}

// load makes the chunk i the one that is read from.
func (c *chunked) load(i int) error {
	if c.data != nil && c.number == i {
		return nil
	}
	c.Close()
	data, held, err := c.st.chunk(c.digest, c.chunks[i], nil)
	if err == nil {
		err = c.st.verifyChunk(c.digest, c.chunks[i], data)
	}
	if err != nil {
		c.st.frames.release(held)
		return err
	}
	c.number, c.data, c.held = i, data, held
	return nil
}

func (c *chunked) Seek(offset int64, whence int) (int64, error) {
	at, err := store.SeekTo(c.at, c.Size(), offset, whence)
	if err == nil {
		c.at = at
	}
	return int64(at), err
}

func (c *chunked) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.at >= c.Size() {
		return 0, io.EOF
	}
	i := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > c.at })
	if err := c.load(i); err != nil {
		return 0, err
	}
	n := copy(p, c.data[c.at-(c.ends[i]-c.chunks[i].Size):])
	c.at += uint64(n)
	return n, nil
}

// WriteTo decodes chunks ahead, in parallel. From the beginning it hashes what it writes, once; from elsewhere it
// checks each chunk.
func (c *chunked) WriteTo(w io.Writer) (n int64, err error) {
	if c.at != 0 {
		return io.Copy(w, struct{ io.Reader }{c})
	}
	var h store.Hasher
	for data, err := range c.st.readAhead(c.ctx, c.digest, c.chunks) {
		if err != nil {
			return n, err
		}
		h.Write(data)
		m, err := w.Write(data)
		n += int64(m)
		c.at += uint64(m)
		if err != nil {
			return n, err
		}
	}
	if h.Sum() != c.digest {
		return n, &store.CorruptError{Digest: c.digest, Err: store.ErrDigestMismatch}
	}
	return n, nil
}

// chunk returns the bytes of a chunk of the blob d, of the right length but not checked against their digest. They are
// as view returns them.
func (st *Store) chunk(d store.Digest, c store.Chunk, buf []byte) (data []byte, held *cachedFrame, err error) {
	l, data, err := st.lookup(kindData, c.Digest, true)
	if store.IsNotFound(err) {
		return nil, nil, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %w", err)}
	}
	if err == nil && data == nil {
		if l.frame.kind != kindData {
			return nil, nil, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %s is a list of chunks", c.Digest)}
		}
		data, held, err = st.view(l, buf)
	}
	if err != nil {
		return nil, nil, st.about(d, err)
	}
	if uint64(len(data)) != c.Size {
		st.frames.release(held)
		err := fmt.Errorf("chunk %s has %d bytes, want %d", c.Digest, len(data), c.Size)
		return nil, nil, &store.CorruptError{Digest: d, Where: st.fs.Path(l.String()), Err: err}
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

// readAhead yields the bytes of chunks in order while it decodes some that follow. They are valid until the next.
func (st *Store) readAhead(ctx context.Context, d store.Digest, chunks []store.Chunk) iter.Seq2[[]byte, error] {
	type result struct {
		buf, data []byte
		held      *cachedFrame
		err       error
	}
	release := func(r result) {
		st.frames.release(r.held)
		st.release(r.buf)
	}
	return func(yield func([]byte, error) bool) {
		ahead := cap(st.slots) + 1
		var queue []chan result // the chunks being decoded, in order
		next := 0
		defer func() {
			for _, c := range queue {
				release(<-c)
			}
		}()
		for i := range chunks {
			for ; next < len(chunks) && next <= i+ahead; next++ {
				done := make(chan result, 1)
				queue = append(queue, done)
				go func(c store.Chunk) {
					buf := st.buffer(min(int(c.Size), bufferSize))
					data, held, err := st.chunk(d, c, buf)
					done <- result{buf, data, held, err}
				}(chunks[next])
			}
			r := <-queue[0]
			queue = queue[1:]
			if r.err == nil {
				r.err = ctx.Err()
			}
			ok := yield(r.data, r.err) && r.err == nil
			release(r)
			if !ok {
				return
			}
		}
	}
}

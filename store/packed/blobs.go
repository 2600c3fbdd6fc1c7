package packed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sort"
	"time"

	"castar/store"
)

// blobs implements store.Blobs.
type blobs struct{ st *Store }

// Has may miss what another process committed a tenth of a second ago: an ingest asks for every file that is new, which
// must not cost it a system call each. All else that reads sees at once what is committed.
func (b blobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	has := b.st.has(kindData, &d)
	if !has && b.st.due() && b.st.refresh() {
		has = b.st.has(kindData, &d)
	}
	return has, ctx.Err()
}

// due reports whether it is time for Has to look for what others committed, to one caller each time.
func (st *Store) due() bool {
	now, last := int64(time.Since(st.opened)), st.looked.Load()
	return now-last >= int64(st.limits.look) && st.looked.CompareAndSwap(last, now)
}

func (b blobs) Put(ctx context.Context, data []byte) (store.Digest, error) {
	return lane{b, 0}.Put(ctx, data)
}

func (b blobs) Create(ctx context.Context) (store.BlobWriter, error) { return lane{b, 0}.Create(ctx) }

// Lane implements store.Laner.
func (b blobs) Lane() store.Blobs { return lane{b, int(b.st.lanes.Add(1) % laneCount)} }

// laneCount is how many lanes a session has at most: each has a group that is being filled. More than that share them.
const laneCount = 8

// lane is blobs whose small objects are put into groups that other lanes do not put into.
type lane struct {
	blobs
	number int
}

func (b lane) Put(ctx context.Context, data []byte) (store.Digest, error) {
	if err := ctx.Err(); err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(data)
	if len(data) <= b.st.cutter.Params().Min {
		return d, b.st.putWhole(kindData, b.number, d, data)
	}
	return d, b.putCut(ctx, d, data)
}

// putCut stores the blob d in chunks, unless it is there.
func (b lane) putCut(ctx context.Context, d store.Digest, data []byte) error {
	st := b.st
	if st.has(kindData, &d) {
		return nil
	}
	if n := st.cutter.Cut(data); n == len(data) {
		return st.putWhole(kindData, b.number, d, data)
	}
	var chunks []store.Chunk
	for len(data) > 0 {
		n := st.cutter.Cut(data)
		c := store.Chunk{Digest: store.Sum(data[:n]), Size: uint64(n)}
		if err := st.putWhole(kindData, b.number, c.Digest, data[:n]); err != nil {
			return err
		}
		chunks = append(chunks, c)
		data = data[n:]
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return st.putWhole(kindList, 0, d, appendList(nil, chunks))
}

func (b lane) Create(ctx context.Context) (store.BlobWriter, error) {
	return &writer{st: b.st, lane: b.number, ctx: ctx}, b.st.writable()
}

func (b blobs) Chunks(_ context.Context, d store.Digest) ([]store.Chunk, error) {
	l, data, err := b.st.lookup(kindData, d, true)
	if err != nil || l.frame.kind != kindList {
		return nil, err
	}
	return b.st.chunkList(d, l, data)
}

func (b blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	st := b.st
	l, data, err := st.lookup(kindData, d, true)
	if err != nil {
		return nil, err
	}
	if l.frame.kind == kindList {
		chunks, err := st.chunkList(d, l, data)
		if err != nil {
			return nil, err
		}
		return newChunked(ctx, st, d, chunks), nil
	}
	var held *cachedFrame
	if data == nil {
		if data, held, err = st.view(l, nil); err != nil {
			return nil, st.about(d, err)
		}
	}
	if err := st.verify(d, l, data); err != nil {
		st.frames.release(held)
		return nil, err
	}
	return &whole{*bytes.NewReader(data), st, held}, nil
}

// lookup returns where an object is, and its bytes if it is not written yet. The error is store.ErrNotFound, or a
// *store.CorruptError where it is known to be damaged. Another process may just have committed what it does not find.
func (st *Store) lookup(k kind, d store.Digest, wantData bool) (location, []byte, error) {
	l, data, ok := st.find(k, &d, wantData)
	if !ok && st.refresh() {
		l, data, ok = st.find(k, &d, wantData)
	}
	if !ok {
		return l, nil, st.quarantined(k, &d)
	}
	return l, data, nil
}

// chunkList returns the chunks of the blob d, whose list is at l or, if it is not written yet, in data.
func (st *Store) chunkList(d store.Digest, l location, data []byte) ([]store.Chunk, error) {
	if data == nil {
		var err error
		if data, err = st.object(l); err != nil {
			return nil, st.about(d, err)
		}
	}
	chunks, err := parseList(data)
	if err != nil {
		return nil, &store.CorruptError{Digest: d, Where: st.fs.Path(l.String()), Err: err}
	}
	return chunks, nil
}

// object returns the bytes at l, unchecked. They are the caller's.
func (st *Store) object(l location) ([]byte, error) {
	data, held, err := st.view(l, nil)
	if held != nil {
		data = bytes.Clone(data)
	}
	st.frames.release(held)
	return data, err
}

// view returns the bytes at l, unchecked. Those of a frame with many objects are part of the cached frame that is
// returned with them, are valid until it is released, and must not be changed; those of a frame with one are read into
// buf, or into a new slice where buf is nil or too small, and the frame is then nil.
func (st *Store) view(l location, buf []byte) ([]byte, *cachedFrame, error) {
	if l.size == l.frame.raw {
		data, err := st.readFrame(l.frame, buf)
		return data, nil, err
	}
	payload, held, err := st.frames.get(st, l.frame)
	if err != nil {
		return nil, nil, err
	}
	if uint64(l.offset)+uint64(l.size) > uint64(len(payload)) { // two indexes disagree about the frame
		st.frames.release(held)
		return nil, nil, st.corrupt(l.frame, errImpossible)
	}
	return payload[l.offset:][:l.size:l.size], held, nil
}

// verify checks bytes against their digest.
func (st *Store) verify(d store.Digest, l location, data []byte) error {
	if store.Sum(data) != d {
		return &store.CorruptError{Digest: d, Where: st.fs.Path(l.String()), Err: store.ErrDigestMismatch}
	}
	return nil
}

// about says which object damage was met at.
func (st *Store) about(d store.Digest, err error) error {
	if c, ok := errors.AsType[*store.CorruptError](err); ok && c.Digest == (store.Digest{}) {
		return &store.CorruptError{Digest: d, Where: c.Where, Err: c.Err}
	}
	return err
}

// List implements store.Lister.
func (st *Store) List(ctx context.Context, prefix store.Digest, nibbles int) iter.Seq2[store.Digest, error] {
	return func(yield func(store.Digest, error) bool) {
		st.mu.Lock()
		sessions := append([]*session{st.current}, st.sealed...)
		st.mu.Unlock()
		for _, s := range sessions {
			for _, d := range s.list(prefix, nibbles) {
				if !yield(d, ctx.Err()) {
					return
				}
			}
		}
		for _, x := range *st.indexes.Load() {
			for _, k := range []kind{kindDirectory, kindData} {
				t := x.table(k)
				lo, hi := t.Range(prefix[:], nibbles)
				for i := lo; i < hi; i++ {
					if !yield(store.Digest(t.Record(i)[:store.DigestSize]), ctx.Err()) {
						return
					}
				}
			}
		}
	}
}

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
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += int64(c.at)
	case io.SeekEnd:
		offset += int64(c.Size())
	default:
		return 0, fmt.Errorf("seek: invalid whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("seek: negative position")
	}
	c.at = uint64(offset)
	return offset, nil
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
					buf := st.buffer()
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

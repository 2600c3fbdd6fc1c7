package packed

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"time"

	"castar/store"
	"castar/store/chunk"
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

// putCut stores the blob d in chunks, unless it is there. The caller's goroutine does it all: of many blobs that are put
// at once, each keeps a core busy.
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
	return chunk.NewWriter(ctx, b.st.writers, sink{b.st, b.number}), b.st.writable()
}

// sink stores one blob by a lane. It implements chunk.Sink.
type sink struct {
	st   *Store
	lane int
}

// Ready commits the session if it has grown large.
func (s sink) Ready() error { return s.st.checkpoint() }

// Has says no: all chunks but the last few are stored by then, and each of these is looked up anyway.
func (s sink) Has(store.Digest) (bool, error) { return false, nil }

func (s sink) PutChunk(d store.Digest, data []byte) error {
	return s.st.put(kindData, s.lane, d, data, true)
}

func (s sink) PutWhole(d store.Digest, data []byte) error {
	return s.st.putWhole(kindData, s.lane, d, data)
}

func (s sink) PutList(d store.Digest, chunks []store.Chunk) error {
	return s.st.putWhole(kindList, 0, d, appendList(nil, chunks))
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
	if l.frame.kind == kindList && l.size > maxContents && data == nil {
		b, err := newLong(ctx, st, d, l)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
	if l.frame.kind == kindList {
		chunks, err := st.chunkList(d, l, data)
		if err != nil {
			return nil, err
		}
		return st.reader(ctx, d, chunks), nil
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
	if l.size > maxContents { // room for all is made only where there are as many
		for _, err := range st.eachChunk(l, data) {
			if err != nil {
				return nil, st.about(d, err)
			}
		}
	}
	chunks := make([]store.Chunk, 0, l.size/itemLen)
	for c, err := range st.eachChunk(l, data) {
		if err != nil {
			return nil, st.about(d, err)
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

// use calls f with the bytes at l, unchecked, which are not to be kept. Those of large objects wait until others are done
// with theirs; so f must not ask for any.
func (st *Store) use(l location, f func(data []byte) error) error {
	defer st.weigh(l.size)()
	data, held, err := st.view(l, nil)
	if err != nil {
		return err
	}
	defer st.frames.release(held)
	return f(data)
}

// weigh waits until there is memory for an object of that size, and for what it decodes to as a directory, several times as
// much. It returns what gives the memory back. Small objects need not wait.
func (st *Store) weigh(size uint32) (land func()) {
	const small, times = 1 << 20, 8
	if size <= small {
		return func() {}
	}
	return st.flight.take(times * int(size))
}

// view returns the bytes at l, unchecked. Those of a frame with many objects are part of the cached frame that is
// returned with them, are valid until it is released, and must not be changed; those of a frame with one are read into
// buf, or into a new slice where buf is nil or too small, and the frame is then nil.
func (st *Store) view(l location, buf []byte) ([]byte, *cachedFrame, error) {
	if l.large() {
		if l.offset > maxContents {
			return nil, nil, st.corrupt(l.frame, errOutside)
		}
		data, err := st.readPiece(l)
		return data, nil, err
	}
	if l.size == l.frame.raw {
		data, err := st.readFrame(l.frame, buf)
		return data, nil, err
	}
	payload, held, err := st.frames.get(st, l.frame, int(l.size))
	if err != nil {
		return nil, nil, err
	}
	if uint64(l.offset)+uint64(l.size) > uint64(len(payload)) { // two indexes disagree about the frame
		st.frames.release(held)
		return nil, nil, st.corrupt(l.frame, errOutside)
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
		known := st.quarantine.Load()
		sweeping := known != nil && known.swept != nil
		for _, x := range *st.indexes.Load() {
			for _, k := range []kind{kindDirectory, kindData} {
				t := x.table(k)
				lo, hi := t.Range(prefix[:], nibbles)
				for i := lo; i < hi; i++ {
					if _, l, ok := x.record(k, i); sweeping && ok && known.isSwept(x.digest(k, i), l) {
						continue
					}
					if !yield(store.Digest(t.Record(i)[:store.DigestSize]), ctx.Err()) {
						return
					}
				}
			}
		}
	}
}

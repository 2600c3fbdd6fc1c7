package live

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"castar/store"
	"castar/store/chunk"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// Blobs implements store.Blobs, store.Laner, store.Grouper and store.Joiner. Its small objects are put into groups that
// other lanes do not put into.
type Blobs struct {
	st   *Store
	lane int
}

// Blobs returns the blobs of the store.
func (st *Store) Blobs() Blobs { return Blobs{st, 0} }

// Has may miss what another process committed in the last tenth of a second. An ingest asks for every new file, and a
// system call for each would cost too much. All other reads see at once what is committed.
func (b Blobs) Has(ctx context.Context, d store.Digest) (bool, error) {
	has := b.st.Has(pack.KindData, &d)
	if !has && b.st.due() && b.st.Refresh() {
		has = b.st.Has(pack.KindData, &d)
	}
	return has, ctx.Err()
}

// due reports whether Has should look for what other processes committed. It says so to one caller each time.
func (st *Store) due() bool {
	now, last := int64(time.Since(st.opened)), st.looked.Load()
	return now-last >= int64(st.Limits.Look) && st.looked.CompareAndSwap(last, now)
}

// Lane implements store.Laner.
func (b Blobs) Lane() store.Blobs { return Blobs{b.st, int(b.st.lanes.Add(1) % laneCount)} }

// laneCount is how many lanes a session has at most. Each has a group that is being filled. If there are more callers,
// they share lanes.
const laneCount = 8

// Put implements store.Blobs.
func (b Blobs) Put(ctx context.Context, data []byte) (store.Digest, error) {
	if err := ctx.Err(); err != nil {
		return store.Digest{}, err
	}
	d := store.Sum(data)
	if len(data) <= b.st.Cutter.Params().Min {
		return d, b.st.PutWhole(pack.KindData, b.lane, d, data)
	}
	return d, b.putCut(ctx, d, data)
}

// putCut stores the blob d in chunks, unless the store has it. The caller's goroutine does all the work: when many blobs
// are put at once, each keeps a core busy.
func (b Blobs) putCut(ctx context.Context, d store.Digest, data []byte) error {
	st := b.st
	if st.Has(pack.KindData, &d) {
		return nil
	}
	if n := st.Cutter.Cut(data); n == len(data) {
		return st.PutWhole(pack.KindData, b.lane, d, data)
	}
	var chunks []store.Chunk
	for at := 0; at < len(data); {
		begin, first := at, len(chunks)
		for at < len(data) && at-begin < pack.GroupSize/2 {
			n := st.Cutter.Cut(data[at:])
			chunks = append(chunks, store.Chunk{Digest: store.Sum(data[at:][:n]), Size: uint64(n)})
			at += n
		}
		if err := st.putRun(b.lane, uint64(begin), data[begin:at], chunks[first:], false); err != nil {
			return err
		}
		if err := cmp.Or(ctx.Err(), st.checkpoint()); err != nil {
			return err
		}
	}
	return st.PutWhole(pack.KindList, 0, d, pack.AppendList(nil, chunks))
}

// Create implements store.Blobs.
func (b Blobs) Create(ctx context.Context) (store.BlobWriter, error) {
	return chunk.NewWriter(ctx, b.st.Writers, sink(b)), b.st.Writable()
}

// sink implements chunk.Sink for one blob.
type sink Blobs

// Ready commits the session if it has grown large.
func (s sink) Ready() error { return s.st.checkpoint() }

// Has says no. All chunks but the last few are stored by then, and each of those is looked up anyway.
func (s sink) Has(store.Digest) (bool, error) { return false, nil }

func (s sink) PutChunk(d store.Digest, data []byte) error {
	return s.st.Put(pack.KindData, s.lane, d, data, true)
}

// Together implements chunk.RunSink.
func (s sink) Together() int { return pack.GroupSize }

// PutRun implements chunk.RunSink.
func (s sink) PutRun(at uint64, data []byte, chunks []store.Chunk) error {
	return s.st.putRun(s.lane, at, data, chunks, true)
}

func (s sink) PutWhole(d store.Digest, data []byte) error {
	return s.st.PutWhole(pack.KindData, s.lane, d, data)
}

func (s sink) PutList(d store.Digest, chunks []store.Chunk) error {
	return s.st.PutWhole(pack.KindList, 0, d, pack.AppendList(nil, chunks))
}

// Chunks implements store.Blobs.
func (b Blobs) Chunks(_ context.Context, d store.Digest) ([]store.Chunk, error) {
	l, data, err := b.st.Lookup(pack.KindData, d, true)
	if err != nil || l.Frame.Kind != pack.KindList {
		return nil, err
	}
	return b.st.ChunkList(d, l, data)
}

// Open implements store.Blobs.
func (b Blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	st := b.st
	l, data, err := st.Lookup(pack.KindData, d, true)
	if err != nil {
		return nil, err
	}
	if l.Frame.Kind == pack.KindList && l.Size > pack.MaxContents && data == nil {
		size, err := st.listSize(d, l, nil)
		if err != nil {
			return nil, err
		}
		return &long{ctx: ctx, st: st, digest: d, list: l, size: size}, nil
	}
	if l.Frame.Kind == pack.KindList {
		chunks, err := st.ChunkList(d, l, data)
		if err != nil {
			return nil, err
		}
		return st.reader(ctx, d, chunks), nil
	}
	v := pack.Viewed{Data: data, Release: func() {}}
	if data == nil {
		if v, err = st.Packs.View(l); st.movedAway(err) {
			return b.Open(ctx, d)
		}
		if err != nil {
			return nil, st.about(d, err)
		}
	}
	if err := st.verify(d, l, v.Data); err != nil {
		v.Release()
		return nil, err
	}
	return &whole{*bytes.NewReader(v.Data), v}, nil
}

// Lookup returns where an object is, and its bytes if it is not written yet. If it does not find the object, it looks for
// what other processes have just committed. The error is store.ErrNotFound, or a *store.CorruptError if the object is known
// to be damaged.
func (st *Store) Lookup(k pack.Kind, d store.Digest, wantData bool) (pack.Location, []byte, error) {
	l, data, ok := st.find(k, &d, wantData)
	if !ok && st.Refresh() {
		l, data, ok = st.find(k, &d, wantData)
	}
	if !ok {
		return l, nil, st.quarantined(k, &d)
	}
	return l, data, nil
}

// quarantined returns what is known of an object that lookups did not find: a *store.CorruptError if it is damaged.
func (st *Store) quarantined(k pack.Kind, d *store.Digest) error {
	known := st.Quarantine.Load()
	if l, ok := known.Find(*st.Indexes.Load(), k, d); ok && !known.IsSwept(d, l) {
		return &store.CorruptError{Digest: *d, Where: st.Fs.Path(l.String()), Err: sealed.ErrQuarantined}
	}
	return fmt.Errorf("%s: %w", d, store.ErrNotFound)
}

// ChunkList returns the chunks of the blob d, whose list is at l or, if it is not written yet, in data.
func (st *Store) ChunkList(d store.Digest, l pack.Location, data []byte) ([]store.Chunk, error) {
	if l.Size > pack.MaxContents { // count them before memory for all is allocated
		for _, err := range st.Packs.Chunks(l, data) {
			if err != nil {
				return nil, st.about(d, err)
			}
		}
	}
	chunks := make([]store.Chunk, 0, l.Size/pack.ItemLen)
	for c, err := range st.Packs.Chunks(l, data) {
		if st.movedAway(err) {
			return st.Blobs().Chunks(context.Background(), d)
		}
		if err != nil {
			return nil, st.about(d, err)
		}
		chunks = append(chunks, c)
	}
	return chunks, nil
}

// verify checks bytes against their digest.
func (st *Store) verify(d store.Digest, l pack.Location, data []byte) error {
	if store.Sum(data) != d {
		return &store.CorruptError{Digest: d, Where: st.Fs.Path(l.String()), Err: store.ErrDigestMismatch}
	}
	return nil
}

// about adds to damage which object it was found in.
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
		sessions := append([]*session{st.current}, st.closing...)
		st.mu.Unlock()
		for _, s := range sessions {
			for _, d := range s.list(prefix, nibbles) {
				if !yield(d, ctx.Err()) {
					return
				}
			}
		}
		known := st.Quarantine.Load()
		sweeping := known != nil && known.Swept != nil
		for _, x := range *st.Indexes.Load() {
			for _, k := range []pack.Kind{pack.KindDirectory, pack.KindData} {
				t := x.Table(k)
				lo, hi := t.Range(prefix[:], nibbles)
				for i := lo; i < hi; i++ {
					if _, l, ok := x.Record(k, i); sweeping && ok && known.IsSwept(x.Digest(k, i), l) {
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

// BlobSize implements store.Scrubber.
func (st *Store) BlobSize(_ context.Context, d store.Digest) (uint64, error) {
	l, data, err := st.Lookup(pack.KindData, d, true)
	if err != nil || l.Frame.Kind != pack.KindList {
		return uint64(l.Size), err
	}
	return st.listSize(d, l, data)
}

// listSize returns how long the blob d is, whose list is at l or, if it is not written yet, in data.
func (st *Store) listSize(d store.Digest, l pack.Location, data []byte) (size uint64, err error) {
	for c, err := range st.Packs.Chunks(l, data) {
		if err != nil {
			return 0, st.about(d, err)
		}
		size += c.Size
	}
	return size, nil
}

// Directories implements store.Directories.
type Directories struct{ st *Store }

// Directories returns the directories of the store.
func (st *Store) Directories() Directories { return Directories{st} }

// Get implements store.Directories.
func (ds Directories) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st := ds.st
	l, data, err := st.Lookup(pack.KindDirectory, d, true)
	if err != nil {
		return nil, err
	}
	var dir store.Directory
	decode := func(data []byte) (err error) {
		if err := st.verify(d, l, data); err != nil {
			return err
		}
		if dir, err = store.DecodeDirectory(data); err != nil {
			return &store.CorruptError{Digest: d, Where: st.Fs.Path(l.String()), Err: err}
		}
		return nil
	}
	if data != nil {
		err = decode(data)
	} else {
		err = st.Packs.Use(l, decode)
	}
	if st.movedAway(err) {
		return ds.Get(ctx, d)
	}
	if err != nil {
		return nil, st.about(d, err)
	}
	return dir, nil
}

// Put implements store.Directories.
func (ds Directories) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	if err := ctx.Err(); err != nil {
		return store.Digest{}, err
	}
	buf, ok := ds.st.messages.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer ds.st.messages.Put(buf)
	b, err := store.AppendDirectory((*buf)[:0], dir)
	if err != nil {
		return store.Digest{}, err
	}
	if cap(b) <= mostMessage {
		*buf = b
	}
	d := store.Sum(b)
	return d, ds.st.PutWhole(pack.KindDirectory, 0, d, b)
}

// mostMessage is the largest buffer for a message of a directory that is used again, in bytes.
const mostMessage = 64 << 10

// Walk implements store.Directories.
func (ds Directories) Walk(ctx context.Context, root store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return store.WalkByGet(ctx, ds, root)
}

// Upload implements store.Directories.
func (ds Directories) Upload(context.Context) (store.DirectoryWriter, error) {
	return store.UploadByPut(ds), ds.st.Writable()
}

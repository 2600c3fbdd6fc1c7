package live

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"syscall"

	"castar/store"
	"castar/store/chunk"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// whole is a blob that is in memory and checked.
type whole struct {
	bytes.Reader
	v pack.Viewed // no Release: it was closed
}

func (w *whole) Size() uint64 { return uint64(w.Reader.Size()) }

// WriteTo implements store.Blob.
func (w *whole) WriteTo(to io.Writer) (int64, error) {
	if w.v.Extent == nil || w.Len() < len(w.v.Data) {
		return w.Reader.WriteTo(to)
	}
	n, err := store.WriteFrom(to, w.v.Data, w.v.Extent)
	w.Seek(int64(n), io.SeekStart)
	return int64(n), err
}

func (w *whole) Close() error {
	w.Reset(nil) // others may use the memory now
	if w.v.Release != nil {
		w.v.Release()
	}
	w.v = pack.Viewed{}
	return nil
}

// reader returns the blob d, which is read chunk by chunk.
func (st *Store) reader(ctx context.Context, d store.Digest, chunks []store.Chunk) *chunk.Reader {
	return chunk.NewReader(ctx, chunk.Source{
		Digest: d, Chunks: chunks, Most: st.Ahead(),
		Fetch: func(_ context.Context, i int, checked bool) (chunk.Piece, error) {
			p, err := st.chunk(d, chunks[i])
			if err == nil && checked {
				if err = verifyChunk(d, chunks[i], p.Data); err != nil {
					p.Release()
				}
			}
			return p, err
		},
	})
}

// Ahead is how many chunks of a long blob are fetched ahead. Chunks that follow each other are mostly in the same group,
// which one goroutine decodes for all that wait for it. So there are as many as keep every processor at a group of its own.
func (st *Store) Ahead() int {
	const most = 64 // processors that are kept busy by one blob
	perGroup := pack.GroupSize / st.Cutter.Params().Avg
	return (min(cap(st.Slots), most) + 1) * max(1, perGroup)
}

// chunk returns the bytes of a chunk of the blob d, of the right length but not checked against their digest.
func (st *Store) chunk(d store.Digest, c store.Chunk) (p chunk.Piece, err error) {
	l, data, err := st.Lookup(pack.KindData, c.Digest, true)
	if store.IsNotFound(err) {
		return p, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %w", err)}
	}
	v := pack.Viewed{Data: data, Release: func() {}}
	if err == nil && data == nil {
		if l.Frame.Kind != pack.KindData {
			return p, &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %s is a list of chunks", c.Digest)}
		}
		if v, err = st.Packs.View(l); st.movedAway(err) {
			return st.chunk(d, c)
		}
	}
	if err != nil {
		return p, st.about(d, err)
	}
	if uint64(len(v.Data)) != c.Size {
		v.Release()
		err := fmt.Errorf("chunk %s has %d bytes, want %d", c.Digest, len(v.Data), c.Size)
		return p, &store.CorruptError{Digest: d, Where: st.Fs.Path(l.String()), Err: err}
	}
	return chunk.Piece{Data: v.Data, Release: v.Release, Extent: v.Extent}, nil
}

// verifyChunk checks the bytes of a chunk of the blob d.
func verifyChunk(d store.Digest, c store.Chunk, data []byte) error {
	if store.Sum(data) != c.Digest {
		return &store.CorruptError{Digest: d, Err: fmt.Errorf("chunk %s: %w", c.Digest, store.ErrDigestMismatch)}
	}
	return nil
}

// long is a blob of so many chunks that their list must not be in memory. It reads the list piece by piece, as it reads the
// chunks. After a seek backwards it reads the list again from its beginning.
type long struct {
	ctx    context.Context
	st     *Store
	digest store.Digest
	list   pack.Location
	size   uint64
	at     uint64 // may be past the end

	next  func() (store.Chunk, error, bool) // nil: the list is not open
	stop  func()
	start uint64 // in the blob, of the chunk in piece
	end   uint64
	piece chunk.Piece // no Release: none is loaded
}

func (b *long) Size() uint64 { return b.size }

func (b *long) Close() error {
	b.unload()
	if b.next != nil {
		b.stop()
	}
	b.next, b.start, b.end = nil, 0, 0
	return nil
}

func (b *long) unload() {
	if b.piece.Release != nil {
		b.piece.Release()
	}
	b.piece = chunk.Piece{}
}

func (b *long) Seek(offset int64, whence int) (int64, error) {
	at, err := store.SeekTo(b.at, b.size, offset, whence)
	if err == nil {
		b.at = at
	}
	return int64(at), err
}

func (b *long) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if b.at >= b.size {
		return 0, io.EOF
	}
	if err := b.load(); err != nil {
		b.Close()
		return 0, err
	}
	n := copy(p, b.piece.Data[b.at-b.start:])
	b.at += uint64(n)
	return n, nil
}

// load loads the chunk that has the next byte.
func (b *long) load() error {
	if b.piece.Release != nil && b.start <= b.at && b.at < b.end {
		return nil
	}
	if b.next == nil || b.at < b.end {
		b.Close()
		b.next, b.stop = iter.Pull2(b.st.Packs.Chunks(b.list, nil))
	}
	b.unload()
	for {
		c, err, ok := b.next()
		if err == nil && !ok {
			err = io.ErrUnexpectedEOF // it was longer a moment ago
		}
		if err == nil {
			err = b.ctx.Err()
		}
		if err != nil {
			return b.st.about(b.digest, err)
		}
		b.start, b.end = b.end, b.end+c.Size
		if b.at >= b.end {
			continue
		}
		if b.piece, err = b.st.chunk(b.digest, c); err != nil {
			b.piece = chunk.Piece{}
			return err
		}
		return verifyChunk(b.digest, c, b.piece.Data)
	}
}

// WriteTo decodes chunks ahead, in parallel. It hashes what it writes once if it begins at the beginning of the blob, and
// otherwise checks each chunk.
func (b *long) WriteTo(w io.Writer) (n int64, err error) {
	if b.at != 0 {
		return io.Copy(w, struct{ io.Reader }{b})
	}
	n, err = b.st.WriteChunks(b.ctx, b.digest, b.st.Packs.Chunks(b.list, nil), w)
	b.at += uint64(n)
	return n, err
}

// WriteChunks writes the blob d, which consists of chunks, and checks it as a whole.
func (st *Store) WriteChunks(ctx context.Context, d store.Digest, chunks iter.Seq2[store.Chunk, error], w io.Writer) (n int64, err error) {
	load := func(_ context.Context, c store.Chunk) (chunk.Piece, error) { return st.chunk(d, c) }
	sum, n, err := chunk.Join(ctx, chunks, st.Ahead(), load, w)
	if err == nil && sum != d {
		err = &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return n, st.about(d, err)
}

// clones returns store.Store.Clones. Contents that lie in a file of this machine, as they are, have an extent.
func (st *Store) clones() func(fd int) error {
	if st.Bucket != nil {
		return nil
	}
	return func(fd int) error {
		f, err := st.Fs.Open(sealed.ConfigName)
		if err != nil {
			return err
		}
		defer f.Close()
		if c, ok := f.(store.Cloneable); ok {
			return c.CloneTo(fd, 0, 0, 0)
		}
		return syscall.ENOTSUP
	}
}

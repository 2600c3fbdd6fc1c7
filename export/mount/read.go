//go:build linux

package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"castar/store"
	"castar/store/tree"
)

const (
	// smallFile is the size up to which a file is read as one piece: castore's longest chunk.
	smallFile = 512 << 10
	// longPiece is the size above which a chunk is not kept in memory. No chunks of castore's are that long, but a blob
	// may be stored whole.
	longPiece = 8 << 20
	// longList is the size of a file above which its chunks are not listed in memory. There are 40 bytes for each 256 KiB.
	longList = 64 << 30
	// mostAhead is how many pieces are fetched ahead of a reader, and how many at once for all.
	mostAhead = 16
)

// file is what is known of the contents of a file that is read.
type file struct {
	pieces []store.Chunk // empty: it is read from blob
	ends   []uint64      // of each piece, in the file

	mu      sync.Mutex
	last    int // the last piece that was asked for
	ahead   int // how many pieces to fetch ahead
	blob    store.Blob
	dropped bool // from the cache, so blob must not stay open
}

// contents is the identity of a file's contents. A directory may give a blob a wrong size.
type contents struct {
	digest store.Digest
	size   uint64
}

func (f *file) weight() int64 { return 300 + 50*int64(len(f.pieces)) }

// drop closes what the file holds open.
func (f *file) drop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dropped = true
	f.closeBlob()
}

func (f *file) closeBlob() {
	if f.blob != nil {
		f.blob.Close()
	}
	f.blob = nil
}

// read returns the bytes of the file p from offset on: as many as buf is long, if there are so many. All were checked
// against a digest. They may be in buf, and are valid until Done is called.
func (fs *fsys) read(ctx context.Context, p *place, offset uint64, buf []byte) (*readResult, error) {
	n, all := p.node, new(readResult)
	if offset >= n.Size {
		return all, nil
	}
	buf = buf[:min(uint64(len(buf)), n.Size-offset)]
	if whole := (store.Chunk{Digest: n.Digest, Size: n.Size}); uint64(len(buf)) == n.Size && n.Size <= smallFile {
		if fs.st.RemoteBlobs != nil {
			fs.filesAhead(p)
			return all, fs.readPiece(ctx, whole, 0, n.Size, all)
		}
		data, err := fs.fetch(ctx, whole, buf)
		all.bytes = [][]byte{data}
		return all, err
	}
	f, err := fs.files.get(ctx, contents{n.Digest, n.Size}, func() (*file, error) { return fs.openFile(ctx, n) })
	if err != nil {
		return nil, err
	}
	if len(f.pieces) == 0 {
		all.bytes = [][]byte{buf}
		return all, fs.readBlob(f, n, offset, buf)
	}
	i := sort.Search(len(f.ends), func(i int) bool { return f.ends[i] > offset })
	fs.fetchAhead(f, i)
	for end := offset + uint64(len(buf)); offset < end; i++ {
		start := f.ends[i] - f.pieces[i].Size
		if err := fs.readPiece(ctx, f.pieces[i], offset-start, end-offset, all); err != nil {
			all.Done()
			return nil, err
		}
		offset = f.ends[i]
	}
	return all, nil
}

// readPiece adds the bytes of a piece from an offset on to all, at most n. A piece that the kernel has got all of is not
// kept: the kernel keeps it.
func (fs *fsys) readPiece(ctx context.Context, c store.Chunk, from, n uint64, all *readResult) error {
	p, err := fs.piece(ctx, c)
	if err != nil {
		return err
	}
	if p.left.Add(-int64(all.add(p, from, n))) <= 0 {
		fs.pieces.drop(contents{c.Digest, c.Size})
	}
	return nil
}

// openFile finds the pieces of a file.
func (fs *fsys) openFile(ctx context.Context, n store.Node) (*file, error) {
	f := &file{last: -1}
	switch {
	case n.Size <= smallFile:
		f.pieces = []store.Chunk{{Digest: n.Digest, Size: n.Size}}
	case n.Size <= longList:
		all, err := fs.st.Blobs.Chunks(ctx, n.Digest)
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			if c.Size > longPiece {
				f.pieces = nil
				break
			}
			if c.Size > 0 {
				f.pieces = append(f.pieces, c)
			}
		}
	}
	end := uint64(0)
	for _, c := range f.pieces {
		end += c.Size
		f.ends = append(f.ends, end)
	}
	if len(f.pieces) > 0 && end != n.Size {
		return nil, &store.CorruptError{Digest: n.Digest, Err: fmt.Errorf("%d bytes, but its directory says %d", end, n.Size)}
	}
	fs.reports.answered()
	return f, nil
}

// readBlob fills buf from a file that has no pieces.
func (fs *fsys) readBlob(f *file, n store.Node, offset uint64, buf []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blob == nil {
		b, err := tree.OpenFile(fs.ctx, fs.st, n) // it outlives the call
		if err != nil {
			return err
		}
		f.blob = b
	}
	_, err := f.blob.Seek(int64(offset), io.SeekStart)
	if err == nil {
		_, err = io.ReadFull(f.blob, buf)
	}
	if err != nil || f.dropped {
		f.closeBlob()
	}
	if err == nil {
		fs.reports.answered()
	}
	return err
}

// fetch returns the bytes of a whole blob or chunk, in buf if there is room.
func (fs *fsys) fetch(ctx context.Context, c store.Chunk, buf []byte) ([]byte, error) {
	b, err := fs.st.Blobs.Open(ctx, c.Digest)
	if err != nil {
		return nil, store.About("blob", c.Digest, err)
	}
	defer b.Close()
	if b.Size() != c.Size {
		return nil, &store.CorruptError{Digest: c.Digest, Err: fmt.Errorf("%d bytes, but want %d", b.Size(), c.Size)}
	}
	data := collector(buf[:0])
	if _, err := b.WriteTo(&data); err != nil {
		return nil, store.About("blob", c.Digest, err)
	}
	if uint64(len(data)) != c.Size {
		return nil, store.About("blob", c.Digest, io.ErrUnexpectedEOF)
	}
	fs.reports.answered()
	return data, nil
}

// collector keeps what is written to it. It clears no memory first, as make does.
type collector []byte

func (c *collector) Write(p []byte) (int, error) {
	*c = append(*c, p...)
	return len(p), nil
}

// fetchAhead fetches pieces after i in the background, if the file is read from front to back. The kernel reads ahead
// too, so the requests of one reader come a little out of order.
func (fs *fsys) fetchAhead(f *file, i int) {
	const jitter = 8
	f.mu.Lock()
	if i < f.last-jitter || i > f.last+jitter {
		f.ahead, f.last = 0, i // elsewhere
	} else if i > f.last {
		f.ahead, f.last = min(2*f.ahead+1, mostAhead), i
	}
	from, to := f.last+1, min(f.last+1+f.ahead, len(f.pieces))
	f.mu.Unlock()
	for ; from < to; from++ {
		if !fs.pieceAhead(f.pieces[from]) {
			return
		}
	}
}

// background runs do, unless too much is running already. An error of do is met again by the reader who needs the piece.
func (fs *fsys) background(do func()) bool {
	select {
	case fs.slots <- struct{}{}:
	default:
		return false
	}
	fs.running.Go(func() {
		defer func() { <-fs.slots }()
		do()
	})
	return true
}

// isInterrupt reports whether err is that of a caller who gave up.
func isInterrupt(err error) bool { return errors.Is(err, context.Canceled) }

package chunk

import (
	"context"
	"fmt"
	"io"
	"sort"

	"castar/store"
)

// Source tells a Reader how to get the chunks of a blob.
type Source struct {
	Digest    store.Digest  // of the blob
	Chunks    []store.Chunk // in order, at least one; the sum of their sizes fits in 64 bits
	Most      int           // how many chunks WriteTo fetches ahead
	MostBytes uint64        // bounds these chunks in bytes, if it is not 0; one is always fetched
	// Fetch returns the bytes of chunk i, which must have the size in Chunks. If checked is true, Fetch checks them
	// against the chunk's digest. Otherwise the Reader checks them as a part of the whole blob. Several calls may run
	// at once.
	Fetch func(ctx context.Context, i int, checked bool) (Piece, error)
	// Took, if not nil, is called with each chunk that is read. Its error ends the read.
	Took func(i int, data []byte) error
	// Mismatch, if not nil, is called if the chunks make up another blob. The Reader returns its result.
	Mismatch func(error) error
}

// Piece is the bytes of one chunk.
type Piece struct {
	Data    []byte
	Release func()        // called when Data is no longer used; may be nil
	Extent  *store.Extent // where Data lies until then; may be nil
	hashed  *store.Part   // Data as a part of the blob, or nil
}

func (p Piece) release() {
	if p.Release != nil {
		p.Release()
	}
}

// Reader reads a blob chunk by chunk. It implements store.Blob. Every byte that Read returns is part of a chunk with
// the right digest. If the chunks are read in order, the Reader also checks them against the digest of the blob before
// it returns the last one.
type Reader struct {
	ctx    context.Context
	src    Source
	ends   []uint64 // of each chunk
	at     uint64   // may be past the end
	number int      // of the chunk in piece
	loaded bool     // piece is set
	piece  Piece
	next   int          // chunks before this one were hashed, in order
	hash   store.Hasher // of the chunks before next
	wrong  error        // set if the chunks make up another blob
}

// NewReader returns a Reader of src at offset 0. ctx applies to every Fetch.
func NewReader(ctx context.Context, src Source) *Reader {
	r := &Reader{ctx: ctx, src: src, ends: make([]uint64, len(src.Chunks))}
	end, longest := uint64(0), uint64(1)
	for i, c := range src.Chunks {
		end += c.Size
		r.ends[i] = end
		longest = max(longest, c.Size)
	}
	if src.MostBytes > 0 {
		r.src.Most = max(1, min(src.Most, int(src.MostBytes/longest)))
	}
	return r
}

// Size implements store.Blob.
func (r *Reader) Size() uint64 { return r.ends[len(r.ends)-1] }

// Close releases the current chunk.
func (r *Reader) Close() error {
	if r.loaded {
		r.piece.release()
	}
	r.piece, r.loaded = Piece{}, false
	return nil
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	at, err := store.SeekTo(r.at, r.Size(), offset, whence)
	if err == nil {
		r.at = at
	}
	return int64(at), err
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.at >= r.Size() {
		return 0, io.EOF
	}
	i := r.find()
	if !r.loaded || r.number != i {
		if err := r.load(i); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest(i, r.piece.Data))
	r.at += uint64(n)
	return n, nil
}

// find returns the number of the chunk that has the byte at the current offset.
func (r *Reader) find() int {
	return sort.Search(len(r.ends), func(i int) bool { return r.ends[i] > r.at })
}

func (r *Reader) start(i int) uint64 { return r.ends[i] - r.src.Chunks[i].Size }

// rest returns the bytes of chunk i from the current offset on.
func (r *Reader) rest(i int, data []byte) []byte { return data[r.at-r.start(i):] }

func (r *Reader) load(i int) error {
	r.Close()
	piece, err := r.src.Fetch(r.ctx, i, true)
	if err != nil {
		return err
	}
	if err := r.take(i, piece); err != nil {
		piece.release()
		return err
	}
	r.number, r.piece, r.loaded = i, piece, true
	return nil
}

// WriteTo implements io.WriterTo. From offset 0 it hashes each byte only once, as a part of the blob. It fetches and hashes
// chunks ahead, in parallel.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	if r.at >= r.Size() {
		return 0, nil
	}
	whole := r.at == 0
	if whole {
		r.next = 0
		r.hash.Reset()
	}
	first := r.find()
	fetch := func(ctx context.Context, i int) (Piece, error) {
		p, err := r.src.Fetch(ctx, first+i, !whole)
		if err == nil && whole {
			p.hashed = new(store.NewPart(p.Data, r.start(first+i)))
		}
		return p, err
	}
	i := first
	for piece, err := range Ahead(r.ctx, len(r.ends)-first, r.src.Most, fetch, Piece.release) {
		if err == nil {
			err = r.take(i, piece)
		}
		if err != nil {
			return n, err
		}
		data := r.rest(i, piece.Data)
		if len(data) < len(piece.Data) {
			piece.Extent = nil
		}
		m, err := store.WriteFrom(w, data, piece.Extent)
		n += int64(m)
		r.at += uint64(m)
		if err != nil {
			return n, err
		}
		i++
	}
	return n, nil
}

// take hashes chunk i if it is the next in order, and passes it to Took. After the last chunk it compares the hash with
// the blob's digest.
func (r *Reader) take(i int, p Piece) error {
	if r.wrong != nil {
		return r.wrong
	}
	for r.next < i && r.src.Chunks[r.next].Size == 0 {
		r.next++
	}
	if i == r.next {
		if p.hashed != nil {
			r.hash.WritePart(*p.hashed)
		} else {
			r.hash.Write(p.Data)
		}
		r.next++
		if r.ends[i] == r.Size() && r.hash.Sum() != r.src.Digest {
			return r.mismatch()
		}
	}
	if r.src.Took != nil {
		return r.src.Took(i, p.Data)
	}
	return nil
}

// mismatch returns the error of chunks that make up another blob. Later reads return it too.
func (r *Reader) mismatch() error {
	r.wrong = &store.CorruptError{Digest: r.src.Digest, Err: fmt.Errorf("put together from its chunks: %w", store.ErrDigestMismatch)}
	if r.src.Mismatch != nil {
		r.wrong = r.src.Mismatch(r.wrong)
	}
	return r.wrong
}

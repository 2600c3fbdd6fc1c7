package chunk

import (
	"context"
	"fmt"
	"io"
	"sort"

	"castar/store"
)

// Source is where a Reader gets the chunks of a blob.
type Source struct {
	Digest store.Digest  // of the blob
	Chunks []store.Chunk // in order, at least one; the sum of their sizes fits in 64 bits
	Most   int           // how many chunks WriteTo fetches before it needs them
	// Fetch returns the bytes of chunk i, as many as its size says. With checked they hash to the chunk's digest;
	// without, the Reader hashes them as a part of the whole blob. Several calls may run at once.
	Fetch func(ctx context.Context, i int, checked bool) (Piece, error)
	// Took, if not nil, is given each chunk as it is read. Its error ends the reading.
	Took func(i int, data []byte) error
	// Mismatch, if not nil, is told that the chunks make up another blob, and returns what the Reader should say.
	Mismatch func(error) error
}

// Piece is the bytes of one chunk.
type Piece struct {
	Data    []byte
	Release func() // called once nothing uses Data any more; may be nil
}

func (p Piece) release() {
	if p.Release != nil {
		p.Release()
	}
}

// Reader reads a blob chunk by chunk. It implements store.Blob. Every byte that Read returns is part of a chunk with the
// right digest. What is read in order, from the first chunk to the last, is also checked against the digest of the blob,
// before the last chunk is returned.
type Reader struct {
	ctx    context.Context
	src    Source
	ends   []uint64 // of each chunk
	at     uint64   // may be past the end
	number int      // of the chunk in piece
	loaded bool
	piece  Piece
	next   int          // chunks before this one were hashed, in order
	hash   store.Hasher // of those
	wrong  error        // the chunks make up another blob
}

// NewReader returns a Reader of src, at offset 0. ctx bounds all that the Reader fetches.
func NewReader(ctx context.Context, src Source) *Reader {
	r := &Reader{ctx: ctx, src: src, ends: make([]uint64, len(src.Chunks))}
	end := uint64(0)
	for i := range src.Chunks {
		end += src.Chunks[i].Size
		r.ends[i] = end
	}
	return r
}

// Size implements store.Blob.
func (r *Reader) Size() uint64 { return r.ends[len(r.ends)-1] }

// Close gives back the chunk that is held.
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

// rest returns what follows the current offset in chunk i.
func (r *Reader) rest(i int, data []byte) []byte {
	return data[r.at-(r.ends[i]-r.src.Chunks[i].Size):]
}

// load makes chunk i the one that is read from.
func (r *Reader) load(i int) error {
	r.Close()
	piece, err := r.src.Fetch(r.ctx, i, true)
	if err != nil {
		return err
	}
	if err := r.take(i, piece.Data); err != nil {
		piece.release()
		return err
	}
	r.number, r.piece, r.loaded = i, piece, true
	return nil
}

// WriteTo implements io.WriterTo. From offset 0 it hashes each byte once, as a part of the blob.
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
	fetch := func(ctx context.Context, i int) (Piece, error) { return r.src.Fetch(ctx, first+i, !whole) }
	i := first
	for piece, err := range Ahead(r.ctx, len(r.ends)-first, r.src.Most, fetch, Piece.release) {
		if err == nil {
			err = r.take(i, piece.Data)
		}
		if err != nil {
			return n, err
		}
		m, err := w.Write(r.rest(i, piece.Data))
		n += int64(m)
		r.at += uint64(m)
		if err != nil {
			return n, err
		}
		i++
	}
	return n, nil
}

// take hashes chunk i if it is the next in order, compares the hash with the blob's digest after the last, and hands the
// chunk to Took.
func (r *Reader) take(i int, data []byte) error {
	if r.wrong != nil {
		return r.wrong
	}
	for r.next < i && r.src.Chunks[r.next].Size == 0 {
		r.next++
	}
	if i == r.next {
		r.hash.Write(data)
		r.next++
		if r.ends[i] == r.Size() && r.hash.Sum() != r.src.Digest {
			return r.mismatch()
		}
	}
	if r.src.Took != nil {
		return r.src.Took(i, data)
	}
	return nil
}

// mismatch is the error of a list of chunks that make up another blob. Nothing is read from it any more.
func (r *Reader) mismatch() error {
	r.wrong = &store.CorruptError{Digest: r.src.Digest, Err: fmt.Errorf("put together from its chunks: %w", store.ErrDigestMismatch)}
	if r.src.Mismatch != nil {
		r.wrong = r.src.Mismatch(r.wrong)
	}
	return r.wrong
}

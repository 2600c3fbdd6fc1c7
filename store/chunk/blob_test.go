package chunk

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"

	"castar/store"
)

// shelf is a Sink in memory.
type shelf struct {
	mu     sync.Mutex
	chunks map[store.Digest][]byte
	whole  map[store.Digest][]byte
	lists  map[store.Digest][]store.Chunk
	has    bool
	fail   func() error
}

func newShelf() *shelf {
	return &shelf{
		chunks: map[store.Digest][]byte{}, whole: map[store.Digest][]byte{}, lists: map[store.Digest][]store.Chunk{},
		fail: func() error { return nil },
	}
}

func (s *shelf) Ready() error                     { return nil }
func (s *shelf) Has(d store.Digest) (bool, error) { return s.has, nil }

func (s *shelf) PutChunk(d store.Digest, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.chunks[d] = bytes.Clone(data)
	return s.fail()
}

func (s *shelf) PutWhole(d store.Digest, data []byte) error {
	s.whole[d] = bytes.Clone(data)
	return nil
}

func (s *shelf) PutList(d store.Digest, chunks []store.Chunk) error {
	s.lists[d] = chunks
	return nil
}

// want commits w, and fails the test unless it stored data in chunks of these lengths.
func (s *shelf) want(t *testing.T, w *Writer, data []byte, lengths []int) {
	t.Helper()
	d, err := w.Commit()
	if err != nil || d != store.Sum(data) {
		t.Fatalf("%v, %v", d, err)
	}
	if len(lengths) <= 1 {
		if got, ok := s.whole[d]; !ok || !bytes.Equal(got, data) || len(s.lists) > 0 || len(s.chunks) > 0 {
			t.Fatalf("a blob of one chunk was not stored whole")
		}
		return
	}
	var got []int
	var all []byte
	for _, c := range s.lists[d] {
		if store.Sum(s.chunks[c.Digest]) != c.Digest || uint64(len(s.chunks[c.Digest])) != c.Size {
			t.Fatalf("chunk %v is not stored", c)
		}
		got = append(got, int(c.Size))
		all = append(all, s.chunks[c.Digest]...)
	}
	if !slices.Equal(got, lengths) || !bytes.Equal(all, data) {
		t.Fatalf("chunks of %v bytes, want %v", got, lengths)
	}
}

// The cut points do not depend on the sizes of reads or on the number of goroutines.
func TestWriter(t *testing.T) {
	data := inputs(3<<20 + 123)["mixed"]
	for _, avg := range []int{1 << 10, 256 << 10} {
		p, err := ParamsFor(avg)
		if err != nil {
			t.Fatal(err)
		}
		c := cutterOf(p)
		for _, slots := range []int{1, 3} {
			pool := NewPool(c, make(chan struct{}, slots))
			pool.segment = 4 * p.Max // the least; a larger one only takes more time
			for _, n := range []int{0, 1, p.Min, p.Max, p.Max + 1, pool.segment, pool.segment + 1, min(3*pool.segment, len(data))} {
				part := data[:min(n, len(data))]
				want := lengths(c, part)
				for _, r := range []io.Reader{
					bytes.NewReader(part), iotest.HalfReader(bytes.NewReader(part)), iotest.DataErrReader(bytes.NewReader(part)),
				} {
					to := newShelf()
					w := NewWriter(t.Context(), pool, to)
					if _, err := w.ReadFrom(struct{ io.Reader }{r}); err != nil {
						t.Fatal(err)
					}
					to.want(t, w, part, want)
				}
			}
		}
	}
}

// A writer that fails says why, and returns no digest.
func TestWriterError(t *testing.T) {
	data := inputs(9 << 20)["random"]
	pool := NewPool(cutterOf(Default()), make(chan struct{}, 2))
	broken := errors.New("broken")

	to := newShelf()
	to.fail = func() error { return broken }
	w := NewWriter(t.Context(), pool, to)
	w.Write(data) // may already say so
	if _, err := w.Commit(); !errors.Is(err, broken) || len(to.lists) > 0 {
		t.Errorf("%v, and %d lists, want %v and none", err, len(to.lists), broken)
	}

	ctx, cancel := context.WithCancel(t.Context())
	to = newShelf()
	w = NewWriter(ctx, pool, to)
	if _, err := w.Write(data[:1<<20]); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Commit(); !errors.Is(err, context.Canceled) || len(to.lists) > 0 {
		t.Errorf("after the context has ended: %v", err)
	}

	to = newShelf()
	w = NewWriter(t.Context(), pool, to)
	w.Write(data)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err == nil {
		t.Error("a write after Close is no error")
	}
	if _, err := w.Commit(); err == nil || len(to.lists) > 0 {
		t.Error("a commit after Close is no error")
	}

	to = newShelf()
	to.has = true
	w = NewWriter(t.Context(), pool, to)
	w.Write(data)
	if d, err := w.Commit(); err != nil || d != store.Sum(data) || len(to.lists) > 0 {
		t.Errorf("a blob that is there: %v, %v, %d lists", d, err, len(to.lists))
	}
}

// pieces returns data cut into chunks, as a Source that counts pieces that it returned and that were released.
func pieces(t *testing.T, data []byte, held *atomic.Int32) Source {
	t.Helper()
	var parts [][]byte
	s := Source{Digest: store.Sum(data), Most: 3}
	for _, n := range lengths(cutterOf(Default()), data) {
		parts = append(parts, data[:n])
		s.Chunks = append(s.Chunks, store.Chunk{Digest: store.Sum(data[:n]), Size: uint64(n)})
		data = data[n:]
	}
	s.Fetch = func(_ context.Context, i int, checked bool) (Piece, error) {
		if checked && store.Sum(parts[i]) != s.Chunks[i].Digest {
			return Piece{}, store.ErrDigestMismatch
		}
		held.Add(1)
		var once atomic.Bool
		return Piece{Data: parts[i], Release: func() {
			if once.Swap(true) {
				t.Error("a piece was released twice")
			}
			held.Add(-1)
		}}, nil
	}
	return s
}

func TestReader(t *testing.T) {
	data := inputs(3 << 20)["mixed"]
	var held atomic.Int32
	src := pieces(t, data, &held)
	r := NewReader(t.Context(), src)
	if err := iotest.TestReader(r, data); err != nil {
		t.Error(err)
	}
	for _, at := range []int64{0, 1, int64(src.Chunks[0].Size), int64(len(data)) - 1, int64(len(data)), int64(len(data)) + 5} {
		if _, err := r.Seek(at, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		n, err := r.WriteTo(&got)
		if want := data[min(at, int64(len(data))):]; err != nil || n != int64(len(want)) || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("from %d: %d bytes, %v", at, n, err)
		}
	}
	if err := r.Close(); err != nil || held.Load() != 0 {
		t.Errorf("%v, %d pieces are held after Close", err, held.Load())
	}
}

// failing fails after some writes.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// All pieces are released, whatever ends the read.
func TestReaderGivesBack(t *testing.T) {
	data := inputs(4 << 20)["random"]
	var held atomic.Int32
	src := pieces(t, data, &held)
	r := NewReader(t.Context(), src)
	if _, err := r.WriteTo(&failing{2}); err != io.ErrShortWrite {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewReader(ctx, src).WriteTo(io.Discard); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	took := errors.New("took")
	src.Took = func(i int, _ []byte) error {
		if i == 1 {
			return took
		}
		return nil
	}
	r = NewReader(t.Context(), src)
	if n, err := io.Copy(io.Discard, struct{ io.Reader }{r}); err != took || n != int64(src.Chunks[0].Size) {
		t.Errorf("%d bytes, %v", n, err)
	}
	r.Close()
	if held.Load() != 0 {
		t.Errorf("%d pieces are held", held.Load())
	}
}

// Whole chunks that make up another blob are an error when they are read in order, before the last byte is returned and
// ever after.
func TestReaderMismatch(t *testing.T) {
	data := inputs(3 << 20)["random"]
	var held atomic.Int32
	for name, read := range map[string]func(*Reader) error{
		"Read":    func(r *Reader) error { _, err := io.ReadAll(r); return err },
		"WriteTo": func(r *Reader) error { _, err := r.WriteTo(io.Discard); return err },
		"both": func(r *Reader) error {
			if _, err := io.CopyN(io.Discard, struct{ io.Reader }{r}, 300<<10); err != nil {
				return err
			}
			_, err := r.WriteTo(io.Discard)
			return err
		},
	} {
		src := pieces(t, data, &held)
		src.Digest = store.Sum([]byte("another"))
		told := 0
		src.Mismatch = func(err error) error { told++; return err }
		r := NewReader(t.Context(), src)
		if err := read(r); !errors.Is(err, store.ErrDigestMismatch) || told != 1 {
			t.Errorf("%s: %v, told %d times", name, err, told)
		}
		r.Seek(0, io.SeekStart)
		if n, err := r.Read(make([]byte, 10)); n > 0 || !errors.Is(err, store.ErrDigestMismatch) {
			t.Errorf("%s: %d bytes after it was found out, %v", name, n, err)
		}
		r.Close()
	}
	if held.Load() != 0 {
		t.Errorf("%d pieces are held", held.Load())
	}
}

func TestAheadStopsEarly(t *testing.T) {
	var running, released atomic.Int32
	fetch := func(ctx context.Context, i int) (int, error) {
		running.Add(1)
		return i, nil
	}
	want := 0
	for v, err := range Ahead(t.Context(), 100, 4, fetch, func(int) { released.Add(1) }) {
		if err != nil || v != want {
			t.Fatalf("%d, %v, want %d", v, err, want)
		}
		if want++; want == 3 {
			break
		}
	}
	if running.Load() != 7 || released.Load() != 7 {
		t.Errorf("%d were fetched and %d released, want 7: the three that were used, and four ahead", running.Load(), released.Load())
	}
}

// Fewer large chunks than small ones are read ahead.
func TestAheadByBytes(t *testing.T) {
	for size, want := range map[uint64]int{0: 64, 1: 64, 512 << 10: 64, 4 << 20: 16, 64 << 20: 1, 1 << 60: 1} {
		src := Source{Chunks: []store.Chunk{{Size: 1}, {Size: size}}, Most: 64, MostBytes: 64 << 20}
		if got := NewReader(t.Context(), src).src.Most; got != want {
			t.Errorf("%d chunks of %d bytes, want %d", got, size, want)
		}
	}
}

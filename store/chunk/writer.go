package chunk

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"castar/store"
)

// Sink stores the blob of a Writer.
type Sink interface {
	// Ready returns nil if the Sink can store more, and otherwise says why not. The Writer calls it before each
	// segment. It may wait.
	Ready() error
	// Has reports whether the store has the blob d. If so, the Writer stores no more of it. Has may always return
	// false.
	Has(d store.Digest) (bool, error)
	// Together returns how many bytes of chunks PutRun takes at once. A single chunk may be longer; 0 is one chunk at a
	// time.
	Together() int
	// PutRun stores chunks that follow each other in a longer blob. data are their bytes, and at is where these begin in
	// the blob. It does not keep data. Several calls may run at once.
	PutRun(at uint64, data []byte, chunks []store.Chunk) error
	// PutWhole stores the blob d, which is a single chunk or empty. It does not keep data.
	PutWhole(d store.Digest, data []byte) error
	// PutList stores the blob d as a list of chunks. PutRun has stored all of them.
	PutList(d store.Digest, chunks []store.Chunk) error
}

// segmentSize is how much of a blob a Writer collects before it cuts it, in bytes. It is several times the longest
// chunk, so little is carried over to the next segment.
const segmentSize = 4 << 20

// Pool is shared by the Writers of one store. It limits how many chunks they store at once. It may be used
// concurrently.
type Pool struct {
	cutter   *Cutter
	slots    chan struct{}
	segment  int       // bytes
	segments sync.Pool // of *[]byte
}

// NewPool returns a Pool that cuts with cutter. At most cap(slots) chunks are stored at once: each sends to slots
// first, and receives from it afterwards.
func NewPool(cutter *Cutter, slots chan struct{}) *Pool {
	return &Pool{cutter: cutter, slots: slots, segment: max(segmentSize, 4*cutter.Params().Max)}
}

func (p *Pool) get() []byte {
	if b, ok := p.segments.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, p.segment)
}

// put takes back a segment that grew to its full size.
func (p *Pool) put(b []byte) {
	if cap(b) >= p.segment {
		p.segments.Put(&b)
	}
}

// Writer cuts a blob and stores its chunks. It implements store.BlobWriter and io.ReaderFrom. The calling goroutine
// hashes the blob and finds its cut points in order; other goroutines hash and store the chunks. So the result does not
// depend on the number of goroutines.
type Writer struct {
	ctx  context.Context
	pool *Pool
	to   Sink
	hash store.Hasher
	buf  []byte // not yet cut

	chunks  []*store.Chunk // in order; a goroutine fills in the digest
	cut     uint64         // bytes in them
	working sync.WaitGroup
	mu      sync.Mutex
	err     error // the first error of the goroutines, or that of ctx

	committed, closed bool
	digest            store.Digest
}

// NewWriter returns a Writer that stores a blob in to. The end of ctx stops it.
func NewWriter(ctx context.Context, pool *Pool, to Sink) *Writer {
	return &Writer{ctx: ctx, pool: pool, to: to}
}

var errEnded = errors.New("blob has ended")

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		space, err := w.space()
		if err != nil {
			return n, err
		}
		m := copy(space, p)
		w.took(m)
		p = p[m:]
		n += m
	}
	return n, nil
}

// ReadFrom implements io.ReaderFrom, so that io.Copy reads straight into the segment.
func (w *Writer) ReadFrom(r io.Reader) (n int64, err error) {
	for {
		space, err := w.space()
		if err != nil {
			return n, err
		}
		m, err := r.Read(space)
		w.took(m)
		n += int64(m)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// space returns the free end of the segment. It cuts a full segment first. Most blobs are small, so a segment starts
// small and grows.
func (w *Writer) space() ([]byte, error) {
	if w.committed || w.closed {
		return nil, errEnded
	}
	if err := w.failed(); err != nil {
		return nil, err
	}
	switch full := len(w.buf) == cap(w.buf); {
	case full && 8*cap(w.buf) < w.pool.segment:
		w.buf = append(make([]byte, 0, max(64<<10, 8*cap(w.buf))), w.buf...)
	case full && cap(w.buf) < w.pool.segment:
		w.buf = append(w.pool.get(), w.buf...)
	case full:
		if err := w.flush(false); err != nil {
			return nil, err
		}
	}
	return w.buf[len(w.buf):cap(w.buf)], nil
}

func (w *Writer) took(n int) {
	w.hash.Write(w.buf[len(w.buf):][:n])
	w.buf = w.buf[:len(w.buf)+n]
}

// failed returns the first error of the goroutines, or that of the context.
func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	return w.err
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

// flush cuts the segment and starts to store its chunks. It keeps the end of the segment for the next one, unless last
// is true.
func (w *Writer) flush(last bool) error {
	if err := w.to.Ready(); err != nil {
		return err
	}
	whole, rest := w.buf, w.buf
	runs := w.runs(&rest, last)
	w.buf = nil
	if !last {
		w.buf = append(w.pool.get(), rest...)
	}
	users := new(atomic.Int32) // of the segment
	users.Store(int32(len(runs)))
	for _, r := range runs {
		select {
		case w.pool.slots <- struct{}{}:
		case <-w.ctx.Done():
			return w.failed()
		}
		w.chunks = append(w.chunks, r.chunks...)
		w.working.Go(func() {
			defer func() { <-w.pool.slots }()
			if err := r.put(w.to); err != nil {
				w.fail(err)
			}
			if users.Add(-1) == 0 {
				w.pool.put(whole)
			}
		})
	}
	return nil
}

// run is chunks that follow each other, and are stored by one goroutine.
type run struct {
	at     uint64 // of data in the blob
	data   []byte
	chunks []*store.Chunk
}

// runs cuts what is in rest, and leaves there what may not be cut yet.
func (w *Writer) runs(rest *[]byte, last bool) (runs []*run) {
	for len(*rest) >= w.pool.cutter.Params().Max || last && len(*rest) > 0 {
		n := w.pool.cutter.Cut(*rest)
		if len(runs) == 0 || len(runs[len(runs)-1].data)+n > w.to.Together() {
			runs = append(runs, &run{at: w.cut, data: (*rest)[:0]})
		}
		r := runs[len(runs)-1]
		r.data = r.data[:len(r.data)+n]
		r.chunks = append(r.chunks, &store.Chunk{Size: uint64(n)})
		*rest = (*rest)[n:]
		w.cut += uint64(n)
	}
	return runs
}

// put fills in the digests and stores the chunks.
func (r *run) put(to Sink) error {
	chunks, rest := make([]store.Chunk, len(r.chunks)), r.data
	for i, c := range r.chunks {
		c.Digest = store.Sum(rest[:c.Size])
		chunks[i], rest = *c, rest[c.Size:]
	}
	return to.PutRun(r.at, r.data[:len(r.data):len(r.data)], chunks)
}

// Commit implements store.BlobWriter.
func (w *Writer) Commit() (store.Digest, error) {
	if w.committed {
		return w.digest, nil
	}
	if w.closed {
		return store.Digest{}, errEnded
	}
	if err := w.failed(); err != nil {
		return store.Digest{}, err
	}
	d := w.hash.Sum()
	if err := w.finish(d); err != nil {
		return store.Digest{}, err
	}
	w.committed, w.digest, w.buf, w.chunks = true, d, nil, nil
	return d, nil
}

func (w *Writer) finish(d store.Digest) error {
	has, err := w.to.Has(d)
	if err != nil {
		return err
	}
	if has {
		w.working.Wait()
		return w.failed()
	}
	if len(w.chunks) == 0 && w.pool.cutter.Cut(w.buf) == len(w.buf) {
		return w.to.PutWhole(d, w.buf)
	}
	if err := w.flush(true); err != nil {
		return err
	}
	w.working.Wait()
	if err := w.failed(); err != nil {
		return err
	}
	chunks := make([]store.Chunk, len(w.chunks))
	for i, c := range w.chunks {
		chunks[i] = *c
	}
	return w.to.PutList(d, chunks)
}

// Close implements store.BlobWriter.
func (w *Writer) Close() error {
	w.working.Wait()
	w.closed, w.buf, w.chunks = true, nil, nil
	return nil
}

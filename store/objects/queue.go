package objects

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"sync"

	"castar/store"
	"castar/store/bucket"
)

// queue stands between the store and its Bucket. An object that is put can be read from the queue at once, and the
// queue's goroutines store it. They do so in batches of two phases: first objects that refer to nothing, then objects that
// promise that another exists, such as the list of the chunks of a blob. The Bucket is synced between the phases, so that no crash
// leaves a broken promise. Batches end one after another.
//
// An object that cannot be stored fails the queue for good, because nobody can tell any more whose it was. Every later put
// and sync returns the error.
type queue struct {
	bucket   bucket.Bucket
	readOnly bool
	slots    chan struct{} // one for each call of Put
	ctx      context.Context
	cancel   context.CancelFunc
	working  sync.WaitGroup // the goroutines that end batches

	mu      sync.Mutex
	pending map[string][]byte // objects that were put and are not yet in the Bucket
	batch   *batch            // the batch being filled
	err     error
	closed  bool
}

type object struct {
	name string
	body []byte
}

// batch is a set of objects that are stored together.
type batch struct {
	first  sync.WaitGroup  // goroutines of the first phase
	second []object        // objects of the second phase
	n      int             // number of objects
	before <-chan struct{} // closed when the batch before this one has ended
	done   chan struct{}   // closed when this one has ended
}

// batchSize is the number of objects in a full batch. Each batch costs one or two syncs of the Bucket.
const batchSize = 4096

var errClosed = errors.New("store is closed")

func newQueue(b bucket.Bucket, uploads int, readOnly bool) *queue {
	q := &queue{bucket: b, readOnly: readOnly, slots: make(chan struct{}, uploads), pending: map[string][]byte{}}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	start := make(chan struct{})
	close(start)
	q.batch = &batch{before: start, done: make(chan struct{})}
	return q
}

// writable returns the reason why nothing can be put, or nil.
func (q *queue) writable() error {
	if q.readOnly {
		return store.ErrReadOnly
	}
	return q.failed()
}

func (q *queue) failed() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}

func (q *queue) fail(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil && q.err == nil {
		q.err = err
	}
}

// put adds an object to the first phase. It waits while too many objects are on their way.
func (q *queue) put(ctx context.Context, name string, body []byte) error {
	if err := q.writable(); err != nil {
		return err
	}
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	q.mu.Lock()
	b, err := q.enter(name, body)
	if b != nil {
		b.first.Go(func() {
			q.store(object{name, body})
			<-q.slots
		})
	}
	q.mu.Unlock()
	if b == nil {
		<-q.slots
	}
	return err
}

// enter makes an object pending and returns its batch, or nil if the object is already on its way. The caller holds mu.
func (q *queue) enter(name string, body []byte) (*batch, error) {
	if _, ok := q.pending[name]; ok || q.err != nil {
		return nil, q.err
	}
	q.pending[name] = body
	q.batch.n++
	return q.batch, nil
}

// store stores one object, which is then no longer pending.
func (q *queue) store(o object) {
	err := q.failed()
	if err == nil {
		err = q.bucket.Put(q.ctx, o.name, o.body)
		q.fail(err)
	}
	q.mu.Lock()
	delete(q.pending, o.name)
	q.mu.Unlock()
}

// putAfter adds an object to the second phase: it is stored once all objects put before it are durable.
func (q *queue) putAfter(ctx context.Context, name string, body []byte) error {
	if err := q.writable(); err != nil {
		return err
	}
	q.mu.Lock()
	b, err := q.enter(name, body)
	full := false
	if b != nil {
		b.second = append(b.second, object{name, body})
		if full = b.n >= batchSize; full {
			q.seal()
		}
	}
	q.mu.Unlock()
	if full {
		return wait(ctx, b.before) // so that there are never more than two batches
	}
	return err
}

func wait(ctx context.Context, c <-chan struct{}) error {
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// seal ends the batch and begins another. The caller holds mu.
func (q *queue) seal() *batch {
	b := q.batch
	q.batch = &batch{before: b.done, done: make(chan struct{})}
	q.working.Go(func() {
		defer close(b.done)
		q.finish(b)
	})
	return b
}

func (q *queue) finish(b *batch) {
	<-b.before
	b.first.Wait()
	if len(b.second) == 0 {
		return
	}
	if q.failed() == nil {
		q.fail(q.bucket.Sync(q.ctx))
	}
	var second sync.WaitGroup
	for _, o := range b.second {
		q.slots <- struct{}{}
		second.Go(func() {
			q.store(o)
			<-q.slots
		})
	}
	second.Wait()
}

// sync returns once all objects put before the call are durable.
func (q *queue) sync(ctx context.Context) error {
	if q.readOnly {
		return nil
	}
	q.mu.Lock()
	if q.closed {
		defer q.mu.Unlock()
		return errClosed
	}
	b := q.seal()
	q.mu.Unlock()
	if err := cmp.Or(wait(ctx, b.done), q.failed()); err != nil {
		return err
	}
	return q.bucket.Sync(ctx)
}

// close ends all goroutines and closes the Bucket. Objects that were not synced may be lost.
func (q *queue) close() error {
	q.mu.Lock()
	if q.closed {
		defer q.mu.Unlock()
		return nil
	}
	q.closed = true
	if q.err == nil {
		q.err = errClosed
	}
	q.seal()
	q.mu.Unlock()
	q.cancel()
	q.working.Wait()
	return q.bucket.Close()
}

// get is Bucket.Get, but finds pending objects too. The caller must not change the bytes.
func (q *queue) get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if body, ok := q.waiting(name); ok {
		body = body[min(offset, int64(len(body))):]
		return body[:min(n, int64(len(body)))], ctx.Err()
	}
	return q.bucket.Get(ctx, name, offset, n)
}

// waiting returns the bytes of a pending object.
func (q *queue) waiting(name string) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	body, ok := q.pending[name]
	return body, ok
}

// has reports whether there is an object of that name, stored or pending.
func (q *queue) has(ctx context.Context, name string) (bool, error) {
	if _, ok := q.waiting(name); ok {
		return true, ctx.Err()
	}
	_, err := q.bucket.Head(ctx, name)
	if store.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// list is Bucket.List, but yields pending objects too. They come first, and may come again.
func (q *queue) list(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		q.mu.Lock()
		var names []string
		for name := range q.pending {
			if strings.HasPrefix(name, prefix) && after == "" {
				names = append(names, name)
			}
		}
		q.mu.Unlock()
		for _, name := range names {
			if !yield(name, nil) {
				return
			}
		}
		for o, err := range q.bucket.List(ctx, prefix, after) {
			if !yield(o.Name, err) || err != nil {
				return
			}
		}
	}
}

// digests yields the digests in the names of objects that begin with start, which begins with prefix; see digestOf.
func (q *queue) digests(ctx context.Context, prefix, start string) iter.Seq2[store.Digest, error] {
	return func(yield func(store.Digest, error) bool) {
		for name, err := range q.list(ctx, start, "") {
			if d, ok := digestOf(prefix, name); (ok || err != nil) && !yield(d, err) {
				return
			}
		}
	}
}

func (q *queue) where(name string) string { return q.bucket.String() + "/" + name }

// reader reads an object from its beginning to its end, in ranges.
type reader struct {
	ctx    context.Context
	q      *queue
	name   string
	offset int64
	buf    []byte // bytes read and not yet returned
	ended  bool   // buf has the last bytes
	err    error  // of the Bucket
}

// rangeSize is the number of bytes that one call gets of a large object.
const rangeSize = 4 << 20

// newReader opens an object and gets its first range.
func (q *queue) newReader(ctx context.Context, name string) (*reader, error) {
	r := &reader{ctx: ctx, q: q, name: name}
	return r, r.fill()
}

func (r *reader) fill() error {
	if r.buf, r.err = r.q.get(r.ctx, r.name, r.offset, rangeSize); r.err != nil {
		return r.err
	}
	r.offset += int64(len(r.buf))
	r.ended = len(r.buf) < rangeSize
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.buf) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

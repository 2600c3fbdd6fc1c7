package objects

import (
	"context"
	"errors"
	"iter"
	"strings"
	"sync"

	"castar/store"
)

// queue stands between the store and its Bucket. What is put comes back at once to whoever asks the queue, and is
// stored by goroutines of its own, in batches of two phases: first what refers to nothing, then what is a promise that
// something else is there, such as the record of a blob. Between the two the Bucket is synced, so that no crash leaves
// a promise that is not kept. Batches end one after the other.
//
// An object that cannot be stored fails the queue for good: nobody can tell any more whose it was. Every later put and
// sync returns the error.
type queue struct {
	bucket   Bucket
	readOnly bool
	slots    chan struct{} // one for each call of Put
	ctx      context.Context
	cancel   context.CancelFunc
	working  sync.WaitGroup // all goroutines

	mu      sync.Mutex
	pending map[string][]byte // what was put and is not yet in the Bucket
	batch   *batch            // that is being filled
	err     error
	closed  bool
}

type object struct {
	name string
	body []byte
}

// batch is what is stored together.
type batch struct {
	first  sync.WaitGroup // of the first phase
	second []object
	n      int
	before <-chan struct{} // closed once the batch before it is stored, or the queue failed
	done   chan struct{}
}

// batchSize is how many objects a batch has. Each batch costs the syncs of the Bucket once or twice.
const batchSize = 4096

var errClosed = errors.New("store is closed")

func newQueue(b Bucket, uploads int, readOnly bool) *queue {
	q := &queue{bucket: b, readOnly: readOnly, slots: make(chan struct{}, uploads), pending: map[string][]byte{}}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	start := make(chan struct{})
	close(start)
	q.batch = newBatch(start)
	return q
}

func newBatch(before <-chan struct{}) *batch {
	return &batch{before: before, done: make(chan struct{})}
}

// writable returns why nothing can be put, or nil.
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

// put has an object stored in the first phase. It waits while too much is on its way.
func (q *queue) put(ctx context.Context, name string, body []byte) error {
	if err := q.writable(); err != nil {
		return err
	}
	select {
	case q.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	b, err := q.enter(name, body)
	if b == nil {
		<-q.slots
		return err
	}
	go func() {
		defer q.working.Done()
		defer b.first.Done()
		q.store(object{name, body})
		<-q.slots
	}()
	return nil
}

// enter makes an object pending, and returns the batch that it is now part of, or nil where it is on its way already.
func (q *queue) enter(name string, body []byte) (*batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, ok := q.pending[name]; ok || q.err != nil {
		return nil, q.err
	}
	q.pending[name] = body
	q.batch.n++
	q.batch.first.Add(1)
	q.working.Add(1)
	return q.batch, nil
}

// store stores one object, and forgets that it was pending.
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

// putAfter has an object stored in the second phase, once all that was put before is durable.
func (q *queue) putAfter(ctx context.Context, name string, body []byte) error {
	if err := q.writable(); err != nil {
		return err
	}
	q.mu.Lock()
	if _, ok := q.pending[name]; ok || q.err != nil {
		defer q.mu.Unlock()
		return q.err
	}
	q.pending[name] = body
	b := q.batch
	b.n++
	b.second = append(b.second, object{name, body})
	full := b.n >= batchSize
	if full {
		q.seal()
	}
	q.mu.Unlock()
	if full {
		select {
		case <-b.before: // no more than two batches are kept
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// seal ends the batch and begins another. Its caller holds mu.
func (q *queue) seal() *batch {
	b := q.batch
	q.batch = newBatch(b.done)
	q.working.Add(1)
	go func() {
		defer q.working.Done()
		defer close(b.done)
		q.finish(b)
	}()
	return b
}

// finish stores a batch.
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

// sync returns once all that was put before is durable.
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
	select {
	case <-b.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := q.failed(); err != nil {
		return err
	}
	return q.bucket.Sync(ctx)
}

// close ends all goroutines and the Bucket. What was not synced may be lost.
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

// get is Bucket.Get, of what is pending too. The bytes must not be changed.
func (q *queue) get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	if body, ok := q.waiting(name); ok {
		return part(body, offset, n), ctx.Err()
	}
	return q.bucket.Get(ctx, name, offset, n)
}

// waiting returns the bytes of an object that is pending.
func (q *queue) waiting(name string) ([]byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	body, ok := q.pending[name]
	return body, ok
}

// has reports whether there is an object of that name.
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

// list is Bucket.List, of what is pending too, which comes first.
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
		for name, err := range q.bucket.List(ctx, prefix, after) {
			if !yield(name, err) || err != nil {
				return
			}
		}
	}
}

// where names an object in messages.
func (q *queue) where(name string) string { return q.bucket.String() + "/" + name }

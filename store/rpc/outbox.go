package rpc

import (
	"cmp"
	"context"
	"errors"
	"sync"

	"castar/store"
	"castar/store/chunk"
	"castar/store/rpc/internal/wire"
	"castar/store/zstd"
)

const (
	// singleCalls is how many calls with one small blob run at once, which hides how long each takes.
	singleCalls = 64
	// bulkCalls is how many calls with many blobs run at once. While one is on its way the next batch is filled.
	bulkCalls = 4
	// askSize is the length up to which a single blob is sent without asking whether the server has it.
	askSize = 64 << 10
	// laneCount is how many batches are filled at once, one for each lane or for several that share it.
	laneCount = 8
)

var errClosed = errors.New("store is closed")

// outbox holds the blobs that were put and are not yet acknowledged. It gathers them in batches and sends each batch as
// one call. A batch is sent when it is full, or when somebody waits for a blob in it. If a call fails, every later put or
// sync fails with its error. Its methods may be called concurrently.
type outbox struct {
	c       *client
	ctx     context.Context // ends when the store is closed
	stop    context.CancelFunc
	begin   sync.Once
	running sync.WaitGroup
	started chan struct{} // closed when the fields below are set
	longest int           // length of the longest blob that a batch takes
	pool    *chunk.Pool   // cuts longer blobs; nil: they are not sent in chunks
	average int           // length of the chunks that pool cuts, or 0
	most    capacity      // of a batch

	free      chan *batch // empty ones; has room for all
	full      chan *batch // those to be sent; has room for all
	joinQueue chan *pendingJoin
	groups    chan struct{} // one for each group on its way

	mu      sync.Mutex
	filling [laneCount]*batch
	pending map[store.Digest]*batch       // the batch of each blob that is not acknowledged
	joins   map[store.Digest]*pendingJoin // the blobs whose chunks were put
	err     error                         // the first of any call
}

func newOutbox(c *client) *outbox {
	o := &outbox{c: c, started: make(chan struct{}), pending: map[store.Digest]*batch{}, joins: map[store.Digest]*pendingJoin{}}
	o.groups = make(chan struct{}, groupCalls)
	o.ctx, o.stop = context.WithCancel(context.Background())
	return o
}

// start asks how the server takes blobs, and starts to send them.
func (o *outbox) start() {
	calls, send := singleCalls, func(b *batch) error { return o.c.putBlob(o.ctx, b.digests[0], b.raw) }
	o.most, o.longest = capacity{1, askSize}, askSize
	enc, err := zstd.NewEncoder(bulkCalls, zstd.Fast)
	o.end(func() {}, err)
	terms := o.c.bulkTerms(o.ctx)
	if room := int(min(terms.GetMostBytes(), batchSize+inlineSize)); room >= askSize {
		calls, send = bulkCalls, func(b *batch) error { return o.c.putBatch(o.ctx, b, enc) }
		o.most, o.longest = capacity{min(wire.MostBlobs, room/digestField), room}, min(inlineSize, room)
		if o.pool = poolFor(terms.GetChunkSize(), o.longest); o.pool != nil {
			o.average = int(terms.GetChunkSize())
		}
	}
	batches := 2*calls + laneCount // one on its way and one full for each call, and one being filled for each lane
	o.free, o.full = make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		o.free <- newBatch()
	}
	for range calls {
		o.running.Go(func() { o.work(send) })
	}
	o.joinQueue = make(chan *pendingJoin, joinsWaiting)
	for range joinCalls {
		o.running.Go(o.workJoins)
	}
	close(o.started)
}

// work sends batches until the store is closed.
func (o *outbox) work(send func(*batch) error) {
	for {
		select {
		case b := <-o.full:
			o.finish(b, send(b))
		case <-o.ctx.Done():
			return
		}
	}
}

// ready returns when the outbox knows what the server takes.
func (o *outbox) ready(ctx context.Context) error {
	o.begin.Do(func() { o.running.Go(o.start) })
	return o.wait(ctx, o.started)
}

// wait returns when done is closed, or is nil.
func (o *outbox) wait(ctx context.Context, done <-chan struct{}) error {
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-o.ctx.Done():
		return errClosed
	}
}

// put copies the blob d into a batch. It reports false if the blob is too long for one. It waits only while all batches
// are full. The error may be that of an earlier blob.
func (o *outbox) put(ctx context.Context, lane int, d store.Digest, data []byte) (bool, error) {
	if err := o.ready(ctx); err != nil {
		return true, err
	}
	if len(data) > o.longest {
		return false, nil
	}
	b, err := o.lockFilling(ctx, lane, len(data))
	if err != nil {
		return true, err
	}
	defer o.mu.Unlock()
	if _, again := o.pending[d]; again || o.failed() != nil {
		return true, o.failed()
	}
	b.add(d, data)
	o.pending[d] = b
	if b.full(o.most) {
		o.dispatch(b)
	}
	return true, nil
}

// failed returns why no more can be sent, or nil. The caller holds o.mu.
func (o *outbox) failed() error {
	if o.ctx.Err() != nil {
		return errClosed
	}
	return o.err
}

// lockFilling returns a batch of a lane that takes a blob of n bytes. It leaves o.mu locked unless it fails.
func (o *outbox) lockFilling(ctx context.Context, lane, n int) (*batch, error) {
	for {
		o.mu.Lock()
		b := o.filling[lane]
		if b != nil && b.takes(o.most, 1, n) {
			return b, nil
		}
		if b != nil {
			o.dispatch(b)
		}
		o.mu.Unlock()
		select {
		case b := <-o.free:
			o.mu.Lock()
			if o.filling[lane] == nil {
				b.lane, o.filling[lane] = lane, b
				return b, nil
			}
			o.mu.Unlock()
			o.free <- b
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-o.ctx.Done():
			return nil, errClosed
		}
	}
}

// dispatch has a batch sent that is being filled. The caller holds o.mu.
func (o *outbox) dispatch(b *batch) {
	o.filling[b.lane] = nil
	o.full <- b
}

// dispatchAll has all blobs sent. It merges the batches of lanes that fit together, so a small tree that is read in
// parallel does not pay for it. The caller holds o.mu.
func (o *outbox) dispatchAll() {
	var last *batch
	for lane, b := range o.filling {
		switch {
		case b == nil:
		case len(b.digests) == 0:
			o.filling[lane] = nil
			o.free <- b
		case last != nil && last.takes(o.most, len(b.digests), len(b.raw)):
			last.merge(b)
			for _, d := range b.digests {
				o.pending[d] = last
			}
			o.filling[lane] = nil
			close(b.done) // awaitChunks looks again
			b.clear()
			o.free <- b
		default:
			if last != nil {
				o.dispatch(last)
			}
			last = b
		}
	}
	if last != nil {
		o.dispatch(last)
	}
}

// finish notes that a batch was sent, or why it was not, and empties it.
func (o *outbox) finish(b *batch, err error) {
	o.settle(b, err)
	b.clear()
	o.free <- b
}

// settle notes that the blobs of a batch were sent, or why they were not.
func (o *outbox) settle(b *batch, err error) {
	o.end(func() {
		for i := range b.digests {
			delete(o.pending, b.digests[i])
		}
	}, err)
	close(b.done)
}

// end forgets something that was sent, or could not be.
func (o *outbox) end(forget func(), err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	forget()
	o.err = cmp.Or(o.err, err)
}

// await waits until the blob d is acknowledged, or has failed. It returns at once if d is not in the outbox.
func (o *outbox) await(ctx context.Context, d store.Digest) error {
	o.mu.Lock()
	var done chan struct{}
	if j := o.joins[d]; j != nil {
		o.dispatchAll()
		done = j.done
	} else if b := o.pending[d]; b != nil {
		if o.filling[b.lane] == b {
			o.dispatch(b)
		}
		done = b.done
	}
	o.mu.Unlock()
	return o.wait(ctx, done)
}

// awaitAll waits until all blobs put before the call are acknowledged.
func (o *outbox) awaitAll(ctx context.Context) error {
	o.mu.Lock()
	o.dispatchAll()
	all := map[chan struct{}]struct{}{}
	for _, b := range o.pending {
		all[b.done] = struct{}{}
	}
	for _, j := range o.joins {
		all[j.done] = struct{}{}
	}
	o.mu.Unlock()
	for done := range all {
		if err := o.wait(ctx, done); err != nil {
			return err
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// run runs f in a goroutine for which close waits. It reports false if the store is closed.
func (o *outbox) run(f func()) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx.Err() != nil {
		return false
	}
	o.running.Go(f)
	return true
}

// close gives up all blobs that are not acknowledged, and returns when no call is running.
func (o *outbox) close() {
	o.mu.Lock()
	o.stop()
	o.mu.Unlock()
	o.running.Wait()
}

package rpc

import (
	"context"
	"errors"
	"sync"

	"castar/store"
	"castar/store/chunk"
	"castar/store/rpc/internal/wire"
	"castar/store/zstd"
)

const (
	// inFlight is how many calls for one small blob run at once, so that it matters little how long each takes.
	inFlight = 64
	// bulkCalls is how many calls for many blobs run at once: while one is on its way the next is filled.
	bulkCalls = 4
	// askSize is the length up to which a blob is sent by itself without asking whether it is needed.
	askSize = 64 << 10
)

var errClosed = errors.New("the store is closed")

// laneCount is how many batches are filled at once: one for each lane, or for some that share it.
const laneCount = 8

// flight is the blobs that were taken and not yet acknowledged. They are gathered in batches, each of which is a call; a
// batch is sent when it is full, or when somebody waits for a blob in it. What goes wrong with one is told to all who put
// or sync after that. Its methods may be called concurrently.
type flight struct {
	c       *client
	ctx     context.Context // ends when the store is closed
	stop    context.CancelFunc
	begin   sync.Once
	running sync.WaitGroup
	started chan struct{} // closed when what follows is set
	longest int           // length of the longest blob that is taken
	pool    *chunk.Pool   // for longer ones; nil: they are not sent in chunks
	most    capacity      // of a batch

	free  chan *batch   // to be filled; holds all that are neither filled nor sent
	full  chan *batch   // to be sent; has room for all
	joins chan *joining // to be joined

	mu      sync.Mutex
	filling [laneCount]*batch
	pending map[store.Digest]*batch   // those that are filled or sent
	joining map[store.Digest]*joining // those whose chunks were sent
	err     error
}

func newFlight(c *client) *flight {
	f := &flight{c: c, started: make(chan struct{}), pending: map[store.Digest]*batch{}, joining: map[store.Digest]*joining{}}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// start begins to carry what is sent, in the way that the server allows.
func (f *flight) start() {
	calls, send := inFlight, func(b *batch) error { return f.c.putBlob(f.ctx, b.digests[0], b.raw) }
	f.most, f.longest = capacity{1, askSize}, askSize
	enc, err := zstd.NewEncoder(bulkCalls, zstd.Fast)
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	terms := f.c.bulkTerms(f.ctx)
	if room := int(min(terms.GetMostBytes(), batchSize+inlineSize)); room >= askSize {
		calls, send = bulkCalls, func(b *batch) error { return f.c.putBatch(f.ctx, b, enc) }
		f.most, f.longest = capacity{min(wire.MostBlobs, room/digestField), room}, min(inlineSize, room)
		f.pool = poolFor(terms.GetChunkSize(), f.longest)
	}
	batches := 2*calls + laneCount // so that some are full while others are on their way, and each lane fills one
	f.free, f.full = make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		f.free <- newBatch()
	}
	for range calls {
		f.running.Go(func() { f.carry(send) })
	}
	f.joins = make(chan *joining, joinsWaiting)
	for range joinCalls {
		f.running.Go(f.joinAll)
	}
	close(f.started)
}

// carry sends batches until the store is closed.
func (f *flight) carry(send func(*batch) error) {
	for {
		select {
		case b := <-f.full:
			f.arrived(b, send(b))
		case <-f.ctx.Done():
			return
		}
	}
}

// ready returns when it is known what the server takes.
func (f *flight) ready(ctx context.Context) error {
	f.begin.Do(func() { f.running.Go(f.start) })
	return f.wait(ctx, f.started)
}

// wait returns when done is closed.
func (f *flight) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.ctx.Done():
		return errClosed
	}
}

// send copies data, and sees to it that it is put. It reports false where the blob is too long for that. It waits only
// where too many are on their way. The error may be that of an earlier one.
func (f *flight) send(ctx context.Context, lane int, d store.Digest, data []byte) (bool, error) {
	if err := f.ready(ctx); err != nil {
		return true, err
	}
	if len(data) > f.longest {
		return false, nil
	}
	b, err := f.lockFilling(ctx, lane, len(data))
	if err != nil {
		return true, err
	}
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return true, errClosed
	}
	if _, again := f.pending[d]; again || f.err != nil {
		return true, f.err
	}
	b.add(d, data)
	f.pending[d] = b
	if b.full(f.most) {
		f.depart(b)
	}
	return true, nil
}

// lockFilling locks f.mu when a lane has a batch that takes a blob of n bytes, and returns that.
func (f *flight) lockFilling(ctx context.Context, lane, n int) (*batch, error) {
	for {
		f.mu.Lock()
		b := f.filling[lane]
		if b != nil && b.takes(f.most, 1, n) {
			return b, nil
		}
		if b != nil {
			f.depart(b)
		}
		f.mu.Unlock()
		select {
		case b := <-f.free:
			f.mu.Lock()
			if f.filling[lane] == nil {
				b.lane, f.filling[lane] = lane, b
				return b, nil
			}
			f.mu.Unlock()
			f.free <- b
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-f.ctx.Done():
			return nil, errClosed
		}
	}
}

// depart has a batch sent that is being filled. The caller holds f.mu.
func (f *flight) depart(b *batch) {
	f.filling[b.lane] = nil
	f.full <- b
}

// departAll has all blobs sent: those of several lanes together where they fit, so that a small tree does not pay for having
// been read in parallel. The caller holds f.mu.
func (f *flight) departAll() {
	var last *batch
	for lane, b := range f.filling {
		switch {
		case b == nil:
		case len(b.digests) == 0:
			f.filling[lane] = nil
			f.free <- b
		case last != nil && last.takes(f.most, len(b.digests), len(b.raw)):
			last.join(b)
			for _, d := range b.digests {
				f.pending[d] = last
			}
			f.filling[lane] = nil
			close(b.done) // who waits looks again
			b.clear(true)
			f.free <- b
		default:
			if last != nil {
				f.depart(last)
			}
			last = b
		}
	}
	if last != nil {
		f.depart(last)
	}
}

// arrived ends what send began.
func (f *flight) arrived(b *batch, err error) {
	f.mu.Lock()
	for i := range b.digests {
		delete(f.pending, b.digests[i])
	}
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	close(b.done)
	b.clear(err == nil) // else the connection may still be at it
	f.free <- b
}

// landed waits until d, if it is on its way, has arrived or failed.
func (f *flight) landed(ctx context.Context, d store.Digest) error {
	f.mu.Lock()
	var done chan struct{}
	if j := f.joining[d]; j != nil {
		f.departAll()
		done = j.done
	} else if b := f.pending[d]; b != nil {
		if f.filling[b.lane] == b {
			f.depart(b)
		}
		done = b.done
	}
	f.mu.Unlock()
	if done == nil {
		return nil
	}
	return f.wait(ctx, done)
}

// allLanded waits until all that were sent before it was called have arrived.
func (f *flight) allLanded(ctx context.Context) error {
	f.mu.Lock()
	f.departAll()
	all := map[chan struct{}]struct{}{}
	for _, b := range f.pending {
		all[b.done] = struct{}{}
	}
	for _, j := range f.joining {
		all[j.done] = struct{}{}
	}
	f.mu.Unlock()
	for done := range all {
		if err := f.wait(ctx, done); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// close gives up what waits or is on its way, and returns when nothing is any more.
func (f *flight) close() {
	f.stop()
	f.running.Wait()
}

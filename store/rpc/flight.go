package rpc

import (
	"context"
	"errors"
	"sync"

	"castar/store"
)

const (
	// inFlight is how many calls for one small blob run at once, so that it matters little how long each takes.
	inFlight = 64
	// bulkCalls is how many calls for many blobs run at once: while one is on its way the next is filled.
	bulkCalls = 4
)

var errClosed = errors.New("the store is closed")

// flight is the blobs that were taken and not yet acknowledged. They are gathered in batches, each of which is a call; a
// batch is sent when it is full, or when no other is on its way. What goes wrong with one is told to all who put or sync
// after that. Its methods may be called concurrently.
type flight struct {
	c       *client
	ctx     context.Context // ends when the store is closed
	stop    context.CancelFunc
	begin   sync.Once
	running sync.WaitGroup
	started chan struct{} // closed when what follows is set
	most    int           // blobs in a batch

	free chan *batch   // to be filled; holds all that are neither filled nor sent
	full chan *batch   // to be sent; has room for all
	some chan struct{} // says that there may be something in filling

	mu      sync.Mutex
	filling *batch
	pending map[store.Digest]*batch // those that are filled or sent
	err     error
}

func newFlight(c *client) *flight {
	f := &flight{
		c: c, started: make(chan struct{}), some: make(chan struct{}, 1), pending: map[store.Digest]*batch{},
	}
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// start begins to carry what is sent, in the way that the server allows.
func (f *flight) start() {
	calls, carry := inFlight, func(b *batch) error { return f.c.putBlob(f.ctx, b.digests[0], b.blob()) }
	f.most = 1
	if f.c.hasBulk(f.ctx) {
		calls, carry, f.most = bulkCalls, func(b *batch) error { return f.c.putBlobs(f.ctx, b) }, mostInBatch
	}
	batches := 3 * calls // so that some are filled, or full, while others are on their way
	f.free, f.full = make(chan *batch, batches), make(chan *batch, batches)
	for range batches {
		f.free <- newBatch()
	}
	for range calls {
		f.running.Go(func() { f.carry(carry) })
	}
	close(f.started)
}

// carry sends batches until the store is closed.
func (f *flight) carry(send func(*batch) error) {
	for {
		var b *batch
		select {
		case b = <-f.full:
		case <-f.some:
			f.mu.Lock()
			if f.filling != nil && len(f.filling.digests) > 0 {
				b, f.filling = f.filling, nil
			}
			f.mu.Unlock()
		case <-f.ctx.Done():
			return
		}
		if b != nil {
			f.arrived(b, send(b))
		}
	}
}

// send copies data, which is no longer than askSize, and sees to it that it is put. It waits only where too many are on
// their way. The error may be that of an earlier one.
func (f *flight) send(ctx context.Context, d store.Digest, data []byte) error {
	f.begin.Do(func() { f.running.Go(f.start) })
	select {
	case <-f.started:
	case <-ctx.Done():
		return ctx.Err()
	case <-f.ctx.Done():
		return errClosed
	}
	if err := f.lockFilling(ctx); err != nil {
		return err
	}
	defer f.mu.Unlock()
	if f.ctx.Err() != nil {
		return errClosed
	}
	if _, again := f.pending[d]; again || f.err != nil {
		return f.err
	}
	b := f.filling
	b.add(d, data)
	f.pending[d] = b
	if b.full(f.most) {
		f.filling = nil
		f.full <- b
		return nil
	}
	select {
	case f.some <- struct{}{}:
	default:
	}
	return nil
}

// lockFilling locks f.mu when there is a batch to be filled.
func (f *flight) lockFilling(ctx context.Context) error {
	for {
		f.mu.Lock()
		if f.filling != nil {
			return nil
		}
		f.mu.Unlock()
		select {
		case b := <-f.free:
			f.mu.Lock()
			if f.filling == nil {
				f.filling = b
				return nil
			}
			f.mu.Unlock()
			f.free <- b
		case <-ctx.Done():
			return ctx.Err()
		case <-f.ctx.Done():
			return errClosed
		}
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
	var done <-chan struct{}
	f.mu.Lock()
	if b := f.pending[d]; b != nil {
		done = b.done
	}
	f.mu.Unlock()
	if done == nil {
		return nil
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.ctx.Done():
		return errClosed
	}
}

// allLanded waits until all that were sent before it was called have arrived.
func (f *flight) allLanded(ctx context.Context) error {
	f.mu.Lock()
	last := map[*batch]store.Digest{}
	for d, b := range f.pending {
		last[b] = d
	}
	f.mu.Unlock()
	for _, d := range last {
		if err := f.landed(ctx, d); err != nil {
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

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
	// waiting is how many small blobs may wait to be sent. With blobs of up to askSize, that is 16 MiB.
	waiting = 256
)

var errClosed = errors.New("the store is closed")

// flight is the blobs that were taken and not yet acknowledged. What goes wrong with one is told to all who put or sync
// after that. Its methods may be called concurrently.
type flight struct {
	c       *client
	ctx     context.Context // ends when the store is closed
	stop    context.CancelFunc
	begin   sync.Once
	running sync.WaitGroup
	work    chan parcel
	buffers sync.Pool // of *[askSize]byte

	mu      sync.Mutex
	pending map[store.Digest]chan struct{} // closed when the blob has arrived, or failed
	err     error
}

// parcel is a blob on its way.
type parcel struct {
	digest store.Digest
	buf    *[askSize]byte
	size   int
}

func (p parcel) data() []byte { return p.buf[:p.size] }

func newFlight(c *client) *flight {
	f := &flight{c: c, work: make(chan parcel, waiting), pending: map[store.Digest]chan struct{}{}}
	f.buffers.New = func() any { return new([askSize]byte) }
	f.ctx, f.stop = context.WithCancel(context.Background())
	return f
}

// send copies data, which is no longer than askSize, and sees to it that it is put. It waits only where too many are on
// their way. The error may be that of an earlier one.
func (f *flight) send(ctx context.Context, d store.Digest, data []byte) error {
	f.begin.Do(func() { f.running.Go(f.start) })
	f.mu.Lock()
	_, again := f.pending[d]
	err := f.err
	if !again && err == nil {
		f.pending[d] = make(chan struct{})
	}
	f.mu.Unlock()
	if again || err != nil {
		return err
	}
	p := parcel{d, f.buffers.Get().(*[askSize]byte), len(data)}
	copy(p.buf[:], data)
	select {
	case f.work <- p:
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-f.ctx.Done():
		err = errClosed
	}
	f.arrived(p, nil)
	return err
}

// start begins to carry what is sent, in the way that the server allows.
func (f *flight) start() {
	calls, carry := inFlight, func(p parcel) {
		f.arrived(p, f.c.putBlob(f.ctx, p.digest, p.data()))
	}
	if f.c.hasBulk(f.ctx) {
		calls, carry = bulkCalls, f.carryMany
	}
	for range calls {
		f.running.Go(func() {
			for {
				select {
				case p := <-f.work:
					carry(p)
				case <-f.ctx.Done():
					return
				}
			}
		})
	}
}

// carryMany puts a blob, and with it what waits and fits into a message.
func (f *flight) carryMany(p parcel) {
	batch, size := []parcel{p}, p.size
	for more := true; more && size <= frameSize-askSize; {
		select {
		case p = <-f.work:
			batch = append(batch, p)
			size += p.size
		default:
			more = false
		}
	}
	err := f.c.putBlobs(f.ctx, batch)
	for _, p := range batch {
		f.arrived(p, err)
	}
}

// arrived ends what send began.
func (f *flight) arrived(p parcel, err error) {
	f.buffers.Put(p.buf)
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.pending[p.digest])
	delete(f.pending, p.digest)
	if f.err == nil {
		f.err = err
	}
}

// landed waits until d, if it is on its way, has arrived or failed.
func (f *flight) landed(ctx context.Context, d store.Digest) error {
	f.mu.Lock()
	done := f.pending[d]
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
	all := make([]store.Digest, 0, len(f.pending))
	for d := range f.pending {
		all = append(all, d)
	}
	f.mu.Unlock()
	for _, d := range all {
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

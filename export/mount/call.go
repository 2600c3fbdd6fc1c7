//go:build linux

package mount

import (
	"context"
	"sync"
	"time"
)

// patience is how long a call goes on after its caller was interrupted. Go's runtime and timers interrupt system calls
// all the time, and most programs do not expect that of a read from a file.
const patience = time.Second

// call is the context of one request of the kernel. It ends when its caller was interrupted for longer than patience,
// and with the mount. Most calls need nothing of the kind, so it is made when someone asks for Done.
type call struct {
	context.Context                 // of the mount
	interrupted     <-chan struct{} // closed by an interrupt

	mu     sync.Mutex
	own    context.Context // nil: nobody asked
	cancel context.CancelFunc
}

// Done implements context.Context.
func (c *call) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own == nil {
		c.own, c.cancel = context.WithCancel(c.Context)
		go watch(c.own, c.cancel, c.interrupted)
	}
	return c.own.Done()
}

// watch cancels ctx when it was interrupted for longer than patience.
func watch(ctx context.Context, cancel context.CancelFunc, interrupted <-chan struct{}) {
	select {
	case <-ctx.Done():
		return
	case <-interrupted:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
		cancel()
	}
}

// Err implements context.Context.
func (c *call) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.own != nil {
		return c.own.Err()
	}
	return c.Context.Err()
}

// finish ends the call.
func (c *call) finish() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

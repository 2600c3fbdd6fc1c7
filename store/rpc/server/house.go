package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"castar/store"
)

const (
	// linger is how long a store stays open that nobody uses. A local process that wants it for itself waits longer.
	linger = time.Second
	// lingerUnnamed is the same after a client is gone that has stored something and named no root. It may come back, and
	// tries for less long.
	lingerUnnamed = 4 * time.Second
	// leaseTime is how long a client that has stored something, or has asked what is there, is protected from a gc. Later
	// ones are noticed by the instance, and what it does then fails.
	leaseTime = 10 * time.Minute
	// drainTime is how long calls are held up so that those that are running can end before the store is closed.
	drainTime = 2 * time.Second
	// drainPause is how long calls are not held up after that was in vain.
	drainPause = 3 * time.Second
	// leasePause is how often a gc looks whether a client must still be protected.
	leasePause = 200 * time.Millisecond
)

// house lets calls use a store, and other processes lock it when no call does. A store that locks is closed while nobody
// uses it, and opened by the next call. *st is the store that is open; it changes only while nobody uses it. All methods may
// be called concurrently.
type house struct {
	st     *store.Store
	reopen func(ctx context.Context, alone bool) (*store.Store, error) // nil: the store always stays open
	sync   func(context.Context) error                                 // makes all that was stored durable
	renew  func()                                                      // changes the instance
	log    *slog.Logger

	mu      sync.Mutex
	changed chan struct{} // closed, and replaced, when something below changes that others wait for
	open    bool
	held    bool // no call may begin
	users   int
	left    time.Time // when the last user left
	leases  map[*account]*lease
	timer   *time.Timer // calls relax; nil if the store is closed or stays open
	ended   bool
}

// lease is what a client has seen of the store that a gc must not take away.
type lease struct {
	seen  time.Time // when that was last
	named bool      // a root of it was named
	gone  time.Time // since when the client is known to be gone
}

func newHouse(st *store.Store, o Options, sync func(context.Context) error, renew func()) *house {
	h := &house{st: st, changed: make(chan struct{}), open: true, leases: map[*account]*lease{}, reopen: o.Reopen,
		sync: sync, renew: renew, log: o.Log}
	if h.reopen != nil {
		h.left = time.Now()
		h.timer = time.AfterFunc(linger/2, h.relax)
	}
	return h
}

func (h *house) isOpen() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

// tell wakes all that wait. The caller holds h.mu.
func (h *house) tell() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// enter lets the caller use the store until it calls leave. It opens the store if that is closed.
func (h *house) enter(ctx context.Context) (leave func(), err error) {
	for {
		h.mu.Lock()
		switch {
		case h.held:
			wait := h.changed
			h.mu.Unlock()
			select {
			case <-wait:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			continue
		case !h.open:
			h.held = true
			h.mu.Unlock()
			err := h.openAgain(context.WithoutCancel(ctx), false)
			h.mu.Lock()
			h.held = false
			h.tell()
			if err != nil {
				h.mu.Unlock()
				return nil, err
			}
		}
		h.users++
		h.mu.Unlock()
		return h.leave, nil
	}
}

func (h *house) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users--
	h.left = time.Now()
	if h.users == 0 {
		h.tell()
	}
}

// openAgain opens the store. The caller holds it.
func (h *house) openAgain(ctx context.Context, alone bool) error {
	h.mu.Lock()
	ended := h.ended
	h.mu.Unlock()
	if ended {
		return errors.New("the server is shutting down")
	}
	st, err := h.reopen(ctx, alone)
	if err != nil {
		return err
	}
	*h.st = *st
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open, h.left = true, time.Now()
	if h.timer != nil {
		h.timer.Stop()
	}
	h.timer = time.AfterFunc(linger/2, h.relax)
	return nil
}

// shut makes the store durable and closes it. The caller holds it, and nobody uses it.
func (h *house) shut(ctx context.Context) {
	if err := h.sync(ctx); err != nil {
		h.log.Error("sync", "error", err)
	}
	if err := h.st.Close(); err != nil {
		h.log.Error("close", "error", err)
	}
	h.renew() // another process may remove what clients believe to be there
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = false
	h.timer.Stop()
}

// relax closes the store if nobody uses it.
func (h *house) relax() {
	h.mu.Lock()
	if !h.open || h.held || h.ended {
		if h.open && !h.ended {
			h.timer.Reset(linger / 2)
		}
		h.mu.Unlock()
		return
	}
	if leased := h.leased(); leased || h.users > 0 || time.Since(h.left) < linger {
		h.timer.Reset(linger / 2)
		h.mu.Unlock()
		return
	}
	h.held = true
	h.mu.Unlock()
	h.shut(context.Background())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = false
	h.tell()
}

// lease notes that a client has stored something, or knows that it is there.
func (h *house) lease(a *account) {
	if h.reopen == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.leases[a]
	if l == nil {
		l = new(lease)
		h.leases[a] = l
	}
	l.seen, l.named = time.Now(), false
}

// named notes that a client has named a root.
func (h *house) named(a *account) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.leases[a]; l != nil {
		l.named = true
	}
}

// leased reports whether a client must be protected. The caller holds h.mu.
func (h *house) leased() bool {
	now := time.Now()
	for a, l := range h.leases {
		if l.gone.IsZero() && a.gone.Load() {
			l.gone = now
		}
		if now.Sub(l.seen) > leaseTime || !l.gone.IsZero() && (l.named || now.Sub(l.gone) > lingerUnnamed) {
			delete(h.leases, a)
		}
	}
	return len(h.leases) > 0
}

// alone calls do with the store opened exclusively, when nobody uses it, and with leases set also when no client must be
// protected. It waits for that as long as wait, and at least as long as it takes to drain running calls once, and to see
// that a client does not come back. The error is store.ErrLocked if that was in vain.
func (h *house) alone(ctx context.Context, wait time.Duration, leases bool, do func(*store.Store) error) error {
	if h.reopen == nil {
		return store.ErrNotAlone
	}
	began := time.Now()
	for {
		pause, least := h.drain(ctx, leases), time.Duration(0)
		if pause == 0 {
			break
		}
		if pause == leasePause {
			least = lingerUnnamed + linger
		}
		if time.Since(began) > max(wait, least) {
			return fmt.Errorf("%w: clients use the store", store.ErrLocked)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.held = false
		h.tell()
	}()
	if h.isOpen() {
		h.shut(context.WithoutCancel(ctx))
	}
	if err := h.openAgain(ctx, true); err != nil {
		return err
	}
	err := do(h.st)
	h.shut(context.WithoutCancel(ctx))
	return err
}

// drain holds up calls until nobody uses the store, and returns 0 if nobody does. Then the caller holds the store. Otherwise
// it returns when to try again.
func (h *house) drain(ctx context.Context, leases bool) (pause time.Duration) {
	timeout := time.After(drainTime)
	h.mu.Lock()
	if h.held || leases && h.leased() {
		h.mu.Unlock()
		return leasePause
	}
	h.held = true
	for h.users > 0 {
		wait := h.changed
		h.mu.Unlock()
		over := false
		select {
		case <-wait:
		case <-timeout:
			over = true
		case <-ctx.Done():
			over = true
		}
		h.mu.Lock()
		if over && h.users > 0 {
			h.held = false
			h.tell()
			h.mu.Unlock()
			return drainPause
		}
	}
	h.mu.Unlock()
	return 0
}

// end closes the store for good, after the last call.
func (h *house) end() error {
	if h.reopen == nil {
		return nil
	}
	for {
		h.mu.Lock()
		h.ended = true
		if !h.held {
			break
		}
		wait := h.changed
		h.mu.Unlock()
		<-wait
	}
	defer h.mu.Unlock()
	h.timer.Stop()
	if !h.open {
		return nil
	}
	h.open = false
	return h.st.Close()
}

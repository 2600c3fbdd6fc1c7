package server

import (
	"context"
	"fmt"
	"time"

	"castar/store"
)

// A store that locks is closed while nobody uses it, and the next call opens it. So other processes may lock it for
// themselves, and so may the server, for a gc or to forget lines of the log. What a client has stored, or knows to be
// there, must not be removed before the client has named a root that reaches it. So the server keeps the store open for
// a client that has stored something: it has a lease. A client that comes too late in spite of this finds another
// instance.

const (
	// defaultLinger is how long a store stays open that nobody uses. A local process that wants it for itself waits longer.
	defaultLinger = time.Second
	// unnamedFactor is how many times longer that is after a client is gone that has stored something and named no root. It
	// may come back, and tries for less long.
	unnamedFactor = 4
	// leaseTime is how long a lease lasts without a call that needs one.
	leaseTime = 10 * time.Minute
	// leasePause is how often a gc looks whether there are still leases.
	leasePause = 100 * time.Millisecond
	// drainTime is how long calls are held up so that those that are running can end before the store is closed.
	drainTime = 2 * time.Second
	// drainPause is how long calls are not held up after others did not end in that time.
	drainPause = 3 * time.Second
)

// lease is what a client has seen of the store that a gc must not take away.
type lease struct {
	seen  time.Time // when that was last
	named bool      // a root of it was named since
	gone  time.Time // since when the client is known to be gone
}

// lease notes that a client has stored something, or knows that it is there.
func (os *openings) lease(a *account) {
	if !os.s.o.Locks {
		return
	}
	os.mu.Lock()
	defer os.mu.Unlock()
	l := os.leases[a]
	if l == nil {
		l = new(lease)
		os.leases[a] = l
	}
	l.seen, l.named = time.Now(), false
}

// named notes that a client has named a root.
func (os *openings) named(a *account) {
	os.mu.Lock()
	defer os.mu.Unlock()
	if l := os.leases[a]; l != nil {
		l.named = true
	}
}

// leased reports whether a client has a lease. The caller holds os.mu.
func (os *openings) leased() bool {
	now := time.Now()
	for a, l := range os.leases {
		if l.gone.IsZero() && a.gone.Load() {
			l.gone = now
		}
		if now.Sub(l.seen) > leaseTime || !l.gone.IsZero() && (l.named || now.Sub(l.gone) > unnamedFactor*os.s.o.linger) {
			delete(os.leases, a)
		}
	}
	return len(os.leases) > 0
}

// unused reports whether no call uses a store. The caller holds os.mu.
func (os *openings) unused() bool { return os.old == 0 && (os.now == nil || os.now.users == 1) }

// relax closes the store if nobody uses it.
func (os *openings) relax() {
	os.mu.Lock()
	defer os.mu.Unlock()
	if os.ctx.Err() != nil {
		return
	}
	defer os.timer.Reset(os.s.o.linger / 2)
	leased := os.leased()
	if os.now == nil || os.held || leased || os.broken != nil || !os.unused() || time.Since(os.left) < os.s.o.linger {
		return
	}
	os.held = true
	os.shut()
	os.hold(false)
}

// shut makes the store durable and closes it, if it is open. The caller holds os.mu, and the store for itself.
func (os *openings) shut() {
	o := os.now
	if o == nil {
		return
	}
	os.now = nil
	os.mu.Unlock()
	defer os.mu.Lock()
	if os.s.o.AllowPut {
		if err := o.syncer.sync(context.Background()); err != nil {
			os.s.o.Log.Error("sync", "error", err)
		}
	}
	if err := o.st.Close(); err != nil {
		os.s.o.Log.Error("close", "error", err)
	}
}

// exclusively calls do with the store opened exclusively. If it locks, it is closed first, when nobody uses it and no client
// has a lease. Another process may lock it in between. exclusively waits for that as long as wait, and at least as long as it
// takes to drain running calls once, and to see that a client does not come back. After that the error is store.ErrLocked.
func (os *openings) exclusively(ctx context.Context, wait time.Duration, do func(*store.Store) error) error {
	if os.s.o.Locks {
		if err := os.drain(ctx, wait); err != nil {
			return err
		}
		defer func() {
			os.mu.Lock()
			defer os.mu.Unlock()
			os.hold(false)
		}()
	}
	st, err := os.s.o.OpenExclusive(ctx)
	if err != nil {
		return err
	}
	err = do(st)
	if cerr := st.Close(); err == nil {
		err = cerr
	}
	return err
}

// drain waits until nobody uses the store, and closes it. Then the caller holds it.
func (os *openings) drain(ctx context.Context, wait time.Duration) error {
	began := time.Now()
	for {
		pause, least := os.tryDrain(ctx), time.Duration(0)
		if pause == 0 {
			return nil
		}
		if pause == leasePause {
			least = (unnamedFactor + 1) * os.s.o.linger
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
}

// tryDrain holds up calls until nobody uses the store, and returns 0 if it has closed the store. Otherwise it returns when
// to try again.
func (os *openings) tryDrain(ctx context.Context) (pause time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	os.mu.Lock()
	defer os.mu.Unlock()
	if os.held || os.leased() {
		return leasePause
	}
	os.held = true
	if os.await(ctx, os.unused) != nil || os.broken != nil || os.ctx.Err() != nil {
		os.hold(false)
		return drainPause
	}
	os.shut()
	return 0
}

package server

import (
	"context"
	"sync"
	"time"

	"castar/store"
)

// syncDelay is how long a blob may stay without being durable after it was put.
const syncDelay = 5 * time.Second

// syncer makes a store durable for many callers at once. Those that come while a sync is running share the next one.
type syncer struct {
	st *store.Store

	mu      sync.Mutex
	running bool
	next    *round      // has not begun
	delayed *time.Timer // runs for what was put and nobody waits for
}

// round is one sync of the store.
type round struct {
	done chan struct{}
	err  error
}

// sync returns when everything that was stored before the call is durable.
func (s *syncer) sync(ctx context.Context) error {
	s.mu.Lock()
	if s.next == nil {
		s.next = &round{done: make(chan struct{})}
		if !s.running {
			s.running = true
			go s.work(context.WithoutCancel(ctx))
		}
	}
	r := s.next
	s.mu.Unlock()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work syncs until nobody waits.
func (s *syncer) work(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.next != nil {
		r := s.next
		s.next = nil
		if s.delayed != nil {
			s.delayed.Stop()
			s.delayed = nil
		}
		s.mu.Unlock()
		r.err = s.st.Sync(ctx)
		close(r.done)
		s.mu.Lock()
	}
	s.running = false
}

// later makes what was stored durable before long. It calls failed if that does not succeed.
func (s *syncer) later(failed func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delayed != nil {
		return
	}
	s.delayed = time.AfterFunc(syncDelay, func() {
		if err := s.sync(context.Background()); err != nil {
			failed(err)
		}
	})
}

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
	st     *store.Store
	failed func(error) // is told of each sync that fails

	running sync.Mutex // held by the round that runs

	mu      sync.Mutex
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
	r := s.soon()
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// soon begins a sync, and returns its round.
func (s *syncer) soon() *round {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == nil {
		s.next = &round{done: make(chan struct{})}
		go s.run(s.next)
	}
	return s.next
}

// run runs a round after the one that is running.
func (s *syncer) run(r *round) {
	s.running.Lock()
	defer s.running.Unlock()
	s.mu.Lock()
	s.next = nil
	if s.delayed != nil {
		s.delayed.Stop()
		s.delayed = nil
	}
	s.mu.Unlock()
	if r.err = s.st.Sync(context.Background()); r.err != nil && s.failed != nil {
		s.failed(r.err)
	}
	close(r.done)
}

// later makes what was stored durable before long.
func (s *syncer) later() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delayed == nil {
		s.delayed = time.AfterFunc(syncDelay, func() { s.soon() })
	}
}

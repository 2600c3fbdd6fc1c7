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
	st    *store.Store
	enter func(context.Context) (leave func(), err error) // comes before a sync that nobody waits for; nil: nothing does

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
	s.mu.Lock()
	if s.next == nil {
		s.next = &round{done: make(chan struct{})}
		go s.run(context.WithoutCancel(ctx), s.next)
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

// run runs a round after the one that is running.
func (s *syncer) run(ctx context.Context, r *round) {
	s.running.Lock()
	defer s.running.Unlock()
	s.mu.Lock()
	s.next = nil
	if s.delayed != nil {
		s.delayed.Stop()
		s.delayed = nil
	}
	s.mu.Unlock()
	r.err = s.st.Sync(ctx)
	close(r.done)
}

// later makes what was stored durable before long. It calls failed if that does not succeed.
func (s *syncer) later(failed func(error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.delayed != nil {
		return
	}
	s.delayed = time.AfterFunc(syncDelay, func() {
		if err := s.syncAlone(context.Background()); err != nil {
			failed(err)
		}
	})
}

// syncAlone is sync for a caller that does not use the store otherwise.
func (s *syncer) syncAlone(ctx context.Context) error {
	if s.enter != nil {
		leave, err := s.enter(ctx)
		if err != nil {
			return err
		}
		defer leave()
	}
	return s.sync(ctx)
}

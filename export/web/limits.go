package web

import (
	"cmp"
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

// slots limits how many clients may do something at once. A client may hold or wait for at most three quarters of the
// slots, so that others get some, unless there are too few to share.
type slots struct {
	held     chan struct{}
	patience time.Duration // how long others wait

	mu      sync.Mutex
	clients map[string]int // how many each holds or waits for
}

func newSlots(n int) *slots {
	return &slots{held: make(chan struct{}, n), patience: patience, clients: map[string]int{}}
}

// take waits for a slot, but not for long. A client "" may hold all. If the error is nil, give must follow.
func (s *slots) take(ctx context.Context, client string) (err error) {
	if !s.enter(client) {
		return errBusy
	}
	defer func() {
		if err != nil {
			s.leave(client)
		}
	}()
	select {
	case s.held <- struct{}{}:
		return nil
	default:
	}
	waiting, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	select {
	case s.held <- struct{}{}:
		return nil
	case <-waiting.Done():
		return cmp.Or(ctx.Err(), error(errBusy))
	}
}

// give returns a slot.
func (s *slots) give(client string) {
	<-s.held
	s.leave(client)
}

// enter counts a client that wants a slot, unless it has its share.
func (s *slots) enter(client string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := cap(s.held); client != "" && n >= 4 && s.clients[client] >= n-n/4 {
		return false
	}
	s.clients[client]++
	return true
}

func (s *slots) leave(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.clients[client]--; s.clients[client] == 0 {
		delete(s.clients, client)
	}
}

// clientOf returns the client that sent a request: its address, or, for IPv6, its network, because one client has all
// addresses of the network.
func clientOf(r *http.Request) string {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return "socket"
	}
	addr := at.Addr().Unmap()
	if addr.Is6() {
		if network, err := addr.Prefix(64); err == nil {
			return network.String()
		}
	}
	return addr.String()
}

// answer is what is sent to a client. A client that takes too little of it is cut off.
type answer struct {
	http.ResponseWriter
	control *http.ResponseController
	idle    time.Duration
	status  int // 0: nothing was sent
	sent    int64
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader sends the headers.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		a.extend()
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the body, piece by piece.
func (a *answer) Write(p []byte) (n int, err error) {
	if a.status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	for err == nil && n < len(p) {
		a.extend()
		var m int
		m, err = a.ResponseWriter.Write(p[n:min(n+piece, len(p))])
		n += m
	}
	a.sent += int64(n)
	return n, err
}

// extend gives the client time to take the next piece. A connection that has no deadlines is one of a test.
func (a *answer) extend() { _ = a.control.SetWriteDeadline(time.Now().Add(a.idle)) }

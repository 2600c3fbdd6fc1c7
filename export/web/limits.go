package web

import (
	"context"
	"net/http"
	"time"
)

// slots is how many may do something at once; each holds one.
type slots struct {
	held     chan struct{}
	patience time.Duration // how long others wait
}

func newSlots(n int) slots { return slots{make(chan struct{}, n), patience} }

// take waits for a slot, but not for long.
func (s slots) take(ctx context.Context) error {
	select {
	case s.held <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(s.patience)
	defer timer.Stop()
	select {
	case s.held <- struct{}{}:
		return nil
	case <-timer.C:
		return errBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s slots) give() { <-s.held }

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

package server

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
)

// silentStream is the stream of a client that does nothing.
type silentStream struct{ ended chan *status.Status }

func (s silentStream) ReadMessageHeader([]byte) error      { return errors.New("not called") }
func (s silentStream) Read(int) (mem.BufferSlice, error)   { return nil, errors.New("not called") }
func (s silentStream) WriteStatus(st *status.Status) error { s.ended <- st; return nil }
func (s silentStream) call(l *limits, a *account) *served {
	c := &served{ctx: context.Background(), l: l, a: a, raw: s}
	c.begin()
	return c
}

// TestLimitsFair has one client with all there is, which is silent: it has to give way, and to whoever holds the least.
func TestLimitsFair(t *testing.T) {
	l := newLimits(Options{MaxStreams: 3, Memory: DefaultMemory, Idle: time.Hour}, true)
	ended := silentStream{make(chan *status.Status, 3)}
	greedy, modest := new(account), new(account)
	var calls []*served
	for range 3 {
		c := ended.call(l, greedy)
		if err := c.take(slots, 1); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, c)
	}
	calls[1].wait(false) // the others are at work
	order := make(chan string)
	wait := func(name string, a *account) {
		if _, err := l.take(t.Context(), slots, a, 1); err != nil {
			t.Error(err)
		}
		order <- name
	}
	waits := func(n int) {
		for range 1000 {
			l.mu.Lock()
			has := len(l.waiting[slots])
			l.mu.Unlock()
			if has == n {
				return
			}
			time.Sleep(time.Millisecond)
		}
		t.Fatal("nobody waits")
	}
	go wait("greedy", greedy)
	waits(1)
	go wait("modest", modest)
	waits(2)
	if st := <-ended.ended; st.Code() != codes.Unavailable {
		t.Errorf("the silent call ended by %v", st)
	}
	if err := calls[1].finish(errors.New("cut off")); status.Code(toStatus(err)) != codes.Unavailable {
		t.Errorf("and it knows of %v", err)
	}
	if first := <-order; first != "modest" {
		t.Errorf("%s came first", first)
	}
	calls[0].finish(nil)
	<-order
	calls[2].finish(nil)
	l.give(slots, greedy, 1)
	l.give(slots, modest, 1)
	if l.used != [resources]int64{} {
		t.Errorf("in use at the end: %v", l.used)
	}
	select {
	case st := <-ended.ended:
		t.Errorf("a call at work was ended: %v", st)
	default:
	}
}

// TestOthersMessages has messages refused that are too long for what they ask, or compressed.
func TestOthersMessages(t *testing.T) {
	conn := rpctest.Connect(t, serveStore(t, memory.New(), Options{AllowPut: true}))
	var headers metadata.MD
	req := &protos.StatBlobRequest{Digest: make([]byte, askedMessage)}
	_, err := protos.NewBlobServiceClient(conn).Stat(t.Context(), req, grpc.Header(&headers))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a long request: %v", err)
	}
	err = conn.Invoke(t.Context(), "/grpc.health.v1.Health/Check", req, new(protos.StatBlobResponse))
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a long question after health: %v", err)
	}
}

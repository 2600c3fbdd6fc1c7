package server

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// silentStream is the stream of a client that does nothing.
type silentStream struct{ ended chan *status.Status }

func (s silentStream) ReadMessageHeader([]byte) error      { return errors.New("not called") }
func (s silentStream) Read(int) (mem.BufferSlice, error)   { return nil, errors.New("not called") }
func (s silentStream) WriteStatus(st *status.Status) error { s.ended <- st; return nil }
func (s silentStream) call(l *limits, a *account) *call {
	c := &call{ctx: context.Background(), l: l, a: a, raw: s}
	c.begin()
	return c
}

// A silent client that holds everything loses a call, and the client that holds the least gets its slot.
func TestLimitsFair(t *testing.T) {
	l := newLimits(Options{MaxStreams: 3, Memory: DefaultMemory, Idle: time.Hour}, true)
	ended := silentStream{make(chan *status.Status, 3)}
	greedy, modest := new(account), new(account)
	var calls []*call
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

// try takes n of a resource if it can be had at once.
func try(l *limits, r resource, a *account, n int64) bool {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := l.take(ctx, r, a, n)
	return err == nil
}

// A prompt client gets a little from the reserve while others hold everything else.
func TestReserve(t *testing.T) {
	l := newLimits(Options{MaxStreams: 16, Memory: DefaultMemory, Idle: time.Hour}, true)
	silent, newcomer := new(account), new(account)
	prompt, other, third := &account{prompt: true}, &account{prompt: true}, &account{prompt: true}
	for i := range 12 {
		if !try(l, slots, silent, 1) {
			t.Fatalf("slot %d of 16 is not to be had", i)
		}
	}
	for _, tt := range []struct {
		name string
		a    *account
		want bool
	}{
		{"one that holds the rest", silent, false}, {"a newcomer", newcomer, false},
		{"a prompt one", prompt, true}, {"a second call", prompt, true}, {"a third call", prompt, false},
		{"another", other, true}, {"another's second call", other, true}, {"a third client", third, false},
	} {
		if got := try(l, slots, tt.a, 1); got != tt.want {
			t.Errorf("%s has a slot: %v, want %v", tt.name, got, tt.want)
		}
	}
	l.give(slots, prompt, 1)
	if !try(l, slots, third, 1) {
		t.Error("what was lent and came back is not lent again")
	}
	for a, n := range map[*account]int64{silent: 12, prompt: 1, other: 2, third: 1} {
		l.give(slots, a, n)
	}
	if l.used != [resources]int64{} || l.lent != [resources]int64{} {
		t.Errorf("in use at the end: %v, lent %v", l.used, l.lent)
	}
}

// Clients that use the reserve do not hold up one that waits for much.
func TestReserveKeepsOrder(t *testing.T) {
	l := newLimits(Options{MaxStreams: 16, Memory: DefaultMemory, Idle: time.Hour}, true)
	silent, large, prompt := new(account), new(account), &account{prompt: true, known: true}
	most := l.most[received] - l.reserve[received]
	if !try(l, received, silent, most) || !try(l, received, prompt, 1<<20) {
		t.Fatal("not to be had")
	}
	got := make(chan int64)
	go func() {
		n, err := l.take(t.Context(), received, large, 1<<40)
		if err != nil {
			t.Error(err)
		}
		got <- n
	}()
	for waits := 0; waits == 0; time.Sleep(time.Millisecond) {
		l.mu.Lock()
		waits = len(l.waiting[received])
		l.mu.Unlock()
	}
	if !try(l, received, prompt, 1<<20) {
		t.Error("a little is not to be had while one waits for much")
	}
	l.give(received, silent, most)
	if n := <-got; n != most {
		t.Errorf("took %d, want %d", n, most)
	}
}

// The last newcomer comes first, and newcomers come before clients that were served.
func TestNewcomers(t *testing.T) {
	l := newLimits(Options{MaxStreams: 1, Memory: DefaultMemory, Idle: time.Hour}, true)
	holder := &account{known: true}
	if !try(l, slots, holder, 1) {
		t.Fatal("not to be had")
	}
	order := make(chan string)
	for i, w := range []struct {
		name string
		a    *account
	}{{"known", &account{known: true}}, {"first", new(account)}, {"last", new(account)}} {
		go func() {
			if _, err := l.take(t.Context(), slots, w.a, 1); err != nil {
				t.Error(err)
			}
			order <- w.name
			l.give(slots, w.a, 1)
		}()
		for waits := 0; waits <= i; time.Sleep(time.Millisecond) {
			l.mu.Lock()
			waits = len(l.waiting[slots])
			l.mu.Unlock()
		}
	}
	l.give(slots, holder, 1)
	for _, want := range []string{"last", "first", "known"} {
		if got := <-order; got != want {
			t.Errorf("%s came, want %s", got, want)
		}
	}
}

// A request that is too long for its method is refused.
func TestLongRequests(t *testing.T) {
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

// An upload of directories takes a slot of its own kind. It keeps that while other calls of its client make progress, and
// loses it if they rest while others wait. Pings are no progress.
func TestUploadSlots(t *testing.T) {
	l := newLimits(Options{MaxStreams: 1, Memory: DefaultMemory, Idle: time.Hour}, true)
	ended := silentStream{make(chan *status.Status, 1)}
	resting := new(account)
	c := ended.call(l, resting)
	if err := c.take(uploads, 1); err != nil {
		t.Fatal(err)
	}
	long := time.Now().Add(-2 * uploadGrace)
	l.mu.Lock()
	c.since, c.between = long, true
	resting.worked = time.Now()
	if n := c.lags(); n > 0 {
		t.Errorf("an upload whose client works lags by %v", n)
	}
	resting.worked = long
	l.mu.Unlock()
	resting.heard.Store(time.Now().UnixNano())

	other := silentStream{make(chan *status.Status, 1)}.call(l, new(account))
	if err := other.take(slots, 1); err != nil { // of another kind
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() { got <- other.take(uploads, 1) }()
	if s := <-ended.ended; s.Code() != codes.Unavailable {
		t.Errorf("the upload ended with %v", s)
	}
	if err := c.finish(nil); err == nil {
		t.Error("an upload that was ended succeeded")
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	_ = other.finish(nil)
}

// What a server remembers of the directories of an upload is counted, and given back.
func TestUploadCounted(t *testing.T) {
	s, err := New(memory.New(), Options{AllowPut: true})
	if err != nil {
		t.Fatal(err)
	}
	l := rpctest.Listen(t, s.Serve, func() { s.Shutdown(context.Background()) })
	stream, err := protos.NewDirectoryServiceClient(rpctest.Connect(t, l)).Put(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	await := func(want int64) {
		t.Helper()
		used := int64(-1)
		for start := time.Now(); used != want && time.Since(start) < time.Minute; time.Sleep(time.Millisecond) {
			s.limits.mu.Lock()
			used = s.limits.used[remembered]
			s.limits.mu.Unlock()
		}
		if used != want {
			t.Fatalf("%d bytes are counted, want %d", used, want)
		}
	}
	for i := range rememberedAtOnce {
		dir := store.Directory{{Name: strconv.Itoa(i), Kind: store.KindFile}}
		b, err := store.EncodeDirectory(dir)
		if err == nil {
			err = stream.Send(wire.RawDirectory(b))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	await(2 * rememberedAtOnce * rememberedCost)                                    // those that came, and room for the next ones
	if _, err := stream.CloseAndRecv(); status.Code(err) != codes.InvalidArgument { // they have no root
		t.Errorf("an upload without a root: %v", err)
	}
	await(0)
}

// Connections that say nothing are closed, the oldest first, when there are too many. A client that calls keeps its own.
func TestManyConnections(t *testing.T) {
	s, err := New(memory.New(), Options{Memory: LeastMemory})
	if err != nil {
		t.Fatal(err)
	}
	l := rpctest.Listen(t, s.Serve, func() { s.Shutdown(context.Background()) })
	most := int(s.limits.most[sending] / connCost)
	var silent []net.Conn
	for range most + 5 {
		conn, err := l.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	c := protos.NewBlobServiceClient(rpctest.Connect(t, l))
	if _, err := c.Stat(t.Context(), &protos.StatBlobRequest{Digest: make([]byte, 32)}); status.Code(err) != codes.NotFound {
		t.Errorf("Stat: %v", err)
	}
	for _, conn := range silent[:5] {
		if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("an old connection: %v", err)
		}
	}
	s.limits.mu.Lock()
	defer s.limits.mu.Unlock()
	if n := len(s.limits.accounts); n > most+1 {
		t.Errorf("%d connections, want at most %d", n, most+1)
	}
}

package server

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc"
	"castar/store/rpc/internal/rpctest"
)

// fullStore is a store in memory that cannot sync while it is full, and says when it is closed.
type fullStore struct {
	store.Barrier
	full   atomic.Bool
	closed chan struct{}
}

func newFull() (*fullStore, *store.Store) {
	st := memory.New()
	f := &fullStore{Barrier: st.Barrier, closed: make(chan struct{})}
	st.Barrier = f
	st.Room = func(context.Context) error { return f.Sync(context.Background()) }
	return f, st
}

func (f *fullStore) Sync(ctx context.Context) error {
	if f.full.Load() {
		return syscall.ENOSPC
	}
	return f.Barrier.Sync(ctx)
}

func (f *fullStore) Close() error {
	close(f.closed)
	return f.Barrier.Close()
}

// awaitHealth waits until the server says want about a service.
func awaitHealth(t *testing.T, conn *grpc.ClientConn, service string, want grpc_health_v1.HealthCheckResponse_ServingStatus) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch, err := grpc_health_v1.NewHealthClient(conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
	for err == nil {
		var resp *grpc_health_v1.HealthCheckResponse
		if resp, err = watch.Recv(); resp.GetStatus() == want {
			return
		}
	}
	t.Fatalf("%q is not %v: %v", service, want, err)
}

// A server whose store is full says so and goes on reading. It opens the store anew, and lets clients store again when
// there is room. What it had acknowledged and lost is not acknowledged for good.
func TestFullStore(t *testing.T) {
	first, st := newFull()
	second, again := newFull()
	second.full.Store(true)
	kept, err := again.Blobs.Put(t.Context(), []byte("kept"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Blobs.Put(t.Context(), []byte("kept")); err != nil {
		t.Fatal(err)
	}
	reopen := func(context.Context) (*store.Store, error) { return again, nil }
	l := serveStore(t, st, Options{AllowPut: true, Reopen: reopen})
	conn := rpctest.Connect(t, l)
	serving, not := grpc_health_v1.HealthCheckResponse_SERVING, grpc_health_v1.HealthCheckResponse_NOT_SERVING
	awaitHealth(t, conn, "castar.put", serving)

	client := func() *store.Store { return rpc.New(rpctest.Connect(t, l), "server", "x", "") }
	early, other := client(), client()
	defer early.Close()
	defer other.Close()
	if _, err := early.Blobs.Put(t.Context(), []byte("acknowledged")); err != nil {
		t.Fatal(err)
	}
	if _, err := early.Blobs.Has(t.Context(), store.Sum([]byte("acknowledged"))); err != nil { // it has arrived
		t.Fatal(err)
	}
	first.full.Store(true)
	if err := other.Sync(t.Context()); err != nil {
		t.Errorf("Sync of nothing: %v", err)
	}
	if _, err := other.Blobs.Put(t.Context(), []byte("too much")); err != nil {
		t.Fatal(err)
	}
	if err := other.Sync(t.Context()); err == nil || !strings.Contains(err.Error(), "the server has no space left") {
		t.Errorf("Sync in a full store: %v", err)
	}
	<-first.closed // so its room is free
	awaitHealth(t, conn, "castar.put", not)
	awaitHealth(t, conn, "", serving)
	late := client()
	defer late.Close()
	if has, err := late.Blobs.Has(t.Context(), kept); err != nil || !has {
		t.Errorf("Has in a full store: %v, %v", has, err)
	}
	if _, err := late.Directories.Put(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "the server has no space left") {
		t.Errorf("Put in a full store: %v", err)
	}

	second.full.Store(false)
	awaitHealth(t, conn, "castar.put", serving)
	fresh := client()
	defer fresh.Close()
	if _, err := fresh.Directories.Put(t.Context(), nil); err != nil {
		t.Errorf("Put when there is room: %v", err)
	}
	if err := fresh.Sync(t.Context()); err != nil {
		t.Errorf("Sync when there is room: %v", err)
	}
	if err := early.Sync(t.Context()); err == nil {
		t.Error("a blob that was lost is called durable")
	}
}

// A store that cannot be opened again is still read.
func TestNotOpenedAgain(t *testing.T) {
	full, st := newFull()
	tried := make(chan struct{}, 100)
	l := serveStore(t, st, Options{AllowPut: true, Reopen: func(context.Context) (*store.Store, error) {
		tried <- struct{}{}
		return nil, errors.New("gone")
	}})
	c := rpc.New(rpctest.Connect(t, l), "server", "x", "")
	defer c.Close()
	d, err := c.Blobs.Put(t.Context(), []byte("a"))
	if err == nil {
		err = c.Sync(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	full.full.Store(true)
	if _, err := c.Blobs.Put(t.Context(), []byte("b")); err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(t.Context()); err == nil {
		t.Error("Sync did not fail")
	}
	<-tried
	if has, err := c.Blobs.Has(t.Context(), d); err != nil || !has {
		t.Errorf("Has: %v, %v", has, err)
	}
	select {
	case <-full.closed:
		t.Error("the store is closed")
	default:
	}
	full.full.Store(false) // so that Shutdown can sync
}

// A server that stops ends uploads at once that clients of castar will send again, and waits for those of others.
func TestStopEndsUploads(t *testing.T) {
	s, err := New(memory.New(), Options{AllowPut: true})
	if err != nil {
		t.Fatal(err)
	}
	l := rpctest.Listen(t, s.Serve, func() {})
	begin := func(agent string) grpc.ClientStreamingClient[protos.Directory, protos.PutDirectoryResponse] {
		stream, err := protos.NewDirectoryServiceClient(rpctest.Connect(t, l, grpc.WithUserAgent(agent))).Put(t.Context())
		if err == nil {
			err = stream.Send(new(protos.Directory))
		}
		if err != nil {
			t.Fatal(err)
		}
		return stream
	}
	ours, other := begin("castar/1"), begin("tvix")
	for s.metrics.running.Load() < 2 { // they have come
		time.Sleep(time.Millisecond)
	}
	done := make(chan error)
	go func() { done <- s.Shutdown(context.Background()) }()
	if err := ours.RecvMsg(new(protos.PutDirectoryResponse)); status.Code(err) != codes.Unavailable {
		t.Errorf("an upload of castar ended with %v", err)
	}
	if _, err := other.CloseAndRecv(); err != nil {
		t.Errorf("another upload: %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

package server

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/rpc"
	"castar/store/rpc/internal/rpctest"
)

// countedBarrier counts syncs. Each waits for goOn.
type countedBarrier struct {
	store.Barrier
	begun chan struct{}
	goOn  chan struct{}
	n     atomic.Int32
}

func (b *countedBarrier) Sync(ctx context.Context) error {
	b.n.Add(1)
	b.begun <- struct{}{}
	<-b.goOn
	return b.Barrier.Sync(ctx)
}

// All callers that come while a sync is running share the next one.
func TestSyncShared(t *testing.T) {
	st := memory.New()
	b := &countedBarrier{Barrier: st.Barrier, begun: make(chan struct{}), goOn: make(chan struct{})}
	st.Barrier = b
	s := &syncer{st: st}
	first := make(chan error)
	go func() { first <- s.sync(context.Background()) }()
	<-b.begun
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for range 20 {
		if err := s.sync(gone); !errors.Is(err, context.Canceled) { // joins, and does not wait
			t.Errorf("sync: %v", err)
		}
	}
	shared := s.next
	b.goOn <- struct{}{}
	if err := <-first; err != nil {
		t.Error(err)
	}
	<-b.begun
	b.goOn <- struct{}{}
	<-shared.done
	if n := b.n.Load(); n != 2 || shared.err != nil {
		t.Errorf("%d syncs, want 2; %v", n, shared.err)
	}
}

// A directory upload is synced. A blob or a single directory is not.
func TestDurable(t *testing.T) {
	st := memory.New()
	n := &syncs{Barrier: st.Barrier}
	st.Barrier = n
	l := serveStore(t, st, Options{AllowPut: true})
	c := rpc.New(rpctest.Connect(t, l), "server", "x", "")
	t.Cleanup(func() { c.Close() })
	want := func(what string, synced int32) {
		t.Helper()
		if got := n.n.Load(); got != synced {
			t.Errorf("after %s: %d syncs, want %d", what, got, synced)
		}
	}
	put := func(data string) {
		t.Helper()
		if _, err := c.Blobs.Put(t.Context(), []byte(data)); err != nil {
			t.Fatal(err)
		}
	}
	sync := func() {
		t.Helper()
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	sync()
	want("nothing", 0)
	put("1")
	if _, err := c.Directories.Put(t.Context(), store.Directory{{Name: "a", Kind: store.KindFile}}); err != nil {
		t.Fatal(err)
	}
	want("a blob and a directory", 0)
	sync()
	want("Sync", 1)
	sync()
	want("Sync again", 1)
	put("2")
	u, err := c.Directories.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	d, err := u.Put(t.Context(), nil)
	if err == nil {
		err = u.Commit(t.Context(), d)
	}
	if err != nil {
		t.Fatal(err)
	}
	want("an upload", 2)
	sync()
	want("Sync after it", 2)
}

type syncs struct {
	store.Barrier
	n atomic.Int32
}

func (s *syncs) Sync(ctx context.Context) error {
	s.n.Add(1)
	return s.Barrier.Sync(ctx)
}

package server

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"
	"castar/store/rpc"
	"castar/store/rpc/internal/rpctest"
)

// lockable is a store in memory that can be opened and closed, and says how often it is open. Only one may be open alone.
type lockable struct {
	st     *store.Store
	t      *testing.T
	shared atomic.Int32
	alone  atomic.Bool
	opened atomic.Int32
	server *Server
}

func newLockable(t *testing.T) *lockable { return &lockable{st: memory.New(), t: t} }

type lockableBarrier struct {
	store.Barrier
	l     *lockable
	alone bool
}

func (l *lockable) open(alone bool) *store.Store {
	if l.alone.Load() || alone && (l.shared.Load() > 0 || !l.alone.CompareAndSwap(false, true)) {
		l.t.Errorf("opened, alone %v, while it is open", alone)
	}
	if !alone {
		l.shared.Add(1)
		l.opened.Add(1)
	}
	st := *l.st
	st.Barrier = lockableBarrier{l.st.Barrier, l, alone}
	return &st
}

func (b lockableBarrier) Close() error {
	if b.alone {
		b.l.alone.Store(false)
	} else {
		b.l.shared.Add(-1)
	}
	return nil
}

// serve serves the store with a gc that waits for the function, if there is one.
func (l *lockable) serve(during func()) (dial func() *store.Store) {
	s, err := New(l.open(false), Options{
		AllowPut: true, AllowDelete: true, Locks: true, linger: 20 * time.Millisecond,
		Reopen:    func(context.Context) (*store.Store, error) { return l.open(false), nil },
		OpenAlone: func(context.Context) (*store.Store, error) { return l.open(true), nil },
		Collect: func(context.Context, *store.Store, store.CollectOptions) (r store.CollectResult, err error) {
			r.Tags = 7
			during()
			return r, nil
		},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.server = s
	at := rpctest.Listen(l.t, s.Serve, func() {
		if err := s.Shutdown(context.Background()); err != nil {
			l.t.Errorf("Shutdown: %v", err)
		}
	})
	return func() *store.Store { return rpc.New(rpctest.Connect(l.t, at), "server", "x", "") }
}

// endLeases is what leaseTime does.
func (l *lockable) endLeases() {
	l.server.opened.mu.Lock()
	defer l.server.opened.mu.Unlock()
	for _, of := range l.server.opened.leases {
		of.seen = time.Time{}
	}
}

// await waits until a store is open as often as n.
func (l *lockable) await(n int32) {
	l.t.Helper()
	for range 10_000 {
		if l.shared.Load() == n {
			return
		}
		time.Sleep(time.Millisecond)
	}
	l.t.Fatalf("it is open %d times, want %d", l.shared.Load(), n)
}

// A store that locks is closed while nobody uses it, and opened by the next call. What was stored is there.
func TestIdleStoreIsClosed(t *testing.T) {
	l := newLockable(t)
	c := l.serve(nil)()
	defer c.Close()
	l.await(0)
	if err := c.Tags.Set(t.Context(), store.Tag{Name: "a", Root: store.Node{Kind: store.KindSymlink, Target: "x"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Tags.Get(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if n := l.opened.Load(); n != 2 {
		t.Errorf("opened %d times, want 2", n)
	}
	l.await(0)
}

// While a gc runs no call does, and after it they go on.
func TestCallsWaitForGC(t *testing.T) {
	l := newLockable(t)
	begun, goOn := make(chan struct{}), make(chan struct{})
	dial := l.serve(func() { close(begun); <-goOn })
	done := make(chan error, 1)
	go func() {
		c := dial()
		defer c.Close()
		r, err := c.Collector.Collect(t.Context(), store.CollectOptions{})
		if err == nil && r.Tags != 7 {
			err = errors.New("the result is lost")
		}
		done <- err
	}()
	<-begun
	c := dial()
	defer c.Close()
	if _, err := c.Collector.Collect(t.Context(), store.CollectOptions{}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("a second gc: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Tags.Get(ctx, "a"); store.IsNotFound(err) {
		t.Error("a call runs beside a gc")
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := c.Tags.Get(t.Context(), "a"); !store.IsNotFound(err) {
		t.Errorf("after the gc: %v", err)
	}
}

// Neither a gc nor forget begins while a client is in the middle of storing something, and the client goes on.
func TestGCWaitsForClients(t *testing.T) {
	l := newLockable(t)
	var ran atomic.Bool
	dial := l.serve(func() { ran.Store(true) })
	c, other := dial(), dial()
	defer other.Close()
	if _, err := c.Blobs.Put(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := other.Collector.Collect(ctx, store.CollectOptions{}); err == nil || ran.Load() {
		t.Errorf("a gc while a client stores: %v", err)
	}
	root := store.Node{Kind: store.KindSymlink, Target: "x"}
	if err := other.Tags.Forget(t.Context(), []store.Tag{{Root: root}}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("forget while a client stores: %v", err)
	}
	if err := c.Tags.Set(t.Context(), store.Tag{Name: "a", Root: root}); err != nil {
		t.Errorf("after that: %v", err)
	}
	c.Close()
	if _, err := other.Collector.Collect(t.Context(), store.CollectOptions{Wait: time.Minute}); err != nil || !ran.Load() {
		t.Errorf("a gc after the client is gone: %v", err)
	}
	if err := other.Tags.Forget(t.Context(), []store.Tag{{Root: root}}); err != nil {
		t.Errorf("forget after the client is gone: %v", err)
	}
}

// A client whose lease has ended, and that names a root after a gc, is refused: the root may be gone.
func TestLateClient(t *testing.T) {
	l := newLockable(t)
	c := l.serve(func() {})()
	defer c.Close()
	if _, err := c.Directories.Put(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first one names a root, so the lease ends with the connection, which stays
		if err := c.Tags.Record(t.Context(), store.Tag{Root: store.Node{Kind: store.KindSymlink, Target: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	l.endLeases()
	l.await(0)
	tag := store.Tag{Name: "a", Root: store.Node{Kind: store.KindSymlink, Target: "x"}}
	for name, err := range map[string]error{"Record": c.Tags.Record(t.Context(), tag), "Set": c.Tags.Set(t.Context(), tag)} {
		if err == nil || !strings.Contains(err.Error(), "store it again") {
			t.Errorf("%s after another process may have collected garbage: %v", name, err)
		}
	}
}

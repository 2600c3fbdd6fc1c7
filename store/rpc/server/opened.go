package server

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"castar/store"
	"castar/store/retry"
	"castar/store/rpc/internal/wire"
)

// A store takes nothing more once it could not write, say because its disk is full. What it had acknowledged and not
// made durable is lost then, as in a crash. So the server opens it again, under another instance, by which clients
// notice the loss. A call stays with the store that it began with, which fails all its later syncs. So no upload is
// acknowledged that relies on what was lost.
//
// A store that locks is also closed while nobody uses it, and for a gc: see exclusive.go.

// opened is a store while it is open.
type opened struct {
	st       *store.Store
	syncer   syncer
	instance metadata.MD // in answers to Put, and to Stat where Put is allowed

	// The rest belongs to openings.mu.
	users int // calls, and one for the store in use
}

// openings holds the store in use, and those before it for which calls still run.
type openings struct {
	s       *Server
	ctx     context.Context // ends with the server
	end     context.CancelFunc
	mending sync.WaitGroup

	mu      sync.Mutex
	now     *opened       // nil: closed, because nobody uses it
	old     int           // stores before it that are still used
	held    bool          // nobody may begin to use it
	changed chan struct{} // closed, and replaced, when users end or held changes
	left    time.Time     // when the last user ended
	leases  map[*account]*lease
	timer   *time.Timer // calls relax; nil if the store does not lock
	broken  error       // why clients may not store now, or nil
}

// healthOfPuts is the service whose health says whether clients may store.
const healthOfPuts = "castar.put"

// retryRoom is about how long the server waits before it looks again whether it may store.
const retryRoom = time.Second

func newOpenings(s *Server, st *store.Store) *openings {
	os := &openings{s: s, changed: make(chan struct{}), leases: map[*account]*lease{}, left: time.Now()}
	os.ctx, os.end = context.WithCancel(context.Background())
	os.now = os.open(st)
	os.mu.Lock() // relax may be called at once
	defer os.mu.Unlock()
	if s.o.Locks {
		os.timer = time.AfterFunc(s.o.linger/2, os.relax)
	}
	return os
}

func (os *openings) open(st *store.Store) *opened {
	o := &opened{st: st, instance: metadata.Pairs(wire.InstanceHeader, rand.Text()), users: 1}
	o.syncer.st, o.syncer.failed = st, func(err error) { os.failed(o, err) }
	return o
}

// use returns the store in use. It opens the store if that is closed. The caller calls done with it in the end.
func (os *openings) use(ctx context.Context) (*opened, error) {
	os.mu.Lock()
	defer os.mu.Unlock()
	for {
		if err := os.await(ctx, func() bool { return !os.held }); err != nil {
			return nil, err
		}
		if os.now != nil {
			os.now.users++
			return os.now, nil
		}
		if os.ctx.Err() != nil {
			return nil, errors.New("the server is shutting down")
		}
		os.held = true
		os.mu.Unlock()
		st, err := os.s.o.Reopen(context.WithoutCancel(ctx))
		os.mu.Lock()
		os.hold(false)
		if err != nil {
			return nil, err
		}
		os.now, os.left = os.open(st), time.Now()
	}
}

// await waits until ready reports true or ctx ends. The caller holds os.mu.
func (os *openings) await(ctx context.Context, ready func() bool) error {
	for !ready() {
		changed := os.changed
		os.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		}
		os.mu.Lock()
		if ctx.Err() != nil && !ready() {
			return ctx.Err()
		}
	}
	return nil
}

// hold sets whether somebody has the store for itself. The caller holds os.mu.
func (os *openings) hold(held bool) {
	os.held = held
	os.tell()
}

// tell lets those look again that await something. The caller holds os.mu.
func (os *openings) tell() {
	close(os.changed)
	os.changed = make(chan struct{})
}

// done notes that one user less needs a store. The last one closes it, if the server has opened it again since.
func (os *openings) done(o *opened) {
	os.mu.Lock()
	o.users--
	last := o.users == 0
	os.left = time.Now()
	os.mu.Unlock()
	if last {
		if err := o.st.Close(); err != nil {
			os.s.o.Log.Error("close", "error", err)
		}
	}
	os.mu.Lock()
	defer os.mu.Unlock()
	if last && o != os.now {
		os.old--
	}
	os.tell()
}

// mayPut returns why nothing can be stored now, or nil.
func (os *openings) mayPut() error {
	os.mu.Lock()
	defer os.mu.Unlock()
	return os.broken
}

// failed notes that a store could not write, and sees to it that the server can store again.
func (os *openings) failed(o *opened, err error) {
	if errors.Is(err, context.Canceled) || errors.Is(err, store.ErrReadOnly) {
		return
	}
	os.mu.Lock()
	defer os.mu.Unlock()
	if o != os.now || os.broken != nil || os.ctx.Err() != nil {
		return // it is being mended, or closed
	}
	code, text := reason(err)
	os.broken = &refused{code, text}
	os.s.o.Log.Error("the store takes nothing more", "error", err)
	os.s.health.SetServingStatus(healthOfPuts, grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	if os.s.o.Reopen != nil {
		os.mending.Go(os.mend)
	}
}

// mend opens the store again, and lets clients store again when there is room.
func (os *openings) mend() {
	again := retry.Policy{First: retryRoom, Most: retryRoom}
	var st *store.Store
	err := again.Do(os.ctx, nil, func(ctx context.Context) (err error) {
		if st, err = os.s.o.Reopen(ctx); err != nil {
			os.s.o.Log.Error("the store cannot be opened again", "error", err)
		}
		return err
	})
	if err != nil {
		return
	}
	os.mu.Lock()
	old := os.now
	os.now = os.open(st)
	os.old++
	os.mu.Unlock()
	os.done(old)
	if st.Room != nil && again.Do(os.ctx, nil, st.Room) != nil {
		return
	}
	os.mu.Lock()
	defer os.mu.Unlock()
	os.broken = nil
	os.s.health.SetServingStatus(healthOfPuts, grpc_health_v1.HealthCheckResponse_SERVING)
	os.s.o.Log.Info("the store takes blobs again")
}

// close stops mending, makes the store durable, and closes it if that is the server's task.
func (os *openings) close(ctx context.Context) error {
	os.end()
	os.mending.Wait()
	os.mu.Lock()
	_ = os.await(context.Background(), func() bool { return !os.held })
	if os.timer != nil {
		os.timer.Stop()
	}
	o := os.now
	if o == nil {
		os.mu.Unlock()
		return nil
	}
	o.users++
	os.mu.Unlock()
	defer os.done(o)
	if os.s.o.Reopen != nil {
		defer os.done(o)
	}
	if !os.s.o.AllowPut {
		return nil
	}
	return o.syncer.sync(context.WithoutCancel(ctx))
}

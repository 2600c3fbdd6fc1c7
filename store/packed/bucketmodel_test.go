package packed_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"castar/store/bucket"
	"castar/store/bucket/service"
	"castar/store/retry"
)

// A model of processes that share a bucket. Every operation of the bucket is a step: it waits until the model, which is
// asked only when everybody waits, lets it happen. So a run is decided by a list of choices, and can be repeated.

// outcome is what a step comes to.
type outcome int

const (
	happens outcome = iota
	fails           // the service is overloaded: nothing happened, and the client is told so
	lost            // it happened, and the client sees an error
	dies            // nothing happened, and the process is gone
)

// actor is a process.
type actor struct {
	m      *model
	id     int
	ctx    context.Context
	cancel context.CancelFunc
	dead   bool  // no more operation of it happens
	faults bool  // a step of it was not as it should be
	err    error // of its work
	done   bool
}

// step is an operation that waits.
type step struct {
	a      *actor
	what   string
	writes bool
	resume chan outcome
}

// model decides what happens next.
type model struct {
	t      *testing.T
	b      bucket.Bucket // that all share; keepOpen
	choose func(m *model, waiting []*step) (*step, outcome)
	after  func(s *step) // called after a step that may have changed what the store has
	trace  []string

	mu      sync.Mutex
	waiting []*step
	actors  []*actor
}

// start lets an actor work.
func (m *model) start(work func(*actor) error) *actor {
	a := &actor{m: m, id: len(m.actors)}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	m.actors = append(m.actors, a)
	go func() {
		err := work(a)
		m.mu.Lock()
		defer m.mu.Unlock()
		a.err, a.done = err, true
	}()
	return a
}

// bucket returns the bucket as an actor sees it.
func (a *actor) bucket() bucket.Bucket {
	policy := retry.Policy{Tries: 4, First: time.Second, Most: time.Second}
	return service.Retry(stepped{keepOpen{a.m.b}, a}, policy)
}

// run makes steps until all actors are done. It reports false if that takes too long.
func (m *model) run() bool {
	for range 5000 {
		synctest.Wait()
		m.mu.Lock()
		waiting := slices.Clone(m.waiting)
		working := slices.ContainsFunc(m.actors, func(a *actor) bool { return !a.done })
		m.mu.Unlock()
		if !working {
			return true
		}
		if len(waiting) == 0 { // somebody waits before it tries again
			time.Sleep(100 * time.Millisecond)
			continue
		}
		slices.SortStableFunc(waiting, func(s, t *step) int {
			return cmp.Or(cmp.Compare(s.a.id, t.a.id), cmp.Compare(s.what, t.what))
		})
		s, o := m.choose(m, waiting)
		m.mu.Lock()
		m.waiting = slices.DeleteFunc(m.waiting, func(w *step) bool { return w == s })
		m.mu.Unlock()
		m.trace = append(m.trace, fmt.Sprintf("%d %s %d", s.a.id, s.what, o))
		if o != happens {
			s.a.faults = true
		}
		if o == dies {
			s.a.dead = true
			s.a.cancel()
		}
		s.resume <- o
		synctest.Wait()
		if s.writes && m.after != nil {
			m.after(s)
		}
	}
	return false
}

// stepped is the bucket of an actor.
type stepped struct {
	bucket.Bucket
	a *actor
}

var errDead = errors.New("the process is gone")

func (b stepped) step(op, name string, writes bool, call func() error) error {
	s := &step{a: b.a, what: op + " " + path.Dir(name) + path.Ext(name), writes: writes, resume: make(chan outcome)}
	m := b.a.m
	m.mu.Lock()
	if b.a.dead {
		m.mu.Unlock()
		return errDead
	}
	m.waiting = append(m.waiting, s)
	m.mu.Unlock()
	switch <-s.resume {
	case fails:
		return &bucket.Unavailable{Err: errors.New("slow down")}
	case lost:
		if err := call(); err != nil {
			return err
		}
		return &bucket.Unavailable{Err: errors.New("connection reset")}
	case dies:
		return errDead
	}
	return call()
}

func (b stepped) Get(ctx context.Context, name string, off, n int64) (data []byte, err error) {
	err = b.step("get", name, false, func() (err error) { data, err = b.Bucket.Get(ctx, name, off, n); return err })
	return data, err
}

func (b stepped) Load(ctx context.Context, name string) (data []byte, v bucket.Version, err error) {
	err = b.step("load", name, false, func() (err error) { data, v, err = b.Bucket.Load(ctx, name); return err })
	return data, v, err
}

func (b stepped) Put(ctx context.Context, name string, data []byte) error {
	return b.step("put", name, true, func() error { return b.Bucket.Put(ctx, name, data) })
}

func (b stepped) PutLarge(ctx context.Context, name string, r io.ReaderAt, size int64) error {
	return b.step("put", name, false, func() error { return b.Bucket.PutLarge(ctx, name, r, size) })
}

func (b stepped) PutIf(ctx context.Context, name string, data []byte, old bucket.Version) (v bucket.Version, err error) {
	err = b.step("swap", name, true, func() (err error) { v, err = b.Bucket.PutIf(ctx, name, data, old); return err })
	return v, err
}

func (b stepped) Head(ctx context.Context, name string) (n int64, err error) {
	err = b.step("head", name, false, func() (err error) { n, err = b.Bucket.Head(ctx, name); return err })
	return n, err
}

func (b stepped) Delete(ctx context.Context, name string) error {
	return b.step("delete", name, true, func() error { return b.Bucket.Delete(ctx, name) })
}

func (b stepped) List(ctx context.Context, prefix, after string) iter.Seq2[bucket.Object, error] {
	return func(yield func(bucket.Object, error) bool) {
		var found []bucket.Object
		err := b.step("list", prefix, false, func() (err error) {
			for o, err := range b.Bucket.List(ctx, prefix, after) {
				if err != nil {
					return err
				}
				found = append(found, o)
			}
			return nil
		})
		for _, o := range found {
			if err == nil && !yield(o, nil) {
				return
			}
		}
		if err != nil {
			yield(bucket.Object{}, err)
		}
	}
}

// preempting chooses steps so that an actor goes on as long as it can, except that at some steps, whose numbers are the keys,
// another one goes on: the one that many actors later. Before it does, that much time passes.
func preempting(switches map[int]int, pause time.Duration) func(*model, []*step) (*step, outcome) {
	n, current := 0, 0
	return func(_ *model, waiting []*step) (*step, outcome) {
		var ids []int
		for _, s := range waiting {
			ids = append(ids, s.a.id)
		}
		ids = slices.Compact(ids)
		if i := slices.Index(ids, current); i < 0 {
			current = ids[0]
		} else if by, ok := switches[n]; ok {
			time.Sleep(pause)
			current = ids[(i+by)%len(ids)]
		}
		n++
		return waiting[slices.IndexFunc(waiting, func(s *step) bool { return s.a.id == current })], happens
	}
}

// luck is a choice at random.
type luck struct {
	rnd    *rand.Rand
	faults bool // let steps fail
	time   bool // let a day pass now and then
}

func (l luck) choose(m *model, waiting []*step) (*step, outcome) {
	s, o := waiting[l.rnd.IntN(len(waiting))], happens
	if l.faults {
		switch n := l.rnd.IntN(400); {
		case n < 8:
			o = fails
		case n < 16:
			o = lost
		case n == 16:
			o = dies
		}
	}
	if l.time && l.rnd.IntN(60) == 0 {
		time.Sleep(13 * time.Hour)
	}
	return s, o
}

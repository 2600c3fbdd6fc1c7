package rpc

import (
	"context"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/rpc/internal/wire"
)

const (
	// questionCalls is how many calls of BulkService.Has run at once. While they are on their way the next one is filled.
	questionCalls = 4
	// questionSize is how many blobs one call asks for. A server with the least memory takes that many.
	questionSize = wire.MostBlobs / 4
)

// questions asks the server which blobs it has, for many callers at once. All who ask while calls are on their way share
// the next call. So the time of one answer does not depend on how many wait for one. Its methods may be called
// concurrently.
type questions struct {
	c     *client
	alone atomic.Bool // the server has no BulkService, and is asked for each blob by itself

	mu      sync.Mutex
	waiting []question
	calls   int // that are running
}

// question is what one caller wants to know.
type question struct {
	d      store.Digest
	answer chan answer // has room for it
}

type answer struct {
	has bool
	err error
}

// has reports whether the server has the blob d.
func (q *questions) has(ctx context.Context, d store.Digest) (bool, error) {
	if q.alone.Load() {
		return q.one(ctx, d)
	}
	asked := question{d, make(chan answer, 1)}
	q.mu.Lock()
	q.waiting = append(q.waiting, asked)
	if q.calls < questionCalls && q.c.outbox.run(q.work) {
		q.calls++
	}
	started := q.calls > 0
	q.mu.Unlock()
	if !started {
		return false, errClosed
	}
	select {
	case a := <-asked.answer:
		if a.err == errNoBulk {
			return q.one(ctx, d)
		}
		return a.has, a.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// errNoBulk is the answer to a question that must be asked by itself.
var errNoBulk = status.Error(codes.Unimplemented, "no BulkService")

// work asks until nobody waits any more.
func (q *questions) work() {
	for {
		q.mu.Lock()
		n := min(len(q.waiting), questionSize)
		asked := append([]question(nil), q.waiting[:n]...)
		q.waiting = append([]question(nil), q.waiting[n:]...)
		if n == 0 {
			q.calls--
			q.mu.Unlock()
			return
		}
		q.mu.Unlock()
		ds := make([]store.Digest, n)
		for i := range asked {
			ds[i] = asked[i].d
		}
		has, err := q.together(q.c.outbox.ctx, ds)
		for i := range asked {
			a := answer{err: err}
			if err == nil {
				a.has = has[i]
			}
			asked[i].answer <- a
		}
	}
}

// together asks for several blobs in one call. The error is errNoBulk if the server does not know that call.
func (q *questions) together(ctx context.Context, ds []store.Digest) ([]bool, error) {
	if q.alone.Load() {
		return nil, errNoBulk
	}
	has, err := q.c.hasBlobs(ctx, ds)
	if status.Code(err) == codes.Unimplemented {
		q.alone.Store(true)
		return nil, errNoBulk
	}
	return has, fromStatus(err, ds[0])
}

// one asks for a blob by itself, as one of the calls that singles allows.
func (q *questions) one(ctx context.Context, d store.Digest) (has bool, err error) {
	err = q.c.singles.do(ctx, func() (err error) {
		has, err = q.c.hasBlob(ctx, d)
		return err
	})
	return has, err
}

// HasAll implements store.RemoteBlobs. It asks for many blobs in one call, or else for as many as possible at once.
func (b blobs) HasAll(ctx context.Context, ds []store.Digest) ([]bool, error) {
	all := make([]bool, len(ds))
	calls, ctx := errgroup.WithContext(ctx)
	calls.SetLimit(questionCalls)
	for from := 0; from < len(ds) && ctx.Err() == nil; from += questionSize {
		to := min(from+questionSize, len(ds))
		calls.Go(func() error { return b.hasSome(ctx, ds[from:to], all[from:to]) })
	}
	if err := calls.Wait(); err != nil {
		return nil, err
	}
	return all, nil
}

// hasSome sets has to whether the server has each of a few blobs.
func (b blobs) hasSome(ctx context.Context, ds []store.Digest, has []bool) error {
	for i := range ds {
		if err := b.c.outbox.await(ctx, ds[i]); err != nil {
			return err
		}
	}
	got, err := b.c.questions.together(ctx, ds)
	copy(has, got)
	if err != errNoBulk {
		return err
	}
	calls, ctx := errgroup.WithContext(ctx)
	calls.SetLimit(mostSingles)
	for i := 0; i < len(ds) && ctx.Err() == nil; i++ {
		calls.Go(func() (err error) {
			has[i], err = b.c.questions.one(ctx, ds[i])
			return err
		})
	}
	return calls.Wait()
}

package objects

import (
	"context"
	"errors"
	"iter"
	"math/rand/v2"
	"time"
)

// backoff says how calls are repeated that failed for a reason that may go away.
type backoff struct {
	tries   int           // calls, the first one included
	first   time.Duration // the longest wait before the second; each later one may be twice as long
	most    time.Duration // but no longer than this
	timeout time.Duration // of one call
}

// remote is the backoff for services in a network: up to about a minute of waiting. A call moves a few MiB at most, and
// two minutes are enough for those on a slow line.
func remote() backoff {
	return backoff{tries: 10, first: 100 * time.Millisecond, most: 15 * time.Second, timeout: 2 * time.Minute}
}

// do calls f until it succeeds, fails for good, or has failed too often. Waits are random between nothing and the bound,
// so that clients that failed together do not come back together.
func (b backoff) do(ctx context.Context, f func(context.Context) error) error {
	wait := b.first
	for try := 1; ; try++ {
		once, cancel := context.WithTimeout(ctx, b.timeout)
		err := f(once)
		late := once.Err() != nil
		cancel()
		if _, unavailable := errors.AsType[*Unavailable](err); err == nil || try == b.tries || !unavailable && !late {
			return err
		}
		timer := time.NewTimer(rand.N(wait) + 1)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		wait = min(2*wait, b.most)
	}
}

// retrying repeats the calls of a Bucket.
type retrying struct {
	Bucket
	backoff
}

func (r retrying) Get(ctx context.Context, name string, offset, n int64) (b []byte, err error) {
	err = r.do(ctx, func(ctx context.Context) error {
		b, err = r.Bucket.Get(ctx, name, offset, n)
		return err
	})
	return b, err
}

func (r retrying) Put(ctx context.Context, name string, data []byte) error {
	return r.do(ctx, func(ctx context.Context) error { return r.Bucket.Put(ctx, name, data) })
}

func (r retrying) Head(ctx context.Context, name string) (size int64, err error) {
	err = r.do(ctx, func(ctx context.Context) error {
		size, err = r.Bucket.Head(ctx, name)
		return err
	})
	return size, err
}

func (r retrying) Delete(ctx context.Context, name string) error {
	return r.do(ctx, func(ctx context.Context) error { return r.Bucket.Delete(ctx, name) })
}

// List goes on after the last name that it got. Each name is progress, after which the count of tries begins anew; the
// timeout is for a number of names, which are gathered before they are yielded, so that the time that the loop takes
// does not count.
func (r retrying) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		const most = 1000
		for more := true; more; {
			var names []string
			err := r.do(ctx, func(ctx context.Context) error {
				more = false
				for name, err := range r.Bucket.List(ctx, prefix, after) {
					if err != nil && len(names) == 0 {
						return err
					}
					if more = err != nil; more {
						break
					}
					names, after = append(names, name), name
					if more = len(names) == most; more {
						break
					}
				}
				return nil
			})
			if err != nil {
				yield("", err)
				return
			}
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
		}
	}
}

// listing repeats all calls but List, for Buckets that repeat the requests of a listing themselves.
type listing struct{ retrying }

func (l listing) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return l.Bucket.List(ctx, prefix, after)
}

// stepwise repeats all calls but List and Put, for Buckets that repeat the requests of both themselves: those for many
// folders would hardly all succeed at once where some fail.
type stepwise struct{ listing }

func (s stepwise) Put(ctx context.Context, name string, data []byte) error {
	return s.Bucket.Put(ctx, name, data)
}

package objects

import (
	"context"
	"errors"
	"iter"
	"time"

	"castar/store/retry"
)

// remote is the policy for services in a network: up to about a minute of waiting. A call moves a few MiB at most, for
// which two minutes are enough on a slow line.
func remote() retry.Policy {
	return retry.Policy{Tries: 10, First: 50 * time.Millisecond, Most: 8 * time.Second, Timeout: 2 * time.Minute}
}

// first is the policy for the first call to a service. It gives up sooner, since the URL may be misspelt.
func first() retry.Policy {
	p := remote()
	p.Tries = 4
	return p
}

// passes reports whether an error may go away if the call is repeated.
func passes(err error) bool {
	_, unavailable := errors.AsType[*Unavailable](err)
	return unavailable
}

// retrying repeats the calls of a Bucket.
type retrying struct {
	Bucket
	policy retry.Policy
}

func (r retrying) do(ctx context.Context, call func(context.Context) error) error {
	return r.policy.Do(ctx, passes, call)
}

// result is do for a call with a result.
func result[T any](ctx context.Context, r retrying, call func(context.Context) (T, error)) (v T, err error) {
	err = r.do(ctx, func(ctx context.Context) error {
		v, err = call(ctx)
		return err
	})
	return v, err
}

func (r retrying) Get(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	return result(ctx, r, func(ctx context.Context) ([]byte, error) { return r.Bucket.Get(ctx, name, offset, n) })
}

func (r retrying) Put(ctx context.Context, name string, data []byte) error {
	return r.do(ctx, func(ctx context.Context) error { return r.Bucket.Put(ctx, name, data) })
}

func (r retrying) Head(ctx context.Context, name string) (int64, error) {
	return result(ctx, r, func(ctx context.Context) (int64, error) { return r.Bucket.Head(ctx, name) })
}

func (r retrying) Delete(ctx context.Context, name string) error {
	return r.do(ctx, func(ctx context.Context) error { return r.Bucket.Delete(ctx, name) })
}

// List continues after the last name that it got. Each name is progress and starts a new count of tries. The timeout is
// for one page of names, which are collected before they are yielded, so that the time the loop takes does not count.
func (r retrying) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for more := true; more; {
			var names []string
			err := r.do(ctx, func(ctx context.Context) error {
				more = false
				for name, err := range r.Bucket.List(ctx, prefix, after) {
					if err != nil && len(names) == 0 {
						return err
					}
					if err == nil {
						names, after = append(names, name), name
					}
					if more = err != nil || len(names) == listPage; more {
						return nil
					}
				}
				return nil
			})
			for _, name := range names {
				if !yield(name, nil) {
					return
				}
			}
			if err != nil {
				yield("", err)
				return
			}
		}
	}
}

// listing repeats all calls but List. It is for Buckets that repeat the requests of a listing themselves.
type listing struct{ retrying }

func (l listing) List(ctx context.Context, prefix, after string) iter.Seq2[string, error] {
	return l.Bucket.List(ctx, prefix, after)
}

// stepwise repeats all calls but List and Put. It is for Buckets that repeat the single requests of both themselves: a
// call that takes requests for many folders would hardly ever succeed as a whole if some of them fail.
type stepwise struct{ listing }

func (s stepwise) Put(ctx context.Context, name string, data []byte) error {
	return s.Bucket.Put(ctx, name, data)
}

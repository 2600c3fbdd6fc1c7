package chunk

import (
	"context"
	"iter"
)

// Ahead yields what fetch returns for 0 up to n, in order. While the loop body has one, it fetches up to most of those
// that follow, each in a goroutine of its own. It ends after the first error, and leaves no goroutine behind. release,
// which may be nil, is called for every value that was fetched, once nothing uses it any more: a value is the body's
// until the body returns.
func Ahead[V any](ctx context.Context, n, most int, fetch func(ctx context.Context, i int) (V, error), release func(V)) iter.Seq2[V, error] {
	type result struct {
		value V
		err   error
	}
	drop := func(r result) {
		if r.err == nil && release != nil {
			release(r.value)
		}
	}
	return func(yield func(V, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		var queue []chan result // of those being fetched, in order
		defer func() {
			cancel()
			for _, c := range queue {
				drop(<-c)
			}
		}()
		next := 0
		for i := range n {
			for ; next < n && next <= i+most; next++ {
				done := make(chan result, 1)
				queue = append(queue, done)
				go func(i int) {
					v, err := fetch(ctx, i)
					done <- result{v, err}
				}(next)
			}
			r := <-queue[0]
			queue = queue[1:]
			if r.err == nil && ctx.Err() != nil {
				drop(r)
				r = result{err: ctx.Err()}
			}
			more := yield(r.value, r.err)
			drop(r)
			if !more || r.err != nil {
				return
			}
		}
	}
}

package chunk

import (
	"context"
	"iter"
)

// Ahead yields the results of fetch for 0 to n-1, in order. While the loop body has one, Ahead fetches up to most of
// the following ones, each in its own goroutine. It ends after the first error, and waits for all goroutines. The loop
// body may use a value until it returns. release, which may be nil, is called for every fetched value when it is no
// longer used.
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
		var queue []chan result // of the running fetches, in order
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

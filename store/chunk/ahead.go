package chunk

import (
	"context"
	"io"
	"iter"

	"castar/store"
)

// Ahead is AheadOf for the numbers 0 to n-1.
func Ahead[V any](ctx context.Context, n, most int, fetch func(ctx context.Context, i int) (V, error), release func(V)) iter.Seq2[V, error] {
	numbers := func(yield func(int, error) bool) {
		for i := 0; i < n && yield(i, nil); i++ {
		}
	}
	return AheadOf(ctx, numbers, most, fetch, release)
}

// AheadOf yields the results of fetch for items, in order. While the loop body has one, AheadOf fetches up to most of the
// following ones, each in its own goroutine. It takes no more items than that. It ends after the first error, also one of
// items, and waits for all goroutines. The loop body may use a value until it returns. release, which may be nil, is called
// for every fetched value when it is no longer used.
func AheadOf[T, V any](ctx context.Context, items iter.Seq2[T, error], most int,
	fetch func(ctx context.Context, item T) (V, error), release func(V)) iter.Seq2[V, error] {
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
		next, stop := iter.Pull2(items)
		var queue []chan result // of the running fetches, in order
		defer func() {
			cancel()
			for _, c := range queue {
				drop(<-c)
			}
			stop()
		}()
		for more := true; ; {
			for more && len(queue) <= most {
				item, err, ok := next()
				if more = ok && err == nil; !ok {
					break
				}
				done := make(chan result, 1)
				queue = append(queue, done)
				if err != nil {
					done <- result{err: err}
					break
				}
				go func() {
					v, err := fetch(ctx, item)
					done <- result{v, err}
				}()
			}
			if len(queue) == 0 {
				return
			}
			r := <-queue[0]
			queue = queue[1:]
			if r.err == nil && ctx.Err() != nil {
				drop(r)
				r = result{err: ctx.Err()}
			}
			wanted := yield(r.value, r.err)
			drop(r)
			if !wanted || r.err != nil {
				return
			}
		}
	}
}

// Join writes chunks one after the other, and returns the digest and the length of all. It loads and hashes up to most
// of them ahead, in parallel, and keeps no list of them. load returns the bytes of a chunk, which have the right length.
func Join(ctx context.Context, chunks iter.Seq2[store.Chunk, error], most int,
	load func(context.Context, store.Chunk) (Piece, error), w io.Writer) (sum store.Digest, n int64, err error) {
	type placed struct {
		store.Chunk
		start uint64 // in the blob
	}
	inOrder := func(yield func(placed, error) bool) {
		start := uint64(0)
		for c, err := range chunks {
			if !yield(placed{c, start}, err) {
				return
			}
			start += c.Size
		}
	}
	fetch := func(ctx context.Context, c placed) (Piece, error) {
		p, err := load(ctx, c.Chunk)
		if err == nil {
			p.hashed = new(store.NewPart(p.Data, c.start))
		}
		return p, err
	}
	var h store.Hasher
	for p, err := range AheadOf(ctx, inOrder, most, fetch, Piece.release) {
		if err != nil {
			return sum, n, err
		}
		h.WritePart(*p.hashed)
		m, err := store.WriteFrom(w, p.Data, p.Extent)
		n += int64(m)
		if err != nil {
			return sum, n, err
		}
	}
	return h.Sum(), n, nil
}

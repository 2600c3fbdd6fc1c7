package rpc

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/chunk"
	"castar/store/rpc/internal/wire"
)

// A long blob goes to a server of castar's in chunks, cut as the server would cut it. They are sent as small blobs are, so
// those that are there are not; and when they have arrived, the server is told that they make up a blob.

const (
	// leastChunk is the average length of chunks, in bytes, from which blobs are sent so: where chunks are shorter, the
	// list of them is no longer small beside them.
	leastChunk = 64 << 10
	// joinCalls is how many blobs are joined at once, each by reading all of it.
	joinCalls = 4
	// joinsWaiting is how many may wait for that, each with the list of its chunks in memory.
	joinsWaiting = 64
	// joinRate is how many bytes of a blob that is joined the server reads in a second, at the least, from a slow disk: it
	// says nothing until it has read all.
	joinRate = 4 << 20
	// chunksInMessage keeps messages far below what any server takes, at 40 bytes for each.
	chunksInMessage = 1024
)

// poolFor returns what cuts chunks of a certain average, or nil where they cannot be sent, each of longest bytes at most.
func poolFor(average uint64, longest int) *chunk.Pool {
	if average < leastChunk || average > chunk.MaxAvg {
		return nil
	}
	params, err := chunk.ParamsFor(int(average))
	if err != nil || params.Max > longest {
		return nil
	}
	c, _ := chunk.NewCutter(params) // ParamsFor returns none that it refuses
	return chunk.NewPool(c, make(chan struct{}, runtime.GOMAXPROCS(0)))
}

// joining is a blob that is joined when its chunks have arrived.
type joining struct {
	digest store.Digest
	chunks []store.Chunk
	done   chan struct{} // closed when that was done, or failed
}

// join sees to it that the blob d is joined, whose chunks were sent. It waits only where too many others do.
func (f *flight) join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	if f.c.known.has(d) {
		return nil
	}
	f.mu.Lock()
	_, again := f.joining[d]
	err := f.err
	if err == nil && f.ctx.Err() != nil {
		err = errClosed
	}
	if again || err != nil {
		f.mu.Unlock()
		return err
	}
	j := &joining{d, chunks, make(chan struct{})}
	select {
	case f.joins <- j:
		f.joining[d] = j
		f.mu.Unlock()
		return nil
	default:
	}
	f.joining[d] = j
	f.departAll() // those that wait may do so for chunks in a batch that nobody fills any more
	f.mu.Unlock()
	select {
	case f.joins <- j:
		return nil
	case <-ctx.Done():
		f.joined(j, nil)
		return ctx.Err()
	case <-f.ctx.Done():
		return errClosed
	}
}

// joinAll joins blobs until the store is closed.
func (f *flight) joinAll() {
	for {
		select {
		case j := <-f.joins:
			err := f.arrivedAll(j.chunks)
			if err == nil {
				err = f.c.joinBlob(f.ctx, j.digest, j.chunks)
			}
			f.joined(j, err)
		case <-f.ctx.Done():
			return
		}
	}
}

// arrivedAll waits until chunks have arrived. It has none of them sent, for there will be more to go with them.
func (f *flight) arrivedAll(chunks []store.Chunk) error {
	for i := range chunks {
		for {
			f.mu.Lock()
			b, err := f.pending[chunks[i].Digest], f.err
			var done chan struct{}
			if b != nil {
				done = b.done
			}
			f.mu.Unlock()
			if err != nil {
				return err
			}
			if b == nil {
				break
			}
			if err := f.wait(f.ctx, done); err != nil {
				return err
			}
		}
	}
	return nil
}

// joined ends what join began.
func (f *flight) joined(j *joining, err error) {
	f.mu.Lock()
	delete(f.joining, j.digest)
	if f.err == nil {
		f.err = err
	}
	f.mu.Unlock()
	close(j.done)
}

// joinBlob tells the server that chunks, which it has, make up the blob d.
func (c *client) joinBlob(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	var toRead time.Duration
	for i := range chunks {
		toRead += time.Duration(chunks[i].Size) * time.Second / joinRate
	}
	err := c.retry(ctx, func(k *call) error {
		stream, err := c.bulk.Join(k.ctx)
		if err != nil {
			return err
		}
		k.patience += toRead
		req := &protos.JoinBlobRequest{Digest: d[:]}
		for rest := chunks; err == nil && len(rest) > 0; {
			n := min(len(rest), chunksInMessage)
			for i := range rest[:n] {
				req.Chunks = append(req.Chunks, rest[i].Digest[:])
				req.Sizes = append(req.Sizes, rest[i].Size)
			}
			err = k.wait(func() error { return stream.Send(req) })
			rest, req = rest[n:], new(protos.JoinBlobRequest)
		}
		return c.endPut(k, stream, new(protos.JoinBlobResponse), err, d)
	})
	if status.Code(err) == codes.NotFound { // not of the blob, but of a chunk, which the text names
		return &wire.Error{Code: codes.NotFound, Text: fmt.Sprintf("blob %s: %s", d, status.Convert(err).Message())}
	}
	return fromStatus(err, d)
}

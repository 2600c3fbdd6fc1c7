package rpc

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/chunk"
	"castar/store/rpc/internal/wire"
)

// A long blob goes to a server of castar in chunks, cut as the server would cut it. They are put like small blobs, so the
// server gets only those that it lacks. When they have arrived, the server is told that they make up a blob: it joins them.

const (
	// leastChunk is the least average length of chunks, in bytes, for which blobs are sent in chunks. If chunks are
	// shorter, the list of them is not small beside them.
	leastChunk = 64 << 10
	// joinCalls is how many blobs are joined at once. The server reads all of each.
	joinCalls = 4
	// joinsWaiting is how many may wait for that, each with its list of chunks in memory.
	joinsWaiting = 64
	// joinRate is how many bytes of a joined blob the server reads in a second, at least, from a slow disk. It answers
	// only when it has read all.
	joinRate = 4 << 20
	// chunksInMessage keeps messages far below what any server takes, at 40 bytes for each chunk.
	chunksInMessage = 1024
)

// poolFor returns a pool that cuts chunks of the given average, or nil if that is not sensible or chunks could be longer
// than longest bytes.
func poolFor(average uint64, longest int) *chunk.Pool {
	if average < leastChunk || average > chunk.MaxAvg {
		return nil
	}
	c, err := chunk.NewCutter(int(average))
	if err != nil || c.Params().Max > longest {
		return nil
	}
	return chunk.NewPool(c, make(chan struct{}, runtime.GOMAXPROCS(0)))
}

// pendingJoin is a blob to be joined when its chunks have arrived.
type pendingJoin struct {
	digest store.Digest
	chunks []store.Chunk
	done   chan struct{} // closed when the blob is joined, or that has failed
}

// join has the blob d joined. Its chunks were put before. It waits only while too many others do.
func (o *outbox) join(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	if o.c.known.has(d) {
		return nil
	}
	o.mu.Lock()
	if _, again := o.joins[d]; again || o.failed() != nil {
		defer o.mu.Unlock()
		return o.failed()
	}
	j := &pendingJoin{d, chunks, make(chan struct{})}
	o.joins[d] = j
	select {
	case o.joinQueue <- j:
		o.mu.Unlock()
		return nil
	default:
	}
	o.dispatchAll() // the joins ahead may wait for chunks in a batch that nobody fills any more
	o.mu.Unlock()
	select {
	case o.joinQueue <- j:
		return nil
	case <-ctx.Done():
		o.finishJoin(j, nil)
		return ctx.Err()
	case <-o.ctx.Done():
		return errClosed
	}
}

// workJoins joins blobs until the store is closed.
func (o *outbox) workJoins() {
	for {
		select {
		case j := <-o.joinQueue:
			err := o.awaitChunks(j.chunks)
			if err == nil {
				err = o.c.joinBlob(o.ctx, j.digest, j.chunks)
			}
			o.finishJoin(j, err)
		case <-o.ctx.Done():
			return
		}
	}
}

// awaitChunks waits until chunks are acknowledged. It does not dispatch their batches: more blobs will come and fill them.
func (o *outbox) awaitChunks(chunks []store.Chunk) error {
	for i := 0; i < len(chunks); {
		o.mu.Lock()
		var done chan struct{}
		if b := o.pending[chunks[i].Digest]; b != nil {
			done = b.done // look again after that: the batch may have been merged with another
		} else {
			i++
		}
		err := o.err
		o.mu.Unlock()
		if err = cmp.Or(err, o.wait(o.ctx, done)); err != nil {
			return err
		}
	}
	return nil
}

// finishJoin notes that a blob is joined, or why it is not.
func (o *outbox) finishJoin(j *pendingJoin, err error) {
	o.end(func() { delete(o.joins, j.digest) }, err)
	close(j.done)
}

// joinBlob tells the server that chunks that it has make up the blob d.
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
		for part := range slices.Chunk(chunks, chunksInMessage) {
			req.Chunks, req.Sizes = wire.Chunks(part)
			if err = k.wait(func() error { return stream.Send(req) }); err != nil {
				break
			}
			req = new(protos.JoinBlobRequest)
		}
		return k.finish(stream, err, new(protos.JoinBlobResponse), d, c.acked(d))
	})
	if status.Code(err) == codes.NotFound { // a chunk is missing, and the text names it
		return reported(err, fmt.Sprintf("blob %s: %s", d, status.Convert(err).Message()))
	}
	return fromStatus(err, d)
}

package rpc

import (
	"bytes"
	"context"
	"slices"

	"castar/protos"
	"castar/store"
)

// groupCalls is how many groups are on their way at once. While one is, the caller reads the next ones.
const groupCalls = 16

// ChunkSize implements store.Taker. It asks the server when it is called for the first time, and returns 0 if the server
// takes no groups or cannot be reached.
func (b blobs) ChunkSize() int {
	o := b.c.outbox
	if o.ready(o.ctx) != nil {
		return 0
	}
	return o.average
}

// TakeGroup implements store.Taker. It may return before the group has arrived, as Put may. It asks the server only about
// members that it has not asked about lately. A group may be sent though the server has got a part of it since: the server
// keeps what it lacked.
func (b blobs) TakeGroup(ctx context.Context, g store.Group, raw []byte) (bool, error) {
	if b.ChunkSize() == 0 || len(g.Members) == 0 || len(g.Members) > b.c.outbox.most.blobs || len(raw) > b.c.outbox.most.bytes {
		return false, nil
	}
	t, seen := newBatch(), make(map[store.Digest]bool, len(g.Members))
	var ask []store.Digest
	for _, m := range g.Members {
		t.digests, t.sizes = append(t.digests, m.Digest), append(t.sizes, m.Size)
		if seen[m.Digest] || b.c.known.has(m.Digest) {
			return false, nil
		}
		seen[m.Digest] = true
		if !b.c.lacking.has(m.Digest) {
			ask = append(ask, m.Digest)
		}
	}
	if has, err := b.HasAll(ctx, ask); err != nil || slices.Contains(has, true) {
		return false, err
	}
	return b.c.outbox.putGroup(ctx, t, g.Frame)
}

// putGroup sends a copy of the frame that the blobs of b are compressed in. It reports false if one of them was put in
// the meantime. It waits only while as many groups are on their way as may be.
func (o *outbox) putGroup(ctx context.Context, b *batch, frame []byte) (bool, error) {
	select {
	case o.groups <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	case <-o.ctx.Done():
		return false, errClosed
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	again := slices.ContainsFunc(b.digests, func(d store.Digest) bool { return o.pending[d] != nil || o.c.known.has(d) })
	if err := o.failed(); again || err != nil {
		<-o.groups
		return false, err
	}
	for _, d := range b.digests {
		o.pending[d] = b
	}
	m := &protos.PutBlobsRequest{Sizes: b.sizes, Contents: &protos.PutBlobsRequest_Frame{Frame: bytes.Clone(frame)}}
	o.running.Go(func() {
		o.settle(b, o.c.putBlobs(o.ctx, b.digests, m))
		<-o.groups
	})
	return true, nil
}

// TakeList implements store.Taker. The server checks the list before the next Sync returns.
func (b blobs) TakeList(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	return b.c.outbox.join(ctx, d, chunks)
}

package rpc

import (
	"context"
	"slices"

	"castar/protos"
	"castar/store"
)

// ChunkSize implements store.Taker. It asks the server when it is called for the first time, and returns 0 if the server
// takes no groups or cannot be reached.
func (b blobs) ChunkSize() int {
	o := b.c.outbox
	if o.ready(o.ctx) != nil {
		return 0
	}
	return o.average
}

// TakeGroup implements store.Taker. It returns when the server has acknowledged the group.
func (b blobs) TakeGroup(ctx context.Context, g store.Group, raw []byte) (bool, error) {
	if b.ChunkSize() == 0 || len(g.Members) == 0 || len(g.Members) > b.c.outbox.most.blobs || len(raw) > b.c.outbox.most.bytes {
		return false, nil
	}
	t, seen := newBatch(), make(map[store.Digest]bool, len(g.Members))
	for _, m := range g.Members {
		t.digests, t.sizes = append(t.digests, m.Digest), append(t.sizes, m.Size)
		seen[m.Digest] = true
	}
	if len(seen) < len(g.Members) {
		return false, nil
	}
	if has, err := b.HasAll(ctx, t.digests); err != nil || slices.Contains(has, true) {
		return false, err
	}
	message := &protos.PutBlobsRequest{Sizes: t.sizes, Contents: &protos.PutBlobsRequest_Frame{Frame: g.Frame}}
	return true, b.c.putBlobs(ctx, t.digests, message)
}

// TakeList implements store.Taker. The server checks the list before the next Sync returns.
func (b blobs) TakeList(ctx context.Context, d store.Digest, chunks []store.Chunk) error {
	return b.c.outbox.join(ctx, d, chunks)
}

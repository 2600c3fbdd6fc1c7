package rpc

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
	"castar/store/zstd"
)

// A call with one small blob costs mostly the call, and one with a large blob mostly the transfer. So many blobs share a
// call to a server of castar, and are compressed together: see rpc_bulk.proto.

// batch is a sequence of blobs that go together in one call.
type batch struct {
	lane    int // the one that fills it
	digests []store.Digest
	sizes   []uint64
	raw     []byte
	frame   []byte
	done    chan struct{} // closed when the batch is acknowledged, or has failed
}

const (
	// batchSize is the length at which a batch is full, in bytes. A packed store compresses groups of this length, so it
	// can keep a batch as it comes.
	batchSize = 2 << 20
	// digestField is the length of a digest in a message.
	digestField = store.DigestSize + 2
)

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// add appends a blob.
func (b *batch) add(d store.Digest, data []byte) {
	b.digests = append(b.digests, d)
	b.sizes = append(b.sizes, uint64(len(data)))
	b.raw = append(b.raw, data...)
}

// capacity is how much a batch may hold.
type capacity struct {
	blobs int
	bytes int
}

// full reports whether the batch should be sent now: it has batchSize or is at its capacity.
func (b *batch) full(c capacity) bool {
	return len(b.digests) >= c.blobs || len(b.raw) >= min(batchSize, c.bytes)
}

// takes reports whether the batch has room for so many more blobs and bytes.
func (b *batch) takes(c capacity, blobs, bytes int) bool {
	return len(b.digests)+blobs <= c.blobs && len(b.raw)+bytes <= c.bytes
}

// merge appends the blobs of another batch to b.
func (b *batch) merge(o *batch) {
	b.digests = append(b.digests, o.digests...)
	b.sizes = append(b.sizes, o.sizes...)
	b.raw = append(b.raw, o.raw...)
}

// without returns a batch of the blobs that drop is not set for.
func (b *batch) without(drop []bool) *batch {
	rest, raw := newBatch(), b.raw
	for i, n := range b.sizes {
		if !drop[i] {
			rest.add(b.digests[i], raw[:n])
		}
		raw = raw[n:]
	}
	return rest
}

// message returns the request that the batch is sent as. It is valid until the batch is cleared.
func (b *batch) message(enc *zstd.Encoder) (m *protos.PutBlobsRequest, err error) {
	if b.frame, err = enc.Append(b.frame[:0], b.raw); err != nil {
		return nil, err
	}
	m = &protos.PutBlobsRequest{Sizes: b.sizes, Contents: &protos.PutBlobsRequest_Plain{Plain: b.raw}}
	if zstd.Worthwhile(len(b.frame), len(b.raw)) {
		m.Contents = &protos.PutBlobsRequest_Frame{Frame: b.frame}
	}
	return m, nil
}

// clear empties the batch. It keeps the memory.
func (b *batch) clear() {
	next := newBatch()
	next.digests, next.sizes, next.raw, next.frame = b.digests[:0], b.sizes[:0], b.raw[:0], b.frame[:0]
	*b = *next
}

// bulkTerms asks what the server takes in one call. If it does not say, for whatever reason, blobs are sent one by one,
// and the first of them has the error.
func (c *client) bulkTerms(ctx context.Context) (terms *protos.PutBlobsResponse) {
	_ = c.retry(ctx, func(k *call) (err error) {
		terms, err = c.bulk.Put(k.ctx, new(protos.PutBlobsRequest))
		return err
	})
	return terms
}

// putBatch sends the blobs of a batch that the server lacks.
func (c *client) putBatch(ctx context.Context, b *batch, enc *zstd.Encoder) error {
	has, err := c.hasBlobs(ctx, b.digests)
	if err != nil {
		return fromStatus(err, b.digests[0])
	}
	if slices.Contains(has, true) {
		b = b.without(has)
	}
	if len(b.digests) == 0 {
		return nil
	}
	message, err := b.message(enc)
	if err != nil {
		return err
	}
	return c.putBlobs(ctx, b.digests, message)
}

// hasBlobs asks which blobs the server has.
func (c *client) hasBlobs(ctx context.Context, digests []store.Digest) ([]bool, error) {
	has, instance, err := c.askFor(ctx, digests)
	if err != nil {
		return nil, err
	}
	var claimed []store.Digest
	for i, d := range digests {
		if has[i] {
			claimed = append(claimed, d)
			c.known.add(d, true)
		} else {
			c.lacking.add(d, true)
		}
	}
	if len(claimed) > 0 {
		_ = c.ledger.claim(instance, claimed...) // see hasBlob
	}
	return has, nil
}

// askFor asks which blobs the server has, and returns the instance that answers.
func (c *client) askFor(ctx context.Context, digests []store.Digest) (has []bool, instance string, err error) {
	err = c.retry(ctx, func(k *call) error {
		var headers metadata.MD
		resp, err := c.bulk.Has(k.ctx, &protos.HasBlobsRequest{Digests: wire.Digests(digests)}, grpc.Header(&headers))
		if has, instance = resp.GetHas(), instanceOf(headers); err == nil && len(has) != len(digests) {
			return &store.CorruptError{Where: "the server", Err: fmt.Errorf("%d answers for %d blobs", len(has), len(digests))}
		}
		return err
	})
	return has, instance, err
}

// hasAll asks the server whether it has all blobs, and returns its instance. It reports false if it cannot tell.
func (c *client) hasAll(ds []store.Digest) (instance string, all bool) {
	for first := true; first || len(ds) > 0; first = false { // none are a question, too
		part := ds[:min(len(ds), questionSize)]
		ds = ds[len(part):]
		has, now, err := c.askFor(c.outbox.ctx, part)
		if err != nil || slices.Contains(has, false) || !first && instance != now {
			return now, false
		}
		instance = now
	}
	return instance, true
}

// putBlobs sends blobs, which are in message, in one call.
func (c *client) putBlobs(ctx context.Context, ds []store.Digest, message *protos.PutBlobsRequest) error {
	err := c.retry(ctx, func(k *call) error {
		var headers metadata.MD
		resp, err := c.bulk.Put(k.ctx, message, grpc.Header(&headers))
		if err != nil {
			return err
		}
		digests := resp.GetDigests()
		if len(digests) != len(ds) {
			return corrupt(ds[0], fmt.Errorf("%d answers for %d blobs", len(digests), len(ds)))
		}
		for i := range digests {
			if err := checked(digests[i], headers, ds[i], c.acked(ds[i])); err != nil {
				return err
			}
		}
		return nil
	})
	return fromStatus(err, ds[0])
}

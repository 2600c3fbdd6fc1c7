package rpc

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
	"castar/store/zstd"
)

// A call with one small blob costs mostly the call, and one with a large blob mostly the transfer. So many blobs share a
// call to a server of castar, and are compressed together: see rpc_bulk.proto.

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
	for i, d := range b.digests {
		if has[i] {
			c.known.add(d, true)
		}
	}
	if slices.Contains(has, true) {
		b = b.without(has)
	}
	if len(b.digests) == 0 {
		return nil
	}
	return c.putBlobs(ctx, b, enc)
}

// hasBlobs asks which blobs the server has.
func (c *client) hasBlobs(ctx context.Context, digests []store.Digest) (has []bool, err error) {
	req := new(protos.HasBlobsRequest)
	for i := range digests {
		req.Digests = append(req.Digests, digests[i][:])
	}
	err = c.retry(ctx, func(k *call) error {
		var headers metadata.MD
		resp, err := c.bulk.Has(k.ctx, req, grpc.Header(&headers))
		if err != nil {
			return err
		}
		if has = resp.GetHas(); len(has) != len(digests) {
			err := fmt.Errorf("%d answers for %d blobs", len(has), len(digests))
			return &store.CorruptError{Digest: digests[0], Where: "the server", Err: err}
		}
		if slices.Contains(has, true) {
			_ = c.ledger.claim(instanceOf(headers)) // see blobs.Has
		}
		return nil
	})
	return has, err
}

// putBlobs sends a batch in one call.
func (c *client) putBlobs(ctx context.Context, b *batch, enc *zstd.Encoder) error {
	message, err := b.message(enc)
	if err != nil {
		return err
	}
	err = c.retry(ctx, func(k *call) error {
		var headers metadata.MD
		resp := new(protos.PutBlobsResponse)
		err := c.conn.Invoke(k.ctx, protos.BulkService_Put_FullMethodName, message, resp,
			grpc.StaticMethod(), grpc.ForceCodecV2(wire.Codec{Pool: mem.DefaultBufferPool()}), grpc.Header(&headers))
		if err != nil {
			return err
		}
		digests := resp.GetDigests()
		if len(digests) != len(b.digests) {
			err := fmt.Errorf("%d answers for %d blobs", len(digests), len(b.digests))
			return &store.CorruptError{Digest: b.digests[0], Where: "the server", Err: err}
		}
		for i := range digests {
			if err := c.acked(digests[i], headers, b.digests[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return fromStatus(err, b.digests[0])
}

package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"castar/protos"
	"castar/store"
	"castar/store/zstd"
)

// Most of the time of a call for one small blob goes into the call, and most of that of a large one into moving it. On a
// server of castar's many blobs share a call, and are compressed: see rpc_bulk.proto.

// bulkRoom returns how many bytes of blobs the server takes in one call, or 0 where it does not say, for whatever reason:
// then blobs are sent one by one, and that has the error.
func (c *client) bulkRoom(ctx context.Context) (room int) {
	_ = c.retry(ctx, func(k *call) error {
		resp, err := c.bulk.Put(k.ctx, new(protos.PutBlobsRequest))
		room = int(min(resp.GetMostBytes(), batchSize+inlineSize))
		return err
	})
	return room
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
			grpc.StaticMethod(), grpc.ForceCodecV2(codec{mem.DefaultBufferPool()}), grpc.Header(&headers))
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

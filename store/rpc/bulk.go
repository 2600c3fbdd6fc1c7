package rpc

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"

	"castar/protos"
	"castar/store"
)

// Most of the time of a call for one small blob goes into the call. On a server of castar's many blobs share one:
// see rpc_bulk.proto.

// hasBulk reports whether the server takes many blobs in one call. Where it does not say so, for whatever reason, blobs
// are sent one by one, and that has the error.
func (c *client) hasBulk(ctx context.Context) bool {
	return c.retry(ctx, func(k *call) error {
		_, err := c.bulk.Put(k.ctx, new(protos.PutBlobsRequest))
		return err
	}) == nil
}

// putBlobs sends a batch in one call.
func (c *client) putBlobs(ctx context.Context, b *batch) error {
	err := c.retry(ctx, func(k *call) error {
		var headers metadata.MD
		resp := new(protos.PutBlobsResponse)
		err := c.conn.Invoke(k.ctx, protos.BulkService_Put_FullMethodName, encoded(b.message), resp,
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

// bulkServer implements BulkService over a store.
type bulkServer struct {
	protos.UnimplementedBulkServiceServer
	s *Server
}

// Put stores blobs, those of one call next to each other.
func (b *bulkServer) Put(ctx context.Context, req *protos.PutBlobsRequest) (*protos.PutBlobsResponse, error) {
	if err := b.s.mayPut(ctx); err != nil {
		return nil, err
	}
	resp := &protos.PutBlobsResponse{Digests: make([][]byte, 0, len(req.GetBlobs()))}
	for _, data := range req.GetBlobs() {
		d, err := b.s.st.Blobs.Put(ctx, data)
		if err != nil {
			return nil, err
		}
		b.s.metrics.received.Add(uint64(len(data)))
		resp.Digests = append(resp.Digests, d[:])
	}
	if len(resp.Digests) > 0 {
		b.s.syncLater()
	}
	return resp, nil
}

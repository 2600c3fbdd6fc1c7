package server

import (
	"cmp"
	"context"
	"io"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// blobServer implements BlobService over a store.
type blobServer struct {
	protos.UnimplementedBlobServiceServer
	s *Server
}

// requested returns the digest that a client sent.
func requested(b []byte) (store.Digest, error) {
	d, err := store.DigestFromBytes(b)
	if err != nil {
		err = invalidf("%v", err)
	}
	return d, err
}

// Stat answers what a blob is made of, as far as the client asks.
func (b *blobServer) Stat(ctx context.Context, req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
	d, err := requested(req.GetDigest())
	if err == nil {
		err = b.s.identify(ctx)
	}
	if err != nil {
		return nil, err
	}
	blobs, resp := storeOf(ctx).Blobs, new(protos.StatBlobResponse)
	if req.GetSendChunks() {
		if err := callOf(ctx).take(makers, 1); err != nil {
			return nil, err
		}
		chunks, err := blobs.Chunks(ctx, d)
		if err != nil {
			return nil, about("blob", d, err)
		}
		for _, c := range chunks {
			resp.Chunks = append(resp.Chunks, &protos.StatBlobResponse_ChunkMeta{Digest: c.Digest[:], Size: c.Size})
		}
	} else if has, err := blobs.Has(ctx, d); err != nil || !has {
		return nil, about("blob", d, cmp.Or(err, store.ErrNotFound))
	}
	if req.GetSendBao() {
		if err := callOf(ctx).take(provers, 1); err != nil {
			return nil, err
		}
		blob, err := blobs.Open(ctx, d)
		if err == nil {
			defer blob.Close()
			resp.Bao, err = wire.Prove(blob, d)
		}
		if err != nil {
			return nil, about("blob", d, err)
		}
	}
	return resp, nil
}

// Read sends a blob as the store yields it. The store may find damage after the first bytes are sent, so clients check
// what they get.
func (b *blobServer) Read(req *protos.ReadBlobRequest, stream grpc.ServerStreamingServer[protos.BlobChunk]) error {
	d, err := requested(req.GetDigest())
	if err != nil {
		return err
	}
	blob, err := storeOf(stream.Context()).Blobs.Open(stream.Context(), d)
	if err != nil {
		return about("blob", d, err)
	}
	defer blob.Close()
	_, err = blob.WriteTo(frameWriter{b.s, stream})
	return about("blob", d, err)
}

// frameWriter sends what is written, in messages short enough for all receivers.
type frameWriter struct {
	s      *Server
	stream grpc.ServerStreamingServer[protos.BlobChunk]
}

func (w frameWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		frame := p[:min(len(p), wire.FrameSize)]
		if err := w.stream.Send(&protos.BlobChunk{Data: frame}); err != nil {
			return n, err
		}
		w.s.metrics.sent.Add(uint64(len(frame)))
		n += len(frame)
		p = p[len(frame):]
	}
	return n, nil
}

// Put stores a blob. A short one in a single message is stored without a copy.
func (b *blobServer) Put(stream grpc.ClientStreamingServer[protos.BlobChunk, protos.PutBlobResponse]) error {
	if err := b.s.mayPut(stream.Context()); err != nil {
		return err
	}
	d, err := b.put(stream)
	if err != nil {
		return err
	}
	callOf(stream.Context()).at.syncer.later()
	return stream.SendAndClose(&protos.PutBlobResponse{Digest: d[:]})
}

func (b *blobServer) put(stream grpc.ClientStreamingServer[protos.BlobChunk, protos.PutBlobResponse]) (d store.Digest, err error) {
	ctx, blobs := stream.Context(), storeOf(stream.Context()).Blobs
	first, err := b.recv(stream)
	if err != nil && err != io.EOF {
		return d, err
	}
	next, long := first, callOf(ctx).message != nil
	if !long { // a long message is gone when the next one comes
		if next, err = b.recv(stream); err == io.EOF {
			return blobs.Put(ctx, first)
		}
		if err != nil {
			return d, err
		}
	}
	if err := callOf(ctx).write(); err != nil {
		return d, err
	}
	w, err := blobs.Create(ctx)
	if err != nil {
		return d, err
	}
	defer w.Close()
	if !long {
		if _, err := w.Write(first); err != nil {
			return d, err
		}
	}
	for first = nil; err == nil; next, err = b.recv(stream) {
		if _, err := w.Write(next); err != nil {
			return d, err
		}
	}
	if err != io.EOF {
		return d, err
	}
	return w.Commit()
}

func (b *blobServer) recv(stream grpc.ClientStreamingServer[protos.BlobChunk, protos.PutBlobResponse]) ([]byte, error) {
	m, err := stream.Recv()
	b.s.metrics.received.Add(uint64(len(m.GetData())))
	return m.GetData(), err
}

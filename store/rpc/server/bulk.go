package server

import (
	"context"
	"errors"
	"io"
	"math"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
	"castar/store/zstd"
)

// bulkServer implements BulkService over a store.
type bulkServer struct {
	protos.UnimplementedBulkServiceServer
	s       *Server
	decoder *zstd.Decoder
	buffers *wire.Buffers
}

// Has answers which blobs the store has.
func (b *bulkServer) Has(ctx context.Context, req *protos.HasBlobsRequest) (*protos.HasBlobsResponse, error) {
	if err := b.s.identify(ctx); err != nil {
		return nil, err
	}
	if err := countBlobs(len(req.GetDigests())); err != nil {
		return nil, err
	}
	ds, err := wire.ParseDigests(req.GetDigests())
	if err != nil {
		return nil, invalidf("%v", err)
	}
	has := make([]bool, len(ds))
	if remote := storeOf(ctx).RemoteBlobs; remote != nil {
		has, err = remote.HasAll(ctx, ds)
	} else {
		err = b.each(ctx, len(ds), func(ctx context.Context, i int) (err error) {
			has[i], err = storeOf(ctx).Blobs.Has(ctx, ds[i])
			return err
		})
	}
	if err != nil {
		return nil, err
	}
	return &protos.HasBlobsResponse{Has: has}, nil
}

// each calls f for each number below n, until one call fails. Several run at once unless the store keeps blobs in groups:
// another store keeps each blob by itself, perhaps far away.
func (b *bulkServer) each(ctx context.Context, n int, f func(ctx context.Context, i int) error) (err error) {
	if storeOf(ctx).Groups != nil {
		for i := 0; i < n && err == nil; i++ { // without a goroutine for each, whose stack would have to grow
			if err = ctx.Err(); err == nil {
				err = f(ctx, i)
			}
		}
		return err
	}
	calls, callsCtx := errgroup.WithContext(ctx)
	calls.SetLimit(atOnce)
	for i := 0; i < n && callsCtx.Err() == nil; i++ {
		calls.Go(func() error { return f(callsCtx, i) })
	}
	if err := calls.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

// atOnce is how many blobs of one call the server looks up, or puts, at a time.
const atOnce = 16

// Put stores blobs. The store keeps those of one call together, if it has groups. A call without blobs asks for the terms.
func (b *bulkServer) Put(ctx context.Context, req *protos.PutBlobsRequest) (*protos.PutBlobsResponse, error) {
	if err := b.s.mayPut(ctx); err != nil {
		return nil, err
	}
	if len(req.GetSizes()) == 0 {
		terms := &protos.PutBlobsResponse{MostBytes: uint64(b.room())}
		if storeOf(ctx).Joins != nil {
			terms.ChunkSize = uint64(storeOf(ctx).Joins.ChunkSize())
		}
		return terms, nil
	}
	digests, err := b.put(ctx, req)
	if err != nil {
		return nil, err
	}
	callOf(ctx).at.syncer.later()
	return &protos.PutBlobsResponse{Digests: wire.Digests(digests)}, nil
}

func (b *bulkServer) put(ctx context.Context, req *protos.PutBlobsRequest) ([]store.Digest, error) {
	sizes, total, err := b.sizes(req.GetSizes())
	if err != nil {
		return nil, err
	}
	raw, frame := req.GetPlain(), req.GetFrame()
	if frame != nil {
		if err := callOf(ctx).take(decoded, int64(total)); err != nil {
			return nil, err
		}
		buf := b.buffers.Get(total)
		defer b.buffers.Put(buf)
		raw = *buf
		if err := b.decoder.Decode(raw, frame); err != nil {
			return nil, invalidf("frame: %v", err)
		}
	}
	if len(raw) != total {
		return nil, invalidf("%d bytes of contents, want %d", len(raw), total)
	}
	b.s.metrics.received.Add(uint64(total))
	if storeOf(ctx).Groups != nil && frame != nil && zstd.Single(frame) {
		return storeOf(ctx).Groups.PutGroup(ctx, raw, sizes, frame)
	}
	digests, pieces := make([]store.Digest, len(sizes)), make([][]byte, len(sizes))
	for i, n := range sizes {
		pieces[i], raw = raw[:n], raw[n:]
	}
	err = b.each(ctx, len(pieces), func(ctx context.Context, i int) (err error) {
		digests[i], err = storeOf(ctx).Blobs.Put(ctx, pieces[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	return digests, nil
}

// countBlobs refuses a request with too many blobs. Empty ones cost the client almost nothing, and the server minutes and
// a hundred times the memory of the request.
func countBlobs(n int) error {
	if n > wire.MostBlobs {
		return invalidf("%d blobs in one request, want at most %d", n, wire.MostBlobs)
	}
	return nil
}

// room returns how many bytes of blobs one call may carry: what a message has room for besides their lengths.
func (b *bulkServer) room() int { return max(b.s.o.MaxMessage-wire.LengthsSize, 0) }

// sizes checks the lengths of blobs.
func (b *bulkServer) sizes(list []uint64) (sizes []int, total int, err error) {
	if err := countBlobs(len(list)); err != nil {
		return nil, 0, err
	}
	sizes = make([]int, len(list))
	for i, n := range list {
		if n > uint64(b.room()-total) {
			return nil, 0, invalidf("more than %d bytes of blobs in one request", b.room())
		}
		sizes[i] = int(n)
		total += sizes[i]
	}
	return sizes, total, nil
}

// Get returns the group of a blob as the store has it. It returns none if the group is damaged: then the client reads
// blobs one by one, and gets those that are whole.
func (b *bulkServer) Get(ctx context.Context, req *protos.GetBlobsRequest) (*protos.GetBlobsResponse, error) {
	d, err := requested(req.GetDigest())
	if err != nil {
		return nil, err
	}
	if storeOf(ctx).Groups == nil {
		return nil, store.ErrUnsupported
	}
	return b.group(ctx, d)
}

// group returns the group of a blob as Get does.
func (b *bulkServer) group(ctx context.Context, d store.Digest) (*protos.GetBlobsResponse, error) {
	if err := callOf(ctx).take(makers, 1); err != nil {
		return nil, err
	}
	resp := new(protos.GetBlobsResponse)
	g, err := storeOf(ctx).Groups.Group(ctx, d)
	if store.IsCorrupt(err) || errors.Is(err, store.ErrUnsupported) {
		return resp, nil
	}
	if err != nil {
		return nil, about("blob", d, err)
	}
	resp.Digests, resp.Sizes = wire.Chunks(g.Members)
	total := uint64(0)
	for _, n := range resp.Sizes {
		total += n
	}
	if g.Frame != nil {
		resp.Contents = &protos.GetBlobsResponse_Frame{Frame: g.Frame}
	} else {
		resp.Contents = &protos.GetBlobsResponse_Plain{Plain: g.Plain}
	}
	b.s.metrics.sent.Add(total)
	return resp, nil
}

const (
	// mostChunks is how many chunks a joined blob may have: 2 TiB in chunks of 256 KiB, and a list of 320 MB.
	mostChunks = 8 << 20
	// manyChunks is the length from which a list takes most of the memory for decoded blobs, so that only one such list is
	// received at a time. It stands for 16 GiB, and 2.5 MB of memory.
	manyChunks = 64 << 10
)

// joinStream is a call of Join.
type joinStream = grpc.ClientStreamingServer[protos.JoinBlobRequest, protos.JoinBlobResponse]

// Join stores a blob by its chunks.
func (b *bulkServer) Join(stream joinStream) error {
	if err := b.s.mayPut(stream.Context()); err != nil {
		return err
	}
	if storeOf(stream.Context()).Joins == nil {
		return store.ErrUnsupported
	}
	d, chunks, err := recvChunks(stream, mostChunks)
	if err == nil {
		err = storeOf(stream.Context()).Joins.Join(stream.Context(), d, chunks)
	}
	if err != nil {
		if errors.Is(err, store.ErrDigestMismatch) {
			err = invalidf("%s: %v", d, store.ErrDigestMismatch) // the request is wrong, and nothing is damaged
		}
		return err
	}
	callOf(stream.Context()).at.syncer.later()
	return stream.SendAndClose(&protos.JoinBlobResponse{Digest: d[:]})
}

// recvChunks returns the digest and the chunks of a blob to be joined. It refuses more than most chunks.
func recvChunks(stream joinStream, most int) (d store.Digest, chunks []store.Chunk, err error) {
	for first := true; ; first = false {
		req, err := stream.Recv()
		if err == io.EOF && !first {
			return d, chunks, nil
		}
		if err == io.EOF {
			err = invalidf("no blob")
		}
		if err == nil && first {
			d, err = requested(req.GetDigest())
		}
		before, after := len(chunks), len(chunks)+len(req.GetChunks())
		if err == nil && after > most {
			err = invalidf("more than %d chunks", most)
		}
		if err == nil && before <= manyChunks && after > manyChunks {
			err = callOf(stream.Context()).take(decoded, math.MaxInt64)
		}
		if err != nil {
			return d, nil, err
		}
		more, err := wire.ParseChunks(req.GetChunks(), req.GetSizes())
		if err != nil {
			return d, nil, invalidf("%v", err)
		}
		chunks = append(chunks, more...)
	}
}

package rpc

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/wire"
)

// Open reads a blob of one chunk with its group, where the server has those and many blobs are read; see groups. Another of
// up to inlineSize is read at once. A longer one is read
//
//   - in chunks, where the server has a list of them, each checked against its digest; the blob's own digest is checked
//     when it is read from beginning to end. A proof for what is read out of this order is asked for; without one, all
//     of it is read before.
//   - from one stream, checked against a proof, where the server has that;
//   - into a temporary file that has no name, and checked there, otherwise.
func (b blobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	c := b.c
	if err := c.flight.landed(ctx, d); err != nil {
		return nil, err
	}
	if data, err := c.groups.read(ctx, d); err != nil {
		return nil, err
	} else if data != nil {
		return store.BytesBlob(data), nil
	}
	var head []byte
	var rest *stream
	err := c.retryStream(ctx, d, func(s *stream) (err error) {
		head, err = s.upTo(inlineSize + 1)
		if err == nil {
			rest = s
		} else if err == io.EOF {
			s.close()
			err = nil
		}
		return err
	})
	if err != nil {
		return nil, fromStatus(err, d)
	}
	if rest == nil {
		if store.Sum(head) != d {
			return nil, corrupt(d, store.ErrDigestMismatch)
		}
		return store.BytesBlob(head), nil
	}
	defer rest.close()
	chunks, err := b.Chunks(ctx, d)
	if err != nil {
		return nil, err
	}
	if len(chunks) > 0 {
		return newChunked(ctx, c, d, chunks, head)
	}
	r := &ranged{c: c, ctx: ctx, digest: d}
	if r.size, r.proof, err = c.proof(ctx, d); err != nil {
		return nil, err
	}
	if r.proof != nil {
		r.src = &streamed{c: c, ctx: ctx, digest: d}
		return r, nil
	}
	return c.spool(d, head, rest)
}

// proof asks for the proof of a blob, and returns it with the length that it claims. It is nil where there is none.
func (c *client) proof(ctx context.Context, d store.Digest) (uint64, []byte, error) {
	resp, err := c.stat(ctx, &protos.StatBlobRequest{Digest: d[:], SendBao: true})
	if err != nil || len(resp.GetBao()) == 0 {
		return 0, nil, err
	}
	size, ok := wire.ProvenSize(resp.GetBao())
	if !ok {
		return 0, nil, corrupt(d, fmt.Errorf("a proof of %d bytes for a blob of %d", len(resp.GetBao()), size))
	}
	return size, resp.GetBao(), nil
}

// stream is a call of BlobService.Read.
type stream struct {
	call *call
	s    grpc.ServerStreamingClient[protos.BlobChunk]
	left []byte // received and not yet read
}

// stream begins to read d. The error may come only with the first bytes.
func (c *client) stream(ctx context.Context, d store.Digest) (*stream, error) {
	s, err := c.blobs.get(ctx)
	if err != nil {
		return nil, err
	}
	k := c.begin(ctx)
	r, err := s.Read(k.ctx, &protos.ReadBlobRequest{Digest: d[:]})
	if err != nil {
		err = k.why(err)
		k.end()
		return nil, err
	}
	return &stream{call: k, s: r}, nil
}

// retryStream calls read with a new stream until that succeeds or fails for good, and closes the stream where it fails.
func (c *client) retryStream(ctx context.Context, d store.Digest, read func(*stream) error) error {
	return again(ctx, func() error {
		s, err := c.stream(ctx, d)
		if err == nil {
			if err = read(s); err != nil {
				s.close()
			}
		}
		return err
	})
}

func (s *stream) close() { s.call.end() }

// recv returns the next bytes, or io.EOF.
func (s *stream) recv() (data []byte, err error) {
	if data, s.left = s.left, nil; len(data) > 0 {
		return data, nil
	}
	err = s.call.wait(func() (err error) {
		for len(data) == 0 && err == nil { // a message without bytes is no answer
			var m *protos.BlobChunk
			m, err = s.s.Recv()
			data = m.GetData()
		}
		return err
	})
	return data, err
}

// upTo reads n bytes. If the stream ends before, the error is io.EOF, and what there was comes with it.
func (s *stream) upTo(n int) (data []byte, err error) {
	for len(data) < n {
		more, err := s.recv()
		if err != nil {
			return data, err
		}
		take := min(len(more), n-len(data))
		s.left = more[take:]
		if data == nil {
			data = more[:take:take] // most blobs come in one piece
		} else {
			data = append(data, more[:take]...)
		}
	}
	return data, nil
}

// skip reads n bytes for nothing.
func (s *stream) skip(n uint64) error {
	for n > 0 {
		data, err := s.recv()
		if err != nil {
			return err
		}
		k := min(uint64(len(data)), n)
		s.left = data[k:]
		n -= k
	}
	return nil
}

// exactly reads the whole of a stream that is as long as that. A stream that is not is corrupt.
func (s *stream) exactly(n uint64, d store.Digest) ([]byte, error) {
	data, err := s.upTo(int(n) + 1)
	if err == nil {
		return nil, corrupt(d, fmt.Errorf("longer than %d bytes", n))
	}
	if err == io.EOF && uint64(len(data)) < n {
		return nil, corrupt(d, fmt.Errorf("ends after %d bytes, want %d", len(data), n))
	}
	if err != io.EOF {
		return nil, err
	}
	return data, nil
}

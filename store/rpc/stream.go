package rpc

import (
	"context"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"castar/protos"
	"castar/store"
)

// stream is a call of BlobService.Read.
type stream struct {
	call *call
	s    grpc.ServerStreamingClient[protos.BlobChunk]
	left []byte // received, but not read
}

// retryStream begins to read the blob d, and calls read with the stream. It does that again while the server is
// unavailable. It closes the stream if read fails.
func (c *client) retryStream(ctx context.Context, d store.Digest, read func(*stream) error) error {
	return c.retryUnavailable(ctx, func() error {
		k := c.begin(ctx)
		s, err := c.blobs.Read(k.ctx, &protos.ReadBlobRequest{Digest: d[:]}) // most errors come with the first bytes
		if err = k.why(err); err == nil {
			err = read(&stream{call: k, s: s})
		}
		if err != nil {
			k.end()
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
		for len(data) == 0 && err == nil { // an empty message does not count as an answer
			var m *protos.BlobChunk
			m, err = s.s.Recv()
			data = m.GetData()
		}
		return err
	})
	return data, err
}

// upTo reads n bytes. If the stream ends early, it returns the bytes that came, and io.EOF.
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

// skip drops n bytes.
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

// exactly reads a whole stream of n bytes. A stream of another length is corrupt.
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

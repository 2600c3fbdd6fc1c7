package server

import (
	"encoding/binary"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"castar/protos"
	"castar/store/rpc/internal/wire"
)

const (
	// pieceSize is how much of a message is read at once, and then counts as sent by the client.
	pieceSize = 256 << 10
	// askedMessage is the length of the longest request that anybody may send.
	askedMessage = 4 << 10
	// uncounted is the length up to which messages of calls without a slot are not counted, in bytes.
	uncounted = 16 << 10
	// leastCounted is the length of the shortest buffer that gRPC gives back.
	leastCounted = 1<<10 + 1
)

// RecvMsg receives the next message. It gives back what the last message took: callers that keep a message keep little.
func (c *call) RecvMsg(m any) error {
	c.recycle()
	c.give(received)
	message, err := c.recv()
	if err != nil {
		return err
	}
	if err := decode(message, m); err != nil {
		return refusef(codes.Internal, "invalid message: %v", err)
	}
	if c.streams {
		return nil
	}
	switch err := c.header(new([5]byte)); err {
	case io.EOF:
		return nil
	case nil:
		return refusef(codes.Internal, "more than one request")
	default:
		return err
	}
}

// header reads the header of the next message.
func (c *call) header(h *[5]byte) error {
	c.wait(c.terms.upload)
	err := c.raw.ReadMessageHeader(h[:])
	c.waited(len(h))
	return fromTransport(err)
}

// recv receives the bytes of the next message.
func (c *call) recv() ([]byte, error) {
	var h [5]byte
	if err := c.header(&h); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(h[1:]))
	switch {
	case h[0] != 0:
		return nil, refusef(codes.Unimplemented, "the server takes no compressed messages")
	case n > int64(c.terms.message):
		return nil, refusef(codes.ResourceExhausted, "a message of %d bytes is longer than the server takes (%d bytes)", n, c.terms.message)
	case n > int64(c.terms.free):
		if err := c.count(n); err != nil {
			return nil, err
		}
	}
	message := c.room(int(n))
	for len(message) < cap(message) {
		piece := min(cap(message)-len(message), pieceSize)
		c.wait(false)
		data, err := c.raw.Read(piece)
		c.waited(piece)
		if err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				err = refusef(codes.Internal, "the message is cut off")
			}
			return nil, fromTransport(err)
		}
		for _, b := range data {
			message = append(message, b.ReadOnlyData()...)
		}
		data.Free()
	}
	return message, nil
}

// count takes what a message of n bytes needs.
func (c *call) count(n int64) error {
	if c.terms.writer {
		if err := c.write(); err != nil {
			return err
		}
	}
	return c.take(received, n*c.terms.factor)
}

// write takes what a writer of the store needs, once.
func (c *call) write() error {
	c.l.mu.Lock()
	has := c.held[writers] > 0
	c.l.mu.Unlock()
	if has {
		return nil
	}
	return c.take(writers, writerCost)
}

// room returns an empty buffer for n bytes.
func (c *call) room(n int) []byte {
	if !c.terms.writer || n <= c.terms.free {
		return make([]byte, 0, n)
	}
	c.message = c.pool.Get(n)
	return (*c.message)[:0:n]
}

// recycle puts the buffer of the last message back.
func (c *call) recycle() {
	if c.message != nil {
		c.pool.Put(c.message)
		c.message = nil
	}
}

// decode decodes a message. v may keep its bytes.
func decode(message []byte, v any) error {
	switch m := v.(type) {
	case *emptypb.Empty: // see wire.RecvDirectory
		m.ProtoReflect().SetUnknown(message)
		return nil
	case *protos.BlobChunk:
		return decodeChunk(message, m)
	case proto.Message:
		return proto.Unmarshal(message, m)
	}
	return errTransport
}

// decodeChunk decodes a BlobChunk, which is mostly one field, without a copy.
func decodeChunk(message []byte, m *protos.BlobChunk) error {
	m.Reset()
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if number == 1 && typ == protowire.BytesType {
			data, k := protowire.ConsumeBytes(message[n:])
			if k < 0 {
				return protowire.ParseError(k)
			}
			m.Data, n = data, n+k
		} else if k := protowire.ConsumeFieldValue(number, typ, message[n:]); k < 0 {
			return protowire.ParseError(k)
		} else {
			n += k // a field of a later version
		}
		message = message[n:]
	}
	return nil
}

// SendMsg sends a message. The message counts until it is on the wire.
func (c *call) SendMsg(v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return errTransport
	}
	n := proto.Size(m)
	buf := &sentBuffer{l: c.l, a: c.a, pool: c.pool}
	var err error
	if buf.n, err = c.l.take(c.Context(), sending, c.a, int64(max(n, leastCounted))); err != nil {
		return err
	}
	to := c.pool.Get(max(n, leastCounted))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*to)[:0], m)
	*to = b
	if err != nil {
		buf.Put(to)
		return err
	}
	c.give(provers)
	c.give(makers)
	c.wait(false)
	err = c.ServerStream.SendMsg(mem.BufferSlice{mem.NewBuffer(to, buf)})
	c.waited(n)
	return fromTransport(err)
}

// sentBuffer is the mem.BufferPool of one buffer, which gRPC puts back when it has sent it.
type sentBuffer struct {
	l    *limits
	a    *account
	n    int64
	pool *wire.Buffers
}

func (b *sentBuffer) Get(n int) *[]byte { return b.pool.Get(n) }

func (b *sentBuffer) Put(buf *[]byte) {
	b.pool.Put(buf)
	b.l.give(sending, b.a, b.n)
}

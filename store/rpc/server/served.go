package server

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"castar/protos"
	"castar/store/rpc/internal/wire"
)

const (
	// pieceSize is how much of a message is read at once, and then counts as sent by the client.
	pieceSize = 256 << 10
	// askedMessage is the length of the longest message that asks for something, of methods that anyone may call.
	askedMessage = 4 << 10
	// anyMessage is how long a message may be, in bytes, without being counted, of calls that have no slot.
	anyMessage = 16 << 10
)

// transportStream is what gRPC reads the messages of a call from, where they can be read piece by piece: so that a message
// is counted before it comes, and a client that stops in the middle of one is noticed.
type transportStream interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	WriteStatus(*status.Status) error
}

// errTransport says that the library has changed, which the tests notice.
var errTransport = errors.New("no access to the messages of a call")

// served is a call that is served: a grpc.ServerStream whose messages are counted. One goroutine uses it at a time.
type served struct {
	grpc.ServerStream
	ctx     context.Context
	l       *limits
	a       *account
	raw     transportStream
	pool    *wire.Buffers
	terms   terms
	streams bool    // the client may send several messages
	message *[]byte // of the pool, which the last message is in, or nil

	// The rest belongs to limits.mu.
	held    [resources]int64
	since   time.Time     // the client has been waited for since then; zero: it is not
	clock   time.Duration // the same on limits.clock
	between bool          // what is waited for is the next directory of an upload
	lag     time.Duration // how long it was silent before, less what it sent meanwhile
	ended   *refused      // why the call was ended early, or nil
}

// terms are what is allowed to the calls of a method.
type terms struct {
	message int   // length of the longest message
	free    int   // length of the longest that is not counted
	factor  int64 // how many bytes are kept for each of a message
	upload  bool  // of directories
	writer  bool  // what is counted goes to a writer of the store, and is kept by nobody
}

// begin makes the call count. The caller calls finish in the end.
func (c *served) begin() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.calls[c] = struct{}{}
	c.l.look(c.l.idle / 8)
}

// finish gives back what the call holds, and returns why it was ended early, or else err.
func (c *served) finish(err error) error {
	c.recycle()
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	delete(c.l.calls, c)
	for r, n := range c.held {
		if n > 0 {
			c.l.hold(resource(r), c.a, -n)
			c.l.grant(resource(r))
		}
	}
	c.held = [resources]int64{}
	if c.ended != nil {
		return c.ended
	}
	return err
}

// take waits for n of a resource, which the call holds until it gives it back or ends.
func (c *served) take(r resource, n int64) error {
	n, err := c.l.take(c.Context(), r, c.a, n)
	if err != nil {
		return err
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.held[r] += n
	return nil
}

// give gives back what the call holds of a resource.
func (c *served) give(r resource) {
	c.l.mu.Lock()
	n := c.held[r]
	c.held[r] = 0
	c.l.mu.Unlock()
	c.l.give(r, c.a, n)
}

// wait notes that the client is waited for.
func (c *served) wait(between bool) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.since, c.clock, c.between = time.Now(), c.l.clock, between
}

// waited notes that the client sent or took n bytes.
func (c *served) waited(n int) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !c.between {
		spare := time.Duration(n) * time.Second / leastRate
		c.lag = max(0, c.lag+c.l.clock-c.clock-spare)
	}
	c.since, c.between = time.Time{}, false
}

// lags returns how long the client has been silent, or slow. The caller holds limits.mu.
func (c *served) lags() time.Duration {
	if c.since.IsZero() || c.between {
		return 0
	}
	return c.lag + c.l.clock - c.clock
}

// end ends the call early: its client is told why, and whoever waits for the client gets an error. The caller holds
// limits.mu.
func (c *served) end(code codes.Code, text string) {
	if c.ended == nil {
		c.ended = &refused{code, text}
		go c.raw.WriteStatus(c.ended.GRPCStatus()) // may wait for the lock of a call that waits for limits.mu
	}
}

// RecvMsg receives the next message. What the one before it took is given back: whoever keeps that, keeps little.
func (c *served) RecvMsg(m any) error {
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
func (c *served) header(h *[5]byte) error {
	c.wait(c.terms.upload)
	err := c.raw.ReadMessageHeader(h[:])
	c.waited(len(h))
	if err == nil || err == io.EOF {
		return err
	}
	return fromTransport(err)
}

// recv receives the bytes of the next message.
func (c *served) recv() ([]byte, error) {
	var h [5]byte
	if err := c.header(&h); err != nil {
		return nil, err
	}
	n := int64(binary.BigEndian.Uint32(h[1:]))
	switch {
	case h[0] != 0:
		return nil, refusef(codes.Unimplemented, "the server takes no compressed messages")
	case n > int64(c.terms.message):
		return nil, refusef(codes.ResourceExhausted, "a message of %d bytes is longer than the server takes, which is %d", n, c.terms.message)
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
func (c *served) count(n int64) error {
	if c.terms.writer {
		if err := c.write(); err != nil {
			return err
		}
	}
	return c.take(received, n*c.terms.factor)
}

// write takes what a writer of the store needs, once.
func (c *served) write() error {
	c.l.mu.Lock()
	has := c.held[writers] > 0
	c.l.mu.Unlock()
	if has {
		return nil
	}
	return c.take(writers, writerCost)
}

// room returns an empty buffer for n bytes.
func (c *served) room(n int) []byte {
	if !c.terms.writer || n <= c.terms.free {
		return make([]byte, 0, n)
	}
	c.message = c.pool.Get(n)
	return (*c.message)[:0:n]
}

// recycle takes back the buffer of the last message.
func (c *served) recycle() {
	if c.message != nil {
		c.pool.Put(c.message)
		c.message = nil
	}
}

// decode decodes a message, whose bytes may become part of v.
func decode(message []byte, v any) error {
	switch m := v.(type) {
	case *emptypb.Empty: // of which all is unknown
		m.ProtoReflect().SetUnknown(message)
		return nil
	case *protos.BlobChunk:
		return decodeChunk(message, m)
	case proto.Message:
		return proto.Unmarshal(message, m)
	}
	return errTransport
}

// decodeChunk decodes the one message that is mostly one field, without a copy.
func decodeChunk(message []byte, m *protos.BlobChunk) error {
	m.Reset()
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if number == 1 && kind == protowire.BytesType {
			data, k := protowire.ConsumeBytes(message[n:])
			if k < 0 {
				return protowire.ParseError(k)
			}
			m.Data, n = data, n+k
		} else if k := protowire.ConsumeFieldValue(number, kind, message[n:]); k < 0 {
			return protowire.ParseError(k)
		} else {
			n += k // of a later version
		}
		message = message[n:]
	}
	return nil
}

// SendMsg sends a message. It counts until it is on the wire.
func (c *served) SendMsg(v any) error {
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

// leastCounted is the length of the shortest buffer that gRPC gives back.
const leastCounted = 1<<10 + 1

// sentBuffer is a mem.BufferPool that one buffer is given back to, when it has been sent.
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

// servedKey is the key of the call in its context.
type servedKey struct{}

// Context returns a context by which taking finds the call.
func (c *served) Context() context.Context { return c.ctx }

// passing reports whether the last message of the call that ctx belongs to is only there until the next is received.
func passing(ctx context.Context) bool {
	c, ok := ctx.Value(servedKey{}).(*served)
	return ok && c.message != nil
}

// writing waits until the call that ctx belongs to may write a blob.
func writing(ctx context.Context) error {
	if c, ok := ctx.Value(servedKey{}).(*served); ok {
		return c.write()
	}
	return nil
}

// taking waits until the call that ctx belongs to has n of a resource. Makers and provers are given back when the answer
// is sent, all others when the call ends.
func taking(ctx context.Context, r resource, n int64) error {
	if c, ok := ctx.Value(servedKey{}).(*served); ok {
		return c.take(r, n)
	}
	return nil
}

package server

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"

	"castar/store"
	"castar/store/rpc/internal/wire"
)

// transportStream is the stream below a grpc.ServerStream. It yields a message piece by piece, so a message is counted
// before it comes, and a client that stops in the middle of one is noticed.
type transportStream interface {
	ReadMessageHeader(header []byte) error
	Read(n int) (mem.BufferSlice, error)
	WriteStatus(*status.Status) error
}

// errTransport says that gRPC has changed and no longer gives access to messages. The tests notice that.
var errTransport = errors.New("no access to the messages of a call")

// call is a call being served: a grpc.ServerStream that counts messages. One goroutine uses it at a time.
type call struct {
	grpc.ServerStream
	at      *opened // the store that the call uses
	ctx     context.Context
	l       *limits
	a       *account
	raw     transportStream
	pool    *wire.Buffers
	terms   terms
	rights  Rights
	streams bool    // the client may send several messages
	resends bool    // the client sends an upload again if it breaks
	message *[]byte // the buffer of the last message, from the pool, or nil

	// The rest belongs to limits.mu.
	held    [resources]int64
	since   time.Time     // since when the server waits for the client; zero: it does not
	clock   time.Duration // the same on limits.clock
	between bool          // the server waits for the next directory of an upload
	lag     time.Duration // how long the client was silent before, less the time that its bytes are worth
	ended   *refused      // why the call was ended early, or nil
}

// terms are what the calls of a method may do.
type terms struct {
	message int      // length of the longest message
	free    int      // length of the longest message that is not counted
	factor  int64    // how many bytes are counted for each byte of a message
	upload  bool     // the messages are directories of an upload
	slot    resource // what the call takes one of to be served; resources: nothing
	writer  bool     // the messages go to a writer of the store, and nobody keeps them
	uses    bool     // the call uses the store all the time; others lock it, or do without
}

// begin makes the call count. The caller calls finish in the end.
func (c *call) begin() {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.l.calls[c] = struct{}{}
	c.a.worked = time.Now()
	c.l.look(c.l.idle / 8)
}

// finish gives back what the call holds. It returns why the call was ended early, or else err.
func (c *call) finish(err error) error {
	c.recycle()
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	delete(c.l.calls, c)
	for r, n := range c.held {
		if n > 0 {
			c.l.release(resource(r), c.a, n)
			c.l.grant(resource(r))
		}
	}
	c.held = [resources]int64{}
	c.a.known, c.a.prompt = true, c.ended == nil
	if c.ended != nil {
		return c.ended
	}
	return err
}

// take waits for n of a resource. The call holds it until give or finish. Makers and provers are given back when the
// answer is sent.
func (c *call) take(r resource, n int64) error {
	n, err := c.l.take(c.Context(), r, c.a, n)
	if err != nil {
		return err
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.held[r] += n
	return nil
}

// give gives back all that the call holds of a resource.
func (c *call) give(r resource) {
	c.l.mu.Lock()
	n := c.held[r]
	c.held[r] = 0
	c.l.mu.Unlock()
	c.l.give(r, c.a, n)
}

// wait notes that the server waits for the client.
func (c *call) wait(between bool) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	c.since, c.clock, c.between = time.Now(), c.l.clock, between
	c.l.endResent(c)
}

// waited notes that the client sent or took n bytes.
func (c *call) waited(n int) {
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !c.between {
		worth := time.Duration(n) * time.Second / leastRate
		c.lag = max(0, c.lag+c.l.clock-c.clock-worth)
	}
	c.since, c.between = time.Time{}, false
	c.a.worked = time.Now()
}

// lags returns how long the client has been silent or slow. The caller holds limits.mu.
func (c *call) lags() time.Duration {
	switch {
	case c.since.IsZero():
		return 0
	case c.between:
		return c.quiet(time.Now()) - uploadGrace
	}
	return c.lag + c.l.clock - c.clock
}

// quiet returns how long the server has waited for the client. Between two directories of an upload, other calls of the
// client count too, but not the pings of its connection. The caller holds limits.mu.
func (c *call) quiet(now time.Time) time.Duration {
	since := c.since
	if c.between && c.a.worked.After(since) {
		since = c.a.worked
	}
	return now.Sub(since)
}

// end ends the call early. The client is told why, and whatever waits for the client gets an error. The caller holds
// limits.mu.
func (c *call) end(code codes.Code, text string) {
	if c.ended == nil {
		c.ended = &refused{code, text}
		c.a.prompt = false
		go c.raw.WriteStatus(c.ended.GRPCStatus()) // may need the lock of a call that waits for limits.mu
	}
}

// callKey is the key of the call in its context.
type callKey struct{}

// Context returns a context by which callOf finds the call.
func (c *call) Context() context.Context { return c.ctx }

// callOf returns the call whose context ctx is, or comes from.
func callOf(ctx context.Context) *call { return ctx.Value(callKey{}).(*call) }

// storeOf returns the store that the call uses.
func storeOf(ctx context.Context) *store.Store { return callOf(ctx).at.st }

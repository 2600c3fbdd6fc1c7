// Package traffic counts the traffic with remote stores, and limits its rate.
package traffic

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Meter counts the traffic of any number of connections, and shares one bound among them. A nil Meter does neither. All
// methods may be called concurrently.
type Meter struct {
	requests, sent, received atomic.Int64
	up, down                 *rate.Limiter // nil: no bound
}

// Totals is what a Meter has counted.
type Totals struct {
	Requests       int64 // HTTP requests and gRPC calls, repeated ones included
	Sent, Received int64 // bytes of connections, with headers and encryption
}

// New returns a Meter that bounds what is sent and received, in bytes a second. 0 means no bound.
func New(upload, download int64) *Meter { return &Meter{up: limiter(upload), down: limiter(download)} }

// least is the number of bytes that pass a bound at once, however low it is.
const least = 4 << 10

func limiter(bound int64) *rate.Limiter {
	if bound <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bound), int(max(least, min(bound/20, 1<<20)))) // a twentieth of a second's bytes
}

// Totals returns what m has counted so far.
func (m *Meter) Totals() Totals {
	if m == nil {
		return Totals{}
	}
	return Totals{m.requests.Load(), m.sent.Load(), m.received.Load()}
}

// Limited reports whether m bounds anything, so that calls may take long.
func (m *Meter) Limited() bool { return m != nil && (m.up != nil || m.down != nil) }

// Dial is the signature of net.Dialer.DialContext.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Dialer returns dial with connections that m counts and bounds. A connection that waits for its peer longer than stall
// fails; 0 means that it never does.
func (m *Meter) Dialer(dial Dial, stall time.Duration) Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return m.conn(c, stall), nil
	}
}

func (m *Meter) conn(c net.Conn, stall time.Duration) net.Conn {
	if m == nil && stall == 0 {
		return c
	}
	if m == nil {
		m = &Meter{}
	}
	open, cancel := context.WithCancel(context.Background())
	return &conn{Conn: c, m: m, stall: stall, open: open, cancel: cancel}
}

// conn is a connection that is counted. Its deadlines are its own, if it has a stall.
type conn struct {
	net.Conn
	m      *Meter
	stall  time.Duration
	open   context.Context // ends with Close
	cancel context.CancelFunc
}

func (c *conn) Read(p []byte) (int, error) {
	c.begin()
	n, err := c.Conn.Read(c.piece(p, c.m.down))
	c.m.received.Add(int64(n))
	c.wait(c.m.down, n)
	return n, err
}

func (c *conn) Write(p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		piece := c.piece(p[n:], c.m.up)
		c.wait(c.m.up, len(piece))
		c.begin()
		var written int
		written, err = c.Conn.Write(piece)
		n += written
		c.m.sent.Add(int64(written))
	}
	return n, err
}

func (c *conn) Close() error {
	c.cancel()
	return c.Conn.Close()
}

// begin sets the time at which an operation that begins now fails.
func (c *conn) begin() {
	if c.stall > 0 {
		c.Conn.SetDeadline(time.Now().Add(c.stall)) // an error comes again with the operation
	}
}

// piece returns the part of p that may pass at once.
func (c *conn) piece(p []byte, l *rate.Limiter) []byte {
	if l == nil {
		return p
	}
	return p[:min(len(p), l.Burst())]
}

// wait waits until n bytes may pass, or the connection is closed.
func (c *conn) wait(l *rate.Limiter, n int) {
	if l != nil && n > 0 {
		l.WaitN(c.open, n) // an error means that it is closed, which the operation finds out
	}
}

// Call counts a request of a client whose connections are out of reach, with the bytes of its data, and waits as long as the
// bounds ask.
func (m *Meter) Call(ctx context.Context, sent, received int64) error {
	if m == nil {
		return nil
	}
	m.requests.Add(1)
	m.sent.Add(sent)
	m.received.Add(received)
	for l, n := range map[*rate.Limiter]int64{m.up: sent, m.down: received} {
		for l != nil && n > 0 {
			piece := min(n, int64(l.Burst()))
			if err := l.WaitN(ctx, int(piece)); err != nil {
				return err
			}
			n -= piece
		}
	}
	return nil
}

// Transport returns t with requests that m counts.
func (m *Meter) Transport(t http.RoundTripper) http.RoundTripper {
	if m == nil {
		return t
	}
	return transport{t, m}
}

type transport struct {
	http.RoundTripper
	m *Meter
}

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.m.requests.Add(1)
	return t.RoundTripper.RoundTrip(r)
}

// CloseIdleConnections is for http.Client.
func (t transport) CloseIdleConnections() {
	(&http.Client{Transport: t.RoundTripper}).CloseIdleConnections()
}

// DialOptions returns the options of a gRPC connection that m counts and bounds, with these credentials.
func (m *Meter) DialOptions(c credentials.TransportCredentials) []grpc.DialOption {
	if m == nil {
		return []grpc.DialOption{grpc.WithTransportCredentials(c)}
	}
	return []grpc.DialOption{
		grpc.WithTransportCredentials(handshake{c, m}),
		grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, request, reply any, cc *grpc.ClientConn,
			call grpc.UnaryInvoker, o ...grpc.CallOption) error {
			m.requests.Add(1)
			return call(ctx, method, request, reply, cc, o...)
		}),
		grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string,
			open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			m.requests.Add(1)
			return open(ctx, d, cc, method, o...)
		}),
	}
}

// handshake meters a connection below its encryption. A dialer would do so too, but gRPC's own knows proxies.
type handshake struct {
	credentials.TransportCredentials
	m *Meter
}

func (h handshake) ClientHandshake(ctx context.Context, host string, c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return h.TransportCredentials.ClientHandshake(ctx, host, h.m.conn(c, 0))
}

func (h handshake) Clone() credentials.TransportCredentials {
	return handshake{h.TransportCredentials.Clone(), h.m}
}

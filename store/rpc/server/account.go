package server

import (
	"context"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
)

const (
	// streamCost is what an open call takes, in bytes, before any of its messages is read.
	streamCost = streamWindow
	// connCost is what a connection takes, in bytes.
	connCost = 2 * readBuffer
	// fairStreams is how many calls each connection may have open, whatever others have.
	fairStreams = 16
)

// account records what one client holds of a server. A client is a connection. The fields belong to limits.mu.
type account struct {
	conn    net.Conn
	held    [resources]int64
	lent    [resources]int64 // of held, from the reserve
	known   bool             // a call of the client has ended
	prompt  bool             // the last one was not ended for silence
	streams int              // open ones
	moved   time.Time        // when some of what is being sent was sent
	movedAt time.Duration    // the same on limits.clock
	worked  time.Time        // when one of its calls last made progress
	closing bool
	closed  bool
	gone    atomic.Bool  // the connection is closed; may be used without limits.mu
	heard   atomic.Int64 // when the client sent anything, in nanoseconds; may be used without limits.mu
}

// close ends the connection. The caller holds limits.mu.
func (a *account) close() {
	if !a.closing {
		a.closing = true
		go a.conn.Close() // takes the lock
	}
}

// listener accepts connections and gives each an account.
type listener struct {
	net.Listener
	l *limits
}

// clientConn is a connection with an account.
type clientConn struct {
	net.Conn
	l *limits
	a *account
}

// clientAddr is the address of a client. Calls find their account by it.
type clientAddr struct {
	net.Addr
	a *account
}

// Accept waits for a client. If there are too many, it closes the connection that has been silent for longest.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	a := new(account)
	c := &clientConn{conn, l.l, a}
	a.conn = c
	a.heard.Store(time.Now().UnixNano())
	l.l.mu.Lock()
	defer l.l.mu.Unlock()
	if int64(len(l.l.accounts))*connCost >= l.l.most[sending] {
		var oldest *account
		for o := range l.l.accounts {
			if !o.closing && (oldest == nil || o.heard.Load() < oldest.heard.Load()) {
				oldest = o
			}
		}
		if oldest != nil {
			oldest.close()
		}
	}
	l.l.accounts[a] = struct{}{}
	return c, nil
}

func (c *clientConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.a.heard.Store(time.Now().UnixNano())
	return n, err
}

func (c *clientConn) RemoteAddr() net.Addr { return &clientAddr{c.Conn.RemoteAddr(), c.a} }

// Close also ends the account, and frees what was to be sent.
func (c *clientConn) Close() error {
	err := c.Conn.Close()
	c.a.gone.Store(true)
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if !c.a.closed {
		c.l.release(sending, c.a, c.a.held[sending])
		c.a.closed = true
		delete(c.l.accounts, c.a)
		c.l.grant(sending)
	}
	return err
}

// accountOf returns the account of the client that makes a call.
func accountOf(ctx context.Context) *account {
	if p, ok := peer.FromContext(ctx); ok {
		if addr, ok := p.Addr.(*clientAddr); ok {
			return addr.a
		}
	}
	return new(account) // the connection did not come from listener
}

// open refuses a call when too many are open and its client has more than its share. Each open call can have bytes on
// the way before anybody asks for them.
func (l *limits) open(ctx context.Context, _ *tap.Info) (context.Context, error) {
	a := accountOf(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	most := int(l.most[sending] / streamCost)
	if l.streams >= most && a.streams >= max(most/max(len(l.accounts), 1), fairStreams) {
		return ctx, status.Error(codes.ResourceExhausted, "too many calls at once")
	}
	l.streams++
	a.streams++
	context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.streams--
		a.streams--
	})
	return ctx, nil
}

// Delayproxy passes connections on to a server, and delays each byte as a long line would. It shows what a store costs
// over a network without a second machine.
//
//	go run ./testdata/bench/delayproxy [-delay 10ms] LISTEN TARGET
//
// LISTEN and TARGET are HOST:PORT, or unix:PATH for a Unix socket. For example, in three terminals:
//
//	castar -s store serve --allow-put -l unix:/tmp/server
//	go run ./testdata/bench/delayproxy unix:/tmp/proxy unix:/tmp/server
//	castar -s grpc+unix:/tmp/proxy ingest TREE
//
// Each byte takes -delay longer each way, so an answer takes twice that. A new connection takes one such round trip
// too, like the handshake of TCP. The proxy does not limit the rate, except that it holds at most 64 MiB each way.
//
// It prints the connections and bytes so far to stderr whenever the last open connection has ended, and when it is
// interrupted.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	delay := flag.Duration("delay", 10*time.Millisecond, "how much longer each byte takes, each way")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: delayproxy [-delay 10ms] LISTEN TARGET; each is HOST:PORT or unix:PATH")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 || *delay < 0 {
		flag.Usage()
		os.Exit(2)
	}
	network, addr := address(flag.Arg(0))
	listener, err := net.Listen(network, addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "delayproxy:", err)
		os.Exit(1)
	}
	p := &proxy{delay: *delay, target: flag.Arg(1)}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		listener.Close() // also removes a Unix socket
	}()
	p.serve(listener)
	fmt.Fprintln(os.Stderr, p)
}

// address returns the network and the address that an argument names.
func address(arg string) (network, addr string) {
	if path, ok := strings.CutPrefix(arg, "unix:"); ok {
		return "unix", path
	}
	return "tcp", arg
}

// proxy passes connections on to target. It counts those that reached it.
type proxy struct {
	delay                       time.Duration
	target                      string
	connections, sent, received atomic.Int64
	open                        atomic.Int64 // connections that have not ended
}

func (p *proxy) String() string {
	return fmt.Sprintf("connections: %d, bytes sent: %d, bytes received: %d", p.connections.Load(), p.sent.Load(), p.received.Load())
}

// serve accepts connections until the listener is closed.
func (p *proxy) serve(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return
		}
		p.connections.Add(1)
		p.open.Add(1)
		go func() {
			p.connect(client)
			if p.open.Add(-1) == 0 {
				fmt.Fprintln(os.Stderr, p)
			}
		}()
	}
}

// connect passes one connection on until both sides have ended it.
func (p *proxy) connect(client net.Conn) {
	defer client.Close()
	time.Sleep(2 * p.delay)
	network, addr := address(p.target)
	server, err := net.Dial(network, addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "delayproxy:", err)
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	both.Go(func() { p.pass(server, client, &p.sent) })
	both.Go(func() { p.pass(client, server, &p.received) })
	both.Wait()
}

// late is bytes that are due at a time.
type late struct {
	due  time.Time
	data []byte
}

// pass copies what from sends to to, each byte p.delay after it came, and then ends the stream. If to takes no more, pass
// reads no more either.
func (p *proxy) pass(to, from net.Conn, count *atomic.Int64) {
	const piece, pieces = 64 << 10, 1 << 10
	queue, done := make(chan late, pieces), make(chan struct{})
	go func() {
		defer close(queue)
		for {
			buf := make([]byte, piece)
			n, err := from.Read(buf)
			select {
			case queue <- late{time.Now().Add(p.delay), buf[:n]}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	defer close(done)
	for l := range queue {
		time.Sleep(time.Until(l.due))
		n, err := to.Write(l.data)
		count.Add(int64(n))
		if err != nil {
			from.Close() // so that the sender hears of it
			return
		}
	}
	if w, ok := to.(interface{ CloseWrite() error }); ok {
		w.CloseWrite() // the other direction may go on
	}
}

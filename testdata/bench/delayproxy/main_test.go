package main

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A stream comes through whole, both ways, not before its time, and is counted.
func TestProxy(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789"), 300_000)
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			listen := func(name string) (net.Listener, string) {
				addr, prefix := "127.0.0.1:0", ""
				if network == "unix" {
					addr, prefix = filepath.Join(t.TempDir(), name), "unix:"
				}
				l, err := net.Listen(network, addr)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { l.Close() })
				return l, prefix + l.Addr().String()
			}
			server, target := listen("server")
			go func() { // an echo
				for {
					conn, err := server.Accept()
					if err != nil {
						return
					}
					io.Copy(conn, conn)
					conn.Close()
				}
			}()
			front, _ := listen("proxy")
			p := &proxy{delay: 10 * time.Millisecond, target: target}
			go p.serve(front)

			begun := time.Now()
			conn, err := net.Dial(network, front.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			go func() {
				conn.Write(data)
				conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			got, err := io.ReadAll(conn)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%d bytes, %v, want %d", len(got), err, len(data))
			}
			if took := time.Since(begun); took < 4*p.delay {
				t.Errorf("took %v, want %v or more", took, 4*p.delay)
			}
			if n := int64(len(data)); p.connections.Load() != 1 || p.sent.Load() != n || p.received.Load() != n {
				t.Errorf("counted %v", p)
			}
		})
	}
}

package traffic

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// pipe returns the two ends of a connection; m meters the first.
func pipe(m *Meter, stall time.Duration) (near, far net.Conn) {
	near, far = net.Pipe()
	dial := func(context.Context, string, string) (net.Conn, error) { return near, nil }
	near, _ = m.Dialer(dial, stall)(context.Background(), "", "")
	return near, far
}

// Bytes are counted, and take as long as the bound says.
func TestBounds(t *testing.T) {
	const bound, size = 100_000, 1_000_000
	for name, m := range map[string]*Meter{"upload": New(bound, 0), "download": New(0, bound)} {
		synctest.Test(t, func(t *testing.T) {
			near, far := pipe(m, 0)
			w, r := near, far
			if name == "download" {
				w, r = far, near
			}
			start := time.Now()
			data := bytes.Repeat([]byte("x"), size)
			go func() {
				w.Write(data)
				w.Close()
			}()
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
			if took := time.Since(start).Seconds(); took < 9.5 || took > 10.5 {
				t.Errorf("%s took %.1f s, want 10", name, took)
			}
			near.Close()
			far.Close()
			if got := m.Totals(); got.Sent+got.Received != size || (got.Sent == 0) != (name == "download") {
				t.Errorf("%s: %+v", name, got)
			}
		})
	}
}

// Connections that share a bound share what it gives, and closing one ends its wait.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(10_000, 0)
		start := time.Now()
		a, fa := pipe(m, 0)
		b, fb := pipe(m, 0)
		done := make(chan int64, 2)
		for _, far := range []net.Conn{fa, fb} {
			go func() { n, _ := io.Copy(io.Discard, far); done <- n }()
		}
		go func() { b.Write(make([]byte, 50_000)); b.Close() }()
		go func() { a.Write(make([]byte, 1<<20)) }()
		time.Sleep(5 * time.Second)
		a.Close()
		if n := <-done; n > 50_000 {
			t.Errorf("%d bytes in five seconds", n)
		}
		<-done
		if took := time.Since(start); took > 9*time.Second {
			t.Errorf("the other took %v", took)
		}
		fa.Close()
		fb.Close()
	})
}

// A connection that waits for its peer for too long fails. One that waits for its bound does not.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := pipe(nil, time.Minute)
		start := time.Now()
		if _, err := near.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		near.Close()
		far.Close()
		near, far = pipe(New(1, 0), time.Second)
		go io.Copy(io.Discard, far)
		if _, err := near.Write(make([]byte, 2*least)); err != nil {
			t.Errorf("slow write: %v", err)
		}
		near.Close()
		far.Close()
	})
}

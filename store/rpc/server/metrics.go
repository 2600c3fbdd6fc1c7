package server

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
)

// metrics counts the calls of a server and the bytes of blobs that it moves.
type metrics struct {
	running        atomic.Int64
	sent, received atomic.Uint64 // bytes of blobs

	mu    sync.Mutex
	calls map[outcome]*callCount
}

// outcome is a method, as service/method, and how its calls ended.
type outcome struct {
	method string
	code   codes.Code
}

type callCount struct {
	n    uint64
	time time.Duration
}

func (m *metrics) ended(method string, code codes.Code, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	k := outcome{method, code}
	c := m.calls[k]
	if c == nil {
		c = new(callCount)
		m.calls[k] = c
	}
	c.n++
	c.time += took
}

// WriteMetrics writes what the server has done since New, in the text format of Prometheus:
//
//	castar_rpc_calls_total{method,code}           calls that have ended
//	castar_rpc_call_seconds_total{method,code}    the time they took
//	castar_rpc_calls_running                      calls that are running
//	castar_rpc_blob_bytes_total{direction}        bytes of blobs, sent or received
func (s *Server) WriteMetrics(w io.Writer) error {
	m := &s.metrics
	m.mu.Lock()
	type line struct {
		outcome
		callCount
	}
	var lines []line
	for k, c := range m.calls {
		lines = append(lines, line{k, *c})
	}
	m.mu.Unlock()
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.method, b.method), cmp.Compare(a.code, b.code))
	})
	var b []byte
	b = fmt.Appendln(b, "# TYPE castar_rpc_calls_total counter")
	for _, l := range lines {
		b = fmt.Appendf(b, "castar_rpc_calls_total{method=%q,code=%q} %d\n", l.method, l.code.String(), l.n)
	}
	b = fmt.Appendln(b, "# TYPE castar_rpc_call_seconds_total counter")
	for _, l := range lines {
		b = fmt.Appendf(b, "castar_rpc_call_seconds_total{method=%q,code=%q} %g\n", l.method, l.code.String(), l.time.Seconds())
	}
	b = fmt.Appendf(b, "# TYPE castar_rpc_calls_running gauge\ncastar_rpc_calls_running %d\n", m.running.Load())
	b = fmt.Appendf(b, "# TYPE castar_rpc_blob_bytes_total counter\n"+
		"castar_rpc_blob_bytes_total{direction=\"received\"} %d\ncastar_rpc_blob_bytes_total{direction=\"sent\"} %d\n",
		m.received.Load(), m.sent.Load())
	_, err := w.Write(b)
	return err
}

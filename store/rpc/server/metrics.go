package server

import (
	"cmp"
	"fmt"
	"io"
	"maps"
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
	calls map[outcome]callCount
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
	c := m.calls[outcome{method, code}]
	c.n++
	c.time += took
	m.calls[outcome{method, code}] = c
}

// WriteMetrics writes what the server has done since New, in the text format of Prometheus:
//
//	castar_rpc_calls_total{method,code}           calls that have ended
//	castar_rpc_call_seconds_total{method,code}    the time they took
//	castar_rpc_calls_running                      calls that are running
//	castar_rpc_blob_bytes_total{direction}        bytes of blobs, sent or received
//	castar_rpc_put_serving                        1 while clients may store, otherwise 0
func (s *Server) WriteMetrics(w io.Writer) error {
	m := &s.metrics
	var total, seconds []byte
	m.mu.Lock()
	for _, k := range slices.SortedFunc(maps.Keys(m.calls), func(a, b outcome) int {
		return cmp.Or(cmp.Compare(a.method, b.method), cmp.Compare(a.code, b.code))
	}) {
		labels := fmt.Sprintf("{method=%q,code=%q}", k.method, k.code.String())
		total = fmt.Appendf(total, "castar_rpc_calls_total%s %d\n", labels, m.calls[k].n)
		seconds = fmt.Appendf(seconds, "castar_rpc_call_seconds_total%s %g\n", labels, m.calls[k].time.Seconds())
	}
	m.mu.Unlock()
	puts := 0
	if s.o.AllowPut && s.opened.mayPut() == nil {
		puts = 1
	}
	_, err := fmt.Fprintf(w, `# TYPE castar_rpc_calls_total counter
%s# TYPE castar_rpc_call_seconds_total counter
%s# TYPE castar_rpc_calls_running gauge
castar_rpc_calls_running %d
# TYPE castar_rpc_blob_bytes_total counter
castar_rpc_blob_bytes_total{direction="received"} %d
castar_rpc_blob_bytes_total{direction="sent"} %d
# TYPE castar_rpc_put_serving gauge
castar_rpc_put_serving %d
`, total, seconds, m.running.Load(), m.received.Load(), m.sent.Load(), puts)
	return err
}

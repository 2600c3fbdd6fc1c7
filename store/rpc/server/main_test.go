package server

import (
	"context"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc/test/bufconn"

	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/storetest/gorace"
)

func TestMain(m *testing.M) {
	gorace.Restart()
	goleak.VerifyTestMain(m)
}

// serveStore starts a server for st.
func serveStore(t *testing.T, st *store.Store, o Options) *bufconn.Listener {
	t.Helper()
	s, err := New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	return rpctest.Listen(t, s.Serve, func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

package rpc

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/test/bufconn"

	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/rpc/server"
	"castar/store/storetest"
	"castar/store/storetest/gorace"
)

// serveStore starts a server for st.
func serveStore(t *testing.T, st *store.Store, o server.Options) *bufconn.Listener {
	t.Helper()
	s, err := server.New(st, o)
	if err != nil {
		t.Fatal(err)
	}
	return rpctest.Listen(t, s.Serve, func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// connect returns a connection to l as Dial makes it, closed after the test.
func connect(t *testing.T, l *bufconn.Listener, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	return rpctest.Connect(t, l, append(dialOptions(), o...)...)
}

// ids numbers the stores of the tests.
type ids struct{ n atomic.Int32 }

func (i *ids) next() string { return fmt.Sprintf("rpc-test-%d", i.n.Add(1)) }

func TestMain(m *testing.M) {
	gorace.Restart()
	goleak.VerifyTestMain(m)
}

func TestStore(t *testing.T) {
	for _, pkg := range []string{"", wire.SnixPackage} {
		t.Run("package "+pkg, func(t *testing.T) {
			if (testing.Short() || storetest.UnderRace) && pkg != "" {
				t.Skip("NOT TESTED HERE: only the name of the service differs; .ci/run runs this without the race detector")
			}
			var id ids
			storetest.Run(t, func(t *testing.T) *store.Store {
				l := serveStore(t, memory.New(), server.Options{AllowPut: true, AllowDelete: true})
				return New(connect(t, l), "server", id.next(), pkg)
			})
		})
	}
}

package rpc

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
)

// listen starts a server for the listener that it returns, and stops it after the test.
func listen(t *testing.T, serve func(net.Listener) error, stop func()) *bufconn.Listener {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	done := make(chan error, 1)
	go func() { done <- serve(l) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil && err != grpc.ErrServerStopped {
			t.Errorf("serve: %v", err)
		}
	})
	return l
}

// serveStore starts a server for st.
func serveStore(t *testing.T, st *store.Store, o ServerOptions) *bufconn.Listener {
	t.Helper()
	s, err := NewServer(st, o)
	if err != nil {
		t.Fatal(err)
	}
	return listen(t, s.Serve, func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
	})
}

// connect returns a connection to l, closed after the test.
func connect(t *testing.T, l *bufconn.Listener, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	o = append(dialOptions(), append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
	}, o...)...)
	conn, err := grpc.NewClient("passthrough:bufconn", o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// ids numbers the stores of the tests.
type ids struct{ n atomic.Int32 }

func (i *ids) next() string { return fmt.Sprintf("rpc-test-%d", i.n.Add(1)) }

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStore(t *testing.T) {
	for _, pkg := range []string{"", snixPackage} {
		t.Run("package "+pkg, func(t *testing.T) {
			if (testing.Short() || storetest.UnderRace) && pkg != "" {
				t.Skip("only the name of the service differs")
			}
			var id ids
			storetest.Run(t, func(t *testing.T) *store.Store {
				l := serveStore(t, memory.New(), ServerOptions{AllowPut: true})
				return New(connect(t, l), id.next(), pkg)
			})
		})
	}
}

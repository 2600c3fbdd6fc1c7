// Package rpctest is shared by the tests of the client and of the server: connections in memory, and stores with groups
// and joins.
package rpctest

import (
	"context"
	"math/rand/v2"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"castar/store"
)

// Listen runs a server on the listener that it returns, until the test ends. serve runs the server, and stop stops it.
func Listen(t *testing.T, serve func(net.Listener) error, stop func()) *bufconn.Listener {
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

// Connect returns a connection to l, closed after the test.
func Connect(t *testing.T, l *bufconn.Listener, o ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	o = append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
	}, o...)
	conn, err := grpc.NewClient("passthrough:bufconn", o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Random returns n bytes that do not compress. They are always the same.
func Random(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// Sums returns the digests of blobs, as messages have them.
func Sums(blobs [][]byte) (all [][]byte) {
	for _, b := range blobs {
		d := store.Sum(b)
		all = append(all, d[:])
	}
	return all
}

// Tree is root{a: a, b: b{a: a}}, under the documented rule and under that of snix. "wrong" is root with a wrong size.
type Tree struct {
	Encoded map[string][]byte // by name; those of snix begin with "snix "
}

// NewTree returns a Tree.
func NewTree(t *testing.T) *Tree {
	t.Helper()
	tr := &Tree{map[string][]byte{}}
	for _, rule := range []store.SizeRule{store.SizeDocumented, store.SizeSnix} {
		prefix := ""
		if rule == store.SizeSnix {
			prefix = "snix "
		}
		add := func(name string, dir store.Directory) func(name string) store.Node {
			b, err := store.EncodeDirectory(dir)
			if err != nil {
				t.Fatal(err)
			}
			size, err := dir.Size(rule)
			if err != nil {
				t.Fatal(err)
			}
			tr.Encoded[prefix+name] = b
			return func(name string) store.Node {
				return store.Node{Name: name, Kind: store.KindDirectory, Digest: store.Sum(b), Size: size}
			}
		}
		a := add("a", store.Directory{{Name: "x", Kind: store.KindSymlink, Target: "y"}})
		b := add("b", store.Directory{a("a")})
		add("root", store.Directory{a("a"), b("b")})
		n := b("b")
		n.Size++
		add("wrong", store.Directory{a("a"), n})
	}
	return tr
}

package rpc

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
)

// closureServer has the directories of a tree. It counts calls by whether they are recursive.
type closureServer struct {
	protos.UnimplementedDirectoryServiceServer
	messages       map[store.Digest][]byte
	order          []store.Digest // of a recursive call
	one, recursive atomic.Int32
	before         func(i int) error // called before each message of a recursive call; may be nil
}

func (s *closureServer) Get(req *protos.GetDirectoryRequest, stream grpc.ServerStreamingServer[protos.Directory]) error {
	if !req.GetRecursive() {
		s.one.Add(1)
		message, ok := s.messages[store.Digest(req.GetDigest())]
		if !ok {
			return status.Error(codes.NotFound, "no")
		}
		return stream.SendMsg(wire.RawDirectory(message))
	}
	s.recursive.Add(1)
	for i, d := range s.order {
		if s.before != nil {
			if err := s.before(i); err != nil {
				return err
			}
		}
		if err := stream.SendMsg(wire.RawDirectory(s.messages[d])); err != nil {
			return err
		}
	}
	return nil
}

// newClosure returns a server with a chain of n directories, the root first.
func newClosure(t *testing.T, n int) *closureServer {
	t.Helper()
	s := &closureServer{messages: map[store.Digest][]byte{}, order: make([]store.Digest, n)}
	dir := store.Directory{{Name: "link", Kind: store.KindSymlink, Target: "x"}}
	for i := n - 1; i >= 0; i-- {
		b, err := store.EncodeDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		size, err := dir.Size(store.SizeDocumented)
		if err != nil {
			t.Fatal(err)
		}
		s.order[i] = store.Sum(b)
		s.messages[s.order[i]] = b
		dir = store.Directory{{Name: "down", Kind: store.KindDirectory, Digest: s.order[i], Size: size}}
	}
	return s
}

func (s *closureServer) serve(t *testing.T) directories {
	t.Helper()
	g := grpc.NewServer()
	g.RegisterService(wire.Under(wire.TvixPackage, protos.DirectoryService_ServiceDesc), s)
	c := newClient(connect(t, rpctest.Listen(t, g.Serve, g.Stop)), wire.TvixPackage)
	t.Cleanup(func() {
		if err := (barrier{c}).Close(); err != nil {
			t.Error(err)
		}
	})
	return directories{c}
}

// wantAll gets all directories from several goroutines.
func (s *closureServer) wantAll(t *testing.T, ds directories) {
	t.Helper()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i, d := range s.order {
				if dir, err := ds.Get(t.Context(), d); err != nil || len(dir) != 1 {
					t.Errorf("directory %d: %d entries, %v", i, len(dir), err)
				}
			}
		})
	}
	wg.Wait()
}

// One call gets a closure that is expected, however often that is said.
func TestExpect(t *testing.T) {
	s := newClosure(t, 50)
	ds := s.serve(t)
	for _, root := range []int{0, 0, 3} {
		ds.Expect(t.Context(), s.order[root])
		s.wantAll(t, ds)
	}
	if s.one.Load() != 0 || s.recursive.Load() != 1 {
		t.Errorf("%d and %d recursive calls, want 1 recursive one", s.one.Load(), s.recursive.Load())
	}
}

// What does not come is asked for one by one.
func TestExpectInVain(t *testing.T) {
	for name, spoil := range map[string]func(s *closureServer, ds directories){
		"an error": func(s *closureServer, _ directories) {
			s.before = func(i int) error {
				if i == 20 {
					return status.Error(codes.Internal, "broken")
				}
				return nil
			}
		},
		"an early end": func(s *closureServer, _ directories) { s.order = s.order[:20:20] },
		"another directory": func(s *closureServer, _ directories) {
			b, _ := store.EncodeDirectory(store.Directory{{Name: "other", Kind: store.KindSymlink, Target: "y"}})
			other := store.Sum(b)
			s.messages[other] = b
			s.order = append(s.order[:20:20], other)
		},
		"no directory": func(s *closureServer, _ directories) {
			s.messages[store.Digest{1}] = []byte("no directory")
			s.order = append(s.order[:20:20], store.Digest{1})
		},
		"too many": func(_ *closureServer, ds directories) { ds.c.expected.most = 20 },
		"silence": func(s *closureServer, ds directories) {
			ds.c.patience = 300 * time.Millisecond // of other calls, too, on a machine that is busy
			s.before = func(i int) error {
				if i == 20 {
					time.Sleep(400 * time.Millisecond) // longer than the client waits
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newClosure(t, 50)
			all := s.order
			ds := s.serve(t)
			spoil(s, ds)
			ds.Expect(t.Context(), s.order[0])
			whole := closureServer{order: all}
			whole.wantAll(t, ds)
			if s.recursive.Load() != 1 || s.one.Load() < 30 {
				t.Errorf("%d and %d recursive calls", s.one.Load(), s.recursive.Load())
			}
			if _, err := ds.Get(t.Context(), store.Digest{1}); err == nil {
				t.Error("got a directory that does not hash to its name")
			}
		})
	}
}

// The end of the context ends the call, and a caller that waits need not wait for the other's.
func TestExpectCancel(t *testing.T) {
	s := newClosure(t, 3)
	reached, quit := make(chan struct{}), make(chan struct{})
	defer close(quit)
	s.before = func(i int) error {
		if i == 1 {
			close(reached)
			<-quit
		}
		return nil
	}
	ds := s.serve(t)
	ctx, cancel := context.WithCancel(t.Context())
	ds.Expect(ctx, s.order[0])
	<-reached
	if _, err := ds.Get(t.Context(), s.order[0]); err != nil { // now the next one is known to come
		t.Fatal(err)
	}
	soon, stop := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer stop()
	if _, err := ds.Get(soon, s.order[1]); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	cancel()
	if _, err := ds.Get(t.Context(), s.order[2]); err != nil {
		t.Error(err)
	}
}

package rpc

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/storetest/peer"
)

// startPeer returns a client of s.
func startPeer(t *testing.T, s *peer.Server) *client {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	stop := s.Start(l)
	c := newClient(connect(t, l), "")
	t.Cleanup(func() {
		c.bundle("").Close()
		stop()
	})
	return c
}

// chain uploads a chain of directories with a wide one at its end, and returns them from the top.
func chain(t *testing.T, c *client, name string, depth int) (all []store.Digest) {
	t.Helper()
	w, err := directories{c}.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	put := func(dir store.Directory) store.Digest {
		d, err := w.Put(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		all = append([]store.Digest{d}, all...)
		return d
	}
	dir := store.Directory{{Name: "end of " + name, Kind: store.KindSymlink, Target: "x"}}
	for range depth {
		size, err := dir.Size(store.SizeSnix)
		if err != nil {
			t.Fatal(err)
		}
		dir = store.Directory{{Name: name, Kind: store.KindDirectory, Digest: put(dir), Size: size}}
	}
	put(dir)
	if err := w.Commit(t.Context(), all[0]); err != nil {
		t.Fatal(err)
	}
	return all
}

// getAll asks for directories one by one.
func getAll(t *testing.T, c *client, all []store.Digest) {
	t.Helper()
	for i, d := range all {
		dir, err := directories{c}.Get(t.Context(), d)
		if err != nil || len(dir) != 1 {
			t.Fatalf("directory %d of %d: %v, %v", i, len(all), dir, err)
		}
	}
}

func TestFindsBelowRoots(t *testing.T) {
	for _, s := range []*peer.Server{
		{Package: peer.Tvix}, {Package: peer.Tvix, Backward: true}, {Package: peer.Snix}, {Package: peer.Snix, Backward: true},
	} {
		t.Run(fmt.Sprintf("%s %v", s.Package, s.Backward), func(t *testing.T) {
			c := startPeer(t, s)
			all := chain(t, c, "a", 20)
			if _, err := (directories{c}).Get(t.Context(), all[1]); !store.IsNotFound(err) {
				t.Errorf("before its root: error %v", err)
			}
			before := s.Gets()
			getAll(t, c, all)
			getAll(t, c, all[1:])
			if n := s.Gets() - before; n != 3 {
				t.Errorf("asked for directories %d times, want for the root, its child and the closure", n)
			}
		})
	}
}

// After a walk, another can begin at any directory below its root.
func TestWalksBelowRoots(t *testing.T) {
	c := startPeer(t, &peer.Server{Package: peer.Snix})
	all := chain(t, c, "a", 5)
	for i := range all {
		n := 0
		for named, err := range (directories{c}).Walk(t.Context(), all[i]) {
			if err != nil || named.Digest != all[i+n] {
				t.Fatalf("from %d: %s, %v", i, named.Digest, err)
			}
			n++
		}
		if n != len(all)-i {
			t.Errorf("from %d: %d directories, want %d", i, n, len(all)-i)
		}
	}
}

// A directory that the server has lost is not found. All others are.
func TestMissingBelowRoots(t *testing.T) {
	s := &peer.Server{Package: peer.Tvix}
	c := startPeer(t, s)
	all := chain(t, c, "a", 6)
	s.Forget(all[6])
	getAll(t, c, all[:6])
	before := s.Gets()
	for range 3 {
		if _, err := (directories{c}).Get(t.Context(), all[6]); !store.IsNotFound(err) {
			t.Errorf("error %v", err)
		}
	}
	if n := s.Gets() - before; n != 3 {
		t.Errorf("asked %d times, want 3: the closure is known", n)
	}
}

// Kept directories are dropped when there are too many, and the client asks for closures again.
func TestKeptIsBounded(t *testing.T) {
	c := startPeer(t, &peer.Server{Package: peer.Snix})
	c.closures.maxBytes, c.closures.kept.spool.most = 100, 60
	first, second := chain(t, c, "first", 10), chain(t, c, "second", 10)
	for range 2 {
		getAll(t, c, first)
		getAll(t, c, second)
		if _, size := c.closures.kept.size(); size > 600 {
			t.Errorf("%d bytes in the pool, want those of one closure", size)
		}
	}
	if c.closures.kept.spool.file == nil {
		t.Error("the pool has no file")
	}
	c.closures.parents = recent[store.Digest]{} // forgotten
	getAll(t, c, first[1:])
}

func TestKeptConcurrently(t *testing.T) {
	c := startPeer(t, &peer.Server{Package: peer.Tvix})
	c.closures.maxBytes = 100
	trees := [][]store.Digest{chain(t, c, "a", 30), chain(t, c, "b", 30), chain(t, c, "c", 30)}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for _, d := range trees[i%3] {
				if _, err := (directories{c}).Get(t.Context(), d); err != nil {
					t.Errorf("%v", err)
				}
			}
		})
	}
	wg.Wait()
}

// brokenClosures has a root, and fails when asked for its closure.
type brokenClosures struct {
	protos.UnimplementedDirectoryServiceServer
	root []byte
	err  error
}

func (b *brokenClosures) Get(req *protos.GetDirectoryRequest, stream grpc.ServerStreamingServer[protos.Directory]) error {
	if d := store.Sum(b.root); string(req.GetDigest()) != string(d[:]) {
		return status.Error(codes.NotFound, "directory not found")
	}
	if err := stream.Send(wire.RawDirectory(b.root)); err != nil || !req.GetRecursive() {
		return err
	}
	return b.err
}

func TestBrokenClosures(t *testing.T) {
	child := store.Sum([]byte("child"))
	root, err := store.EncodeDirectory(store.Directory{{Name: "a", Kind: store.KindDirectory, Digest: child, Size: 2}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name             string
		err              error
		missing, corrupt bool
	}{
		{"ends early", nil, true, false},
		{"says what is missing", status.Error(codes.Internal, "directory blake3-x not found"), true, false},
		{"not found", status.Error(codes.NotFound, "x"), true, false},
		{"damaged", status.Error(codes.Internal, "bad zstd frame"), false, true},
		{"no permission", status.Error(codes.Unauthenticated, "who are you"), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := grpc.NewServer()
			protos.RegisterDirectoryServiceServer(g, &brokenClosures{root: root, err: tt.err})
			c := newClient(connect(t, rpctest.Listen(t, func(l net.Listener) error { return g.Serve(l) }, g.Stop)), wire.TvixPackage)
			if _, err := (directories{c}).Get(t.Context(), store.Sum(root)); err != nil {
				t.Fatal(err)
			}
			_, err := directories{c}.Get(t.Context(), child)
			_, corrupt := errors.AsType[*store.CorruptError](err)
			if err == nil || store.IsNotFound(err) != tt.missing || corrupt != tt.corrupt {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestSizeRuleError(t *testing.T) {
	for text, want := range map[string]string{
		"wrong size 2 for digest blake3-x":                        "wrong size 2 for digest blake3-x",
		"'a' has wrong size, specified 2, recorded 4":             "'a' has wrong size, specified 2, recorded 4",
		(&store.SizeRuleError{Text: "wrong size 2"}).Error():      "wrong size 2",
		`directory x: "a": wrong size 3, want 1, or 2 throughout`: "",
		"no directories received":                                 "",
	} {
		for _, code := range []codes.Code{codes.Internal, codes.InvalidArgument, codes.DataLoss} {
			got := ""
			if e, ok := errors.AsType[*store.SizeRuleError](fromStatus(status.Error(code, text), store.Digest{})); ok {
				got = e.Text
			}
			if got != want {
				t.Errorf("%s: %q, want %q", text, got, want)
			}
		}
	}
}

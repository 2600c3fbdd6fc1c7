package rpc

import (
	"fmt"
	"slices"
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

// someDigests returns n digests that are the same in every run.
func someDigests(n int) (ds []store.Digest) {
	for i := range n {
		ds = append(ds, store.Sum(fmt.Append(nil, i)))
	}
	return ds
}

// serveHas starts a server with a BulkService.
func serveHas(t *testing.T, has func(n int) (*protos.HasBlobsResponse, error)) *client {
	t.Helper()
	s := grpc.NewServer()
	protos.RegisterBulkServiceServer(s, &bulkLiar{t: t, has: has})
	s.RegisterService(wire.Under(wire.TvixPackage, protos.BlobService_ServiceDesc), &liar{})
	c := newClient(connect(t, rpctest.Listen(t, s.Serve, s.Stop)), wire.TvixPackage)
	t.Cleanup(c.outbox.close)
	return c
}

// Many blobs are asked for in few calls, and callers that ask while calls are on their way share the next one.
func TestQuestionsShareCalls(t *testing.T) {
	var calls, asked atomic.Int32
	gate := make(chan struct{})
	c := serveHas(t, func(n int) (*protos.HasBlobsResponse, error) {
		calls.Add(1)
		asked.Add(int32(n))
		<-gate
		return &protos.HasBlobsResponse{Has: slices.Repeat([]bool{true}, n)}, nil
	})
	const n = 1000
	errs := make(chan error, n)
	for _, d := range someDigests(n) {
		go func() {
			has, err := blobs{c: c}.Has(t.Context(), d)
			if err == nil && !has {
				err = fmt.Errorf("the server lacks %s", d)
			}
			errs <- err
		}()
	}
	for waiting := 0; waiting+int(asked.Load()) < n; time.Sleep(time.Millisecond) {
		c.questions.mu.Lock()
		waiting = len(c.questions.waiting)
		c.questions.mu.Unlock()
	}
	close(gate)
	for range n {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if got := calls.Load(); got > 2*questionCalls {
		t.Errorf("%d calls for %d blobs", got, n)
	}
	calls.Store(0)
	if _, err := (blobs{c: c}).HasAll(t.Context(), someDigests(3*questionSize)); err != nil || calls.Load() != 3 {
		t.Errorf("%d calls, error %v, want 3 calls", calls.Load(), err)
	}
}

// Wrong answers about many blobs are errors.
func TestHostileHasAll(t *testing.T) {
	for name, n := range map[string]int{"too few": -1, "too many": 1} {
		c := serveHas(t, func(asked int) (*protos.HasBlobsResponse, error) {
			return &protos.HasBlobsResponse{Has: make([]bool, asked+n)}, nil
		})
		_, err := blobs{c: c}.HasAll(t.Context(), someDigests(10))
		wantCorrupt(t, err, "answers for 10 blobs")
		if _, err = (blobs{c: c}).Has(t.Context(), store.Sum(nil)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A server that never answers is given up.
func TestSilentHasAll(t *testing.T) {
	quit := make(chan struct{})
	c := serveHas(t, func(int) (*protos.HasBlobsResponse, error) {
		<-quit
		return nil, status.Error(codes.Internal, "the end of the test")
	})
	defer close(quit)
	c.patience = 100 * time.Millisecond
	_, err := blobs{c: c}.HasAll(t.Context(), someDigests(10))
	wantSilence(t, err)
	_, err = blobs{c: c}.Has(t.Context(), store.Sum(nil))
	wantSilence(t, err)
}

// crowd lets calls wait until enough of them run at once.
type crowd struct {
	enough int32
	here   chan struct{}
	come   func() // closes here
}

func newCrowd(enough int32) crowd {
	here := make(chan struct{})
	return crowd{enough, here, sync.OnceFunc(func() { close(here) })}
}

// await waits until one call sees that enough run, as n says, or too long.
func (c crowd) await(n int32) {
	if n >= c.enough {
		c.come()
	}
	select {
	case <-c.here:
	case <-time.After(20 * time.Second): // the test says how many came
	}
}

// A server without BulkService is asked for many blobs at once, and for fewer after it said that this is too much.
func TestHasAllOneByOne(t *testing.T) {
	var running, most, refused atomic.Int32
	crowd := newCrowd(20)
	l := &liar{stat: func(req *protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		crowd.await(n)
		if n > 60 && refused.Add(1) < 1000 {
			return nil, status.Error(codes.ResourceExhausted, "too many calls")
		}
		if req.GetDigest()[0]%2 == 0 {
			return nil, status.Error(codes.NotFound, "no")
		}
		return new(protos.StatBlobResponse), nil
	}}
	c := serveLies(t, wire.TvixPackage, l, nil)
	c.usePackage(wire.TvixPackage)
	ds := someDigests(500)
	has, err := blobs{c: c}.HasAll(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	for i := range ds {
		if has[i] != (ds[i][0]%2 != 0) {
			t.Fatalf("blob %d: has is %v", i, has[i])
		}
	}
	if n := most.Load(); n < 20 || n > mostSingles {
		t.Errorf("up to %d calls at once, want at most %d, and many", n, mostSingles)
	}
	if c.singles.running != 0 || !c.singles.turns.TryAcquire(int64(c.singles.limit)) {
		t.Errorf("%d calls are left, or some wait", c.singles.running)
	}
}

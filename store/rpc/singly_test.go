package rpc

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/rpc/internal/rpctest"
	"castar/store/rpc/internal/wire"
	"castar/store/rpc/server"
	"castar/store/storetest"
)

// A server without services of castar's own is read from many times at once, and blobs are the right ones.
func TestExpectSingly(t *testing.T) {
	var running, most, reads atomic.Int32
	crowd := newCrowd(15)
	all := map[store.Digest][]byte{}
	var ds []store.Digest
	for i := range 300 {
		data := bytes.Repeat([]byte{byte(i), byte(i >> 8), 'x'}, 10+i)
		if i == 100 {
			data = rpctest.Random(inlineSize + 5) // too long to be read ahead
		}
		all[store.Sum(data)] = data
		ds = append(ds, store.Sum(data))
	}
	l := &liar{stat: func(*protos.StatBlobRequest) (*protos.StatBlobResponse, error) {
		return new(protos.StatBlobResponse), nil
	}}
	l.read = func(d store.Digest, send func([]byte) error) error {
		n := running.Add(1)
		defer running.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		if reads.Add(1) <= 20 {
			crowd.await(n)
		}
		data, ok := all[d]
		if !ok {
			return status.Error(codes.NotFound, "no")
		}
		for part := range slices.Chunk(data, 100_000) {
			if err := send(part); err != nil {
				return err
			}
		}
		return nil
	}
	c := serveLies(t, wire.TvixPackage, l, nil)
	c.settle(wire.TvixPackage)
	st := c.bundle("singly")
	asked := slices.Insert(slices.Clone(ds), 50, store.Sum([]byte("missing")))
	st.RemoteBlobs.Expect(t.Context(), slices.Values(asked))
	var wg sync.WaitGroup
	for part := range slices.Chunk(ds, 75) {
		wg.Go(func() {
			for _, d := range part {
				readRemote(t, st, all[d])
			}
		})
	}
	wg.Wait()
	if _, err := st.Blobs.Open(t.Context(), store.Sum([]byte("missing"))); !store.IsNotFound(err) {
		t.Errorf("error %v", err)
	}
	if n := most.Load(); n < 15 || n > mostSingles+8 {
		t.Errorf("up to %d reads at once", n)
	}
}

// What a server sends by mistake is not taken for the blob.
func TestHostileSingly(t *testing.T) {
	c := serveLies(t, wire.TvixPackage, &liar{read: func(_ store.Digest, send func([]byte) error) error {
		return send([]byte("wrong"))
	}}, nil)
	c.settle(wire.TvixPackage)
	d := store.Sum([]byte("right"))
	blobs{c: c}.Expect(t.Context(), slices.Values([]store.Digest{d}))
	_, err := blobs{c: c}.Open(t.Context(), d)
	wantCorrupt(t, err, "digest mismatch")
}

// A server of castar with its own services turned off is a store like any other.
func TestUpstreamStore(t *testing.T) {
	if testing.Short() || storetest.UnderRace {
		t.Skip("NOT TESTED HERE: TestStore and the tests with liars have what may race; .ci/run runs this without the race detector")
	}
	var id ids
	storetest.Run(t, func(t *testing.T) *store.Store {
		l := serveStore(t, memory.New(), server.Options{AllowPut: true, Upstream: true})
		return New(connect(t, l), "server", id.next(), "")
	})
}

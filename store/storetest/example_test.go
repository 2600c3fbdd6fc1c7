package storetest_test

import (
	"context"
	"fmt"
	"log"
	"sync/atomic"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
)

// counted counts how often a blob is opened. It has all other methods from the Blobs that it wraps.
type counted struct {
	store.Blobs
	opened *atomic.Uint64
}

func (c counted) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	c.opened.Add(1)
	return c.Blobs.Open(ctx, d)
}

// newCounted returns a store in memory that counts in opened. A wrapper of a store with more parts would also wrap its
// Lanes and Groups, which lead to the same blobs.
func newCounted(opened *atomic.Uint64) *store.Store {
	st := memory.New()
	st.Blobs = counted{st.Blobs, opened}
	return st
}

// TestCounted is all that a store needs to test that it keeps the contracts.
func TestCounted(t *testing.T) {
	storetest.Run(t, func(*testing.T) *store.Store { return newCounted(new(atomic.Uint64)) })
	storetest.Keeps(t, memory.New(), newCounted(new(atomic.Uint64)))
}

// A store of one's own: TestCounted, in the same file, runs the suite on it.
func Example() {
	ctx, opened := context.Background(), new(atomic.Uint64)
	st := newCounted(opened)
	defer st.Close()
	d, err := st.Blobs.Put(ctx, []byte("hello, world\n"))
	if err != nil {
		log.Fatal(err)
	}
	for range 3 {
		blob, err := st.Blobs.Open(ctx, d)
		if err != nil {
			log.Fatal(err)
		}
		blob.Close()
	}
	fmt.Println("opened", opened.Load(), "times")
	// Output: opened 3 times
}

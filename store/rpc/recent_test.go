package rpc

import (
	"testing"

	"castar/store"
)

func TestRecent(t *testing.T) {
	var r recent[bool]
	digest := func(i int) store.Digest { return store.Digest{byte(i), byte(i >> 8), byte(i >> 16), 1} }
	const n = 2*recentSize + 1
	for i := range n {
		if r.has(digest(i)) {
			t.Fatalf("%d is there before it was added", i)
		}
		r.add(digest(i), true)
		if !r.has(digest(i)) || !r.has(digest(max(0, i-recentSize+1))) {
			t.Fatalf("after %d, one of the last %d is gone", i, recentSize)
		}
	}
	if r.has(digest(0)) || len(r.new)+len(r.old) > 2*recentSize {
		t.Errorf("%d digests are kept", len(r.new)+len(r.old))
	}
}

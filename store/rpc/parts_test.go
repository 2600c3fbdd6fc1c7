package rpc

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"castar/store"
)

func TestBuffers(t *testing.T) {
	b := newBuffers()
	for _, n := range []int{0, 1, 1023, 1024, 1025, 1 << 20, 1<<20 + 1, 5 << 20} {
		for range 2 {
			buf := b.Get(n)
			if len(*buf) != n {
				t.Errorf("Get(%d) has %d bytes", n, len(*buf))
			}
			b.Put(buf)
		}
	}
	odd := make([]byte, 1500) // not of a size that Get returns: must not come back as 2048
	b.Put(&odd)
	if got := b.Get(2000); len(*got) != 2000 {
		t.Errorf("Get(2000) has %d bytes", len(*got))
	}
}

func TestRecent(t *testing.T) {
	var r recent
	digest := func(i int) store.Digest { return store.Digest{byte(i), byte(i >> 8), byte(i >> 16), 1} }
	const n = 3 * recentSize
	for i := range n {
		if r.has(digest(i)) {
			t.Fatalf("%d is there before it was added", i)
		}
		r.add(digest(i))
		if !r.has(digest(i)) || !r.has(digest(max(0, i-recentSize+1))) {
			t.Fatalf("after %d, one of the last %d is gone", i, recentSize)
		}
	}
	if r.has(digest(0)) || len(r.new)+len(r.old) > 2*recentSize {
		t.Errorf("%d digests are kept", len(r.new)+len(r.old))
	}
}

// TestProofRanges has any range of any blob hold, and no change to it.
func TestProofRanges(t *testing.T) {
	all := random(40 * proofGroupSize)
	rapid.Check(t, func(t *rapid.T) {
		data := all[:rapid.IntRange(proofGroupSize+1, len(all)).Draw(t, "size")]
		d := store.Sum(data)
		proof, err := prove(store.BytesBlob(data), d)
		if err != nil {
			t.Fatal(err)
		}
		if size, ok := provenSize(proof); !ok || size != uint64(len(data)) {
			t.Fatalf("proof of %d bytes is for %d, %v", len(data), size, ok)
		}
		from := rapid.IntRange(0, (len(data)-1)/proofGroupSize).Draw(t, "group") * proofGroupSize
		to := min(len(data), from+rapid.IntRange(1, 20).Draw(t, "groups")*proofGroupSize)
		part := bytes.Clone(data[from:to])
		if !proven(proof, part, uint64(from), d) {
			t.Fatal("right bytes are refused")
		}
		part[rapid.IntRange(0, len(part)-1).Draw(t, "at")] ^= 1
		if proven(proof, part, uint64(from), d) {
			t.Fatal("wrong bytes are taken")
		}
	})
}

package wire

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"castar/store"
	"castar/store/rpc/internal/rpctest"
)

func TestBuffers(t *testing.T) {
	b := new(Buffers)
	for _, n := range []int{0, 1, 1023, 1024, 1025, 1 << 20, 1<<20 + 1, 5 << 20} {
		for range 2 {
			buf := b.Get(n)
			if len(*buf) != n {
				t.Errorf("Get(%d) has %d bytes", n, len(*buf))
			}
			b.Put(buf)
		}
	}
	odd := make([]byte, 1500) // Get returns no such buffer, so this one must not come back
	b.Put(&odd)
	if got := b.Get(2000); len(*got) != 2000 {
		t.Errorf("Get(2000) has %d bytes", len(*got))
	}
}

// A proof accepts every range of a blob, and no change to it.
func TestProofRanges(t *testing.T) {
	all := rpctest.Random(40 * ProofGroup)
	rapid.Check(t, func(t *rapid.T) {
		data := all[:rapid.IntRange(ProofGroup+1, len(all)).Draw(t, "size")]
		d := store.Sum(data)
		proof, err := Prove(store.BytesBlob(data), d)
		if err != nil {
			t.Fatal(err)
		}
		if size, ok := ProvenSize(proof); !ok || size != uint64(len(data)) {
			t.Fatalf("proof of %d bytes is for %d, %v", len(data), size, ok)
		}
		from := rapid.IntRange(0, (len(data)-1)/ProofGroup).Draw(t, "group") * ProofGroup
		to := min(len(data), from+rapid.IntRange(1, 20).Draw(t, "groups")*ProofGroup)
		part := bytes.Clone(data[from:to])
		if !Proven(proof, part, uint64(from), d) {
			t.Fatal("right bytes are refused")
		}
		part[rapid.IntRange(0, len(part)-1).Draw(t, "at")] ^= 1
		if Proven(proof, part, uint64(from), d) {
			t.Fatal("wrong bytes are taken")
		}
	})
}

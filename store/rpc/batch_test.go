package rpc

import (
	"bytes"
	"slices"
	"testing"

	"castar/protos"
	"castar/store"
	"castar/store/rpc/internal/rpctest"
	"castar/store/zstd"
)

func newEncoder(t *testing.T) *zstd.Encoder {
	t.Helper()
	enc, err := zstd.NewEncoder(1, zstd.Fast)
	if err != nil {
		t.Fatal(err)
	}
	return enc
}

// unpacked returns the blobs of a request.
func unpacked(t testing.TB, req *protos.PutBlobsRequest) (blobs [][]byte) {
	t.Helper()
	total := 0
	for _, n := range req.GetSizes() {
		total += int(n)
	}
	raw := req.GetPlain()
	if frame := req.GetFrame(); frame != nil {
		dec, err := zstd.NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		raw = make([]byte, total)
		if err := dec.Decode(raw, frame); err != nil {
			t.Fatal(err)
		}
	}
	if len(raw) != total {
		t.Fatalf("%d bytes of contents, want %d", len(raw), total)
	}
	for _, n := range req.GetSizes() {
		blobs = append(blobs, raw[:n])
		raw = raw[n:]
	}
	return blobs
}

// parsed returns the request that a batch is sent as.
func parsed(t *testing.T, b *batch) *protos.PutBlobsRequest {
	t.Helper()
	message, err := b.message(newEncoder(t))
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func equal(a, b [][]byte) bool { return slices.EqualFunc(a, b, bytes.Equal) }

// A batch makes the message that it stands for, also when it is filled again. It is compressed if that helps.
func TestBatch(t *testing.T) {
	b := newBatch()
	for round, tt := range []struct {
		blobs  [][]byte
		framed bool
	}{
		{[][]byte{{}, {1}, rpctest.Random(300)}, false},
		{[][]byte{make([]byte, inlineSize), rpctest.Random(askSize), []byte("hello")}, true},
		{[][]byte{rpctest.Random(7)}, false},
		{[][]byte{{}}, false},
		{[][]byte{bytes.Repeat([]byte("castar\n"), 99)}, true},
	} {
		for i, data := range tt.blobs {
			b.add(store.Sum(data), data)
			if !bytes.HasSuffix(b.raw, data) || b.digests[i] != store.Sum(data) {
				t.Errorf("round %d: blob %d is not what was added", round, i)
			}
		}
		req := parsed(t, b)
		if got := unpacked(t, req); !equal(got, tt.blobs) || len(b.digests) != len(got) {
			t.Errorf("round %d: %d blobs of %d come back", round, len(got), len(tt.blobs))
		}
		if framed := req.GetFrame() != nil; framed != tt.framed {
			t.Errorf("round %d: framed %v, want %v", round, framed, tt.framed)
		}
		if n := len(tt.blobs); b.full(capacity{n + 1, batchSize}) || !b.full(capacity{n, batchSize}) {
			t.Errorf("round %d: full is wrong for %d blobs", round, n)
		}
		before := b.done
		b.clear()
		if len(b.digests)+len(b.raw)+len(b.sizes) > 0 || b.done == before {
			t.Errorf("round %d: not clear", round)
		}
	}
	for _, bytes := range []int{1 << 20, batchSize, batchSize + inlineSize} {
		c := capacity{1 << 30, bytes}
		b.clear()
		for !b.full(c) && b.takes(c, 1, inlineSize) {
			b.add(store.Digest{}, make([]byte, inlineSize))
		}
		if n := len(b.raw); n != min(bytes, batchSize) {
			t.Errorf("%d bytes are filled with %d", bytes, n)
		}
	}
}

// Merging two batches keeps all blobs.
func TestBatchMerge(t *testing.T) {
	one, two := [][]byte{[]byte("a"), {}, rpctest.Random(300)}, [][]byte{rpctest.Random(200), []byte("b")}
	fill := func(blobs [][]byte) *batch {
		b := newBatch()
		for _, data := range blobs {
			b.add(store.Sum(data), data)
		}
		return b
	}
	b, more := fill(one), fill(two)
	for c, want := range map[capacity]bool{{4, 1000}: false, {5, 501}: false, {5, 502}: true} {
		if got := b.takes(c, len(more.digests), len(more.raw)); got != want {
			t.Errorf("%+v takes both: %v, want %v", c, got, want)
		}
	}
	b.merge(more)
	if !equal(unpacked(t, parsed(t, b)), append(one, two...)) || len(b.digests) != 5 {
		t.Errorf("%d blobs, want those of both", len(b.digests))
	}
}

// Without some of its blobs, a batch has the others, in order.
func TestBatchWithout(t *testing.T) {
	all := [][]byte{[]byte("a"), {}, rpctest.Random(300), []byte("b")}
	b := newBatch()
	for _, data := range all {
		b.add(store.Sum(data), data)
	}
	for mask := range 1 << len(all) {
		drop, want := make([]bool, len(all)), [][]byte(nil)
		for i := range all {
			if drop[i] = mask>>i&1 != 0; !drop[i] {
				want = append(want, all[i])
			}
		}
		rest := b.without(drop)
		if got := unpacked(t, parsed(t, rest)); !equal(got, want) || len(rest.digests) != len(want) {
			t.Errorf("without %v: %d blobs, want %d", drop, len(got), len(want))
		}
	}
}

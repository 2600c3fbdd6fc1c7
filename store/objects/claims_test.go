package objects

import (
	"runtime"
	"testing"

	"castar/store"
)

// A size that a chunk or record claims is not allocated unless the bytes could decode to that many.
func TestClaims(t *testing.T) {
	c, err := newCodec()
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	body, err := c.compress(make([]byte, 1000))
	if err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 50 {
		if _, err := c.decompress(body, maxChunk); err == nil {
			t.Error("a chunk of 1000 bytes was taken for one of 64 MiB")
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d bytes were allocated", used)
	}
}

// Fewer large chunks than small ones are read ahead.
func TestAheadByBytes(t *testing.T) {
	b := &blobs{ahead: 64}
	for size, want := range map[uint64]int{0: 64, 1: 64, 512 << 10: 64, 4 << 20: 16, maxChunk: 1, 1 << 60: 1} {
		if got := b.most([]store.Chunk{{Size: 1}, {Size: size}}); got != want {
			t.Errorf("%d chunks of %d bytes, want %d", got, size, want)
		}
	}
}

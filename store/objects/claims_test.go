package objects

import (
	"runtime"
	"testing"
)

// A size that a chunk or a list of chunks claims is not allocated unless the bytes could decode to that many.
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

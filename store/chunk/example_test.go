package chunk_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"

	"castar/store"
	"castar/store/chunk"
)

// A few bytes that are inserted near the start move everything after them, but most chunks stay the same.
func Example() {
	old := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(old)
	changed := slices.Insert(bytes.Clone(old), 100_000, []byte("a few more bytes")...)

	cutter, err := chunk.NewCutter(16 << 10)
	if err != nil {
		fmt.Println(err)
		return
	}
	seen := make(map[store.Digest]bool)
	for _, data := range [][]byte{old, changed} {
		pieces, shared := 0, 0
		for rest := data; len(rest) > 0; {
			n := cutter.Cut(rest)
			d := store.Sum(rest[:n])
			if seen[d] {
				shared++
			}
			seen[d] = true
			pieces++
			rest = rest[n:]
		}
		fmt.Printf("%d chunks, %d of them known\n", pieces, shared)
	}
	// Output:
	// 52 chunks, 0 of them known
	// 52 chunks, 51 of them known
}

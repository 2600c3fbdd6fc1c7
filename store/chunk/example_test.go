package chunk_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"

	"castar/store"
	"castar/store/chunk"
)

// A few bytes put in near the front move all that follows them, yet most chunks of the two inputs are the same.
func Example() {
	old := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(old)
	changed := slices.Insert(bytes.Clone(old), 100_000, []byte("a few more bytes")...)

	params, err := chunk.ParamsFor(16 << 10)
	if err != nil {
		fmt.Println(err)
		return
	}
	cutter, err := chunk.NewCutter(params)
	if err != nil {
		fmt.Println(err)
		return
	}
	seen := make(map[store.Digest]bool)
	for _, data := range [][]byte{old, changed} {
		pieces, shared := 0, 0
		s := chunk.NewSplitter(cutter, bytes.NewReader(data))
		for {
			piece, err := s.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				fmt.Println(err)
				return
			}
			pieces++
			d := store.Sum(piece)
			if seen[d] {
				shared++
			}
			seen[d] = true
		}
		fmt.Printf("%d chunks, %d of them known\n", pieces, shared)
	}
	// Output:
	// 52 chunks, 0 of them known
	// 52 chunks, 51 of them known
}

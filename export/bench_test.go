package export

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"castar/store"
)

// BenchmarkDir writes a tree with the shape of a kernel's sources from memory: 78 thousand files of 17 kB in 5 thousand
// directories. Use it with -benchtime 1x, and TMPDIR for the place.
func BenchmarkDir(b *testing.B) {
	f := newFake()
	root := f.put(b, "", sources(78000))
	st := trusting(f)
	for _, jobs := range []int{1, 2, 4, 8, 16} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dest := filepath.Join(b.TempDir(), "out")
				b.StartTimer()
				r, err := Dir(b.Context(), st, root, dest, Options{Jobs: jobs})
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				b.SetBytes(int64(r.Bytes))
				os.RemoveAll(dest)
				b.StartTimer()
			}
		})
	}
}

// trusting is f without hashing, whose time belongs to the store.
func trusting(f *fake) *store.Store {
	st := f.store()
	st.Blobs = trustingBlobs{fakeBlobs{f: f}}
	return st
}

// sources returns a tree of n files, about 15 in a directory.
func sources(n int) tree {
	r := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1<<20)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	root := tree{}
	for n > 0 {
		at := root
		for range 1 + r.IntN(6) {
			name := fmt.Sprintf("dir%d", r.IntN(8))
			if at[name] == nil {
				at[name] = tree{}
			}
			at = at[name].(tree)
		}
		for i := range min(n, 1+r.IntN(29)) {
			start := r.IntN(1 << 19)
			at[fmt.Sprintf("file%d-%d.c", n, i)] = string(data[start : start+int(r.ExpFloat64()*16600)%(1<<19)])
			n--
		}
	}
	return root
}

type trustingBlobs struct{ fakeBlobs }

func (b trustingBlobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	blob, err := b.fakeBlobs.Open(ctx, d)
	return trustingBlob{blob.(*fakeBlob)}, err
}

type trustingBlob struct{ *fakeBlob }

func (b trustingBlob) WriteTo(w io.Writer) (int64, error) { return b.Reader.WriteTo(w) }

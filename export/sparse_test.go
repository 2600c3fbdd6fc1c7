package export

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"castar/store"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// TestSparse writes files of zeros and other bytes in parts of random lengths, and compares the result.
func TestSparse(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(r *rapid.T) {
		var contents strings.Builder
		for range rapid.IntRange(0, 8).Draw(r, "runs") {
			n := rapid.OneOf(rapid.SampledFrom([]int{1, holeSize - 1, holeSize, holeSize + 1, 5 * holeSize}), rapid.IntRange(1, 20000)).Draw(r, "length")
			contents.WriteString(strings.Repeat(rapid.SampledFrom([]string{"\x00", "x"}).Draw(r, "byte"), n))
		}
		f := newFake()
		f.maxPiece = rapid.SampledFrom([]int{1 << 20, 100, 4096, 4097, 10000}).Draw(r, "piece")
		dest, err := os.MkdirTemp(dir, "")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(dest)
		plant(t, dest, tree{"f": "old"})
		root := f.put(t, "", tree{"f": contents.String(), "g": contents.String()})
		if _, err := Dir(t.Context(), f.store(), root, dest, Options{Sparse: true, Overwrite: true}); err != nil {
			r.Fatal(err)
		}
		for _, name := range []string{"f", "g"} {
			if got, err := os.ReadFile(filepath.Join(dest, name)); err != nil || string(got) != contents.String() {
				r.Fatalf("%s: %v, or the contents differ", name, err)
			}
		}
	})
}

// TestHoles writes zeros at the beginning, in the middle, at the end and alone. They take no room if Sparse is set.
func TestHoles(t *testing.T) {
	const long = 4 << 20
	zeros, data := strings.Repeat("\x00", long), strings.Repeat("x", 2*holeSize)
	contents := tree{"all": zeros, "begins": zeros + data, "ends": data + zeros, "middle": data + zeros + data, "block": zeros[:holeSize]}
	for _, sparse := range []bool{true, false} {
		for _, piece := range []int{256 << 10, 100_001} { // chunks end anywhere
			dest := filepath.Join(t.TempDir(), "out")
			f := newFake()
			f.maxPiece = piece
			if _, err := Dir(t.Context(), f.store(), f.put(t, "", contents), dest, Options{Sparse: sparse}); err != nil {
				t.Fatal(err)
			}
			for name, want := range contents {
				var st unix.Stat_t
				if err := unix.Stat(filepath.Join(dest, name), &st); err != nil || st.Size != int64(len(want.(string))) {
					t.Fatalf("%s: %d bytes, %v", name, st.Size, err)
				}
				if room := st.Blocks * 512; sparse && room > 8*holeSize || !sparse && room < st.Size {
					t.Errorf("sparse %v: %s has %d bytes and takes %d", sparse, name, st.Size, room)
				}
			}
		}
	}
}

// TestSparseIsChecked writes a blob of zeros with a wrong digest, which must fail even if all of it is a hole.
func TestSparseIsChecked(t *testing.T) {
	f := newFake()
	n := f.file("f", "12345678")
	f.blobs[n.Digest] = make([]byte, 8)
	dir := t.TempDir()
	_, err := Dir(t.Context(), f.store(), f.forge("", store.Directory{n}), filepath.Join(dir, "out"), Options{Sparse: true})
	if err == nil || !strings.Contains(err.Error(), "corrupt") {
		t.Errorf("error %v", err)
	}
	only(t, dir, 0)
}

func BenchmarkRuns(b *testing.B) {
	random := make([]byte, 1<<20)
	for i := range random {
		random[i] = byte(rand.Uint32())
	}
	for name, data := range map[string][]byte{"zeros": make([]byte, 1<<20), "random": random, "blocks": bytes.Repeat(append(make([]byte, holeSize), random[:holeSize]...), 128)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				for n := 0; n < len(data); {
					run, _ := runOf(data[n:], uint64(n))
					n += run
				}
			}
		})
	}
}

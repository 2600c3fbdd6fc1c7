package packed

import (
	"bytes"
	"math/rand"
	"testing"

	"castar/store"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// TestStored asserts that objects share out what their frames take, no more and no less.
func TestStored(t *testing.T) {
	ctx := t.Context()
	path := t.TempDir()
	st, err := Open(ctx, path, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, 3<<20)
	rand.New(rand.NewSource(1)).Read(random)
	var sizes []uint64
	var digests []store.Digest
	for _, data := range [][]byte{nil, []byte("short"), bytes.Repeat([]byte("text "), 10_000), random[:50_000], random} {
		d, err := st.Blobs.Put(ctx, data)
		if err != nil {
			t.Fatal(err)
		}
		digests, sizes = append(digests, d), append(sizes, uint64(len(data)))
	}
	dir, err := st.Directories.Put(ctx, store.Directory{{Name: "f", Kind: store.KindFile, Digest: digests[1], Size: 5}})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	stored := func(k store.Kind, d store.Digest) uint64 {
		n, err := st.Sizer.Stored(ctx, k, d)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	chunks, err := st.Blobs.Chunks(ctx, digests[4])
	if err != nil || len(chunks) < 2 {
		t.Fatal(len(chunks), err)
	}
	sum := stored(store.KindDirectory, dir)
	for _, d := range digests {
		sum += stored(store.KindFile, d)
	}
	for _, c := range chunks {
		n := stored(store.KindFile, c.Digest)
		if n < c.Size || n > c.Size+c.Size/50+pack.ItemLen {
			t.Errorf("a chunk of %d random bytes takes %d", c.Size, n)
		}
		sum += n
	}
	if n := stored(store.KindFile, digests[2]); n > sizes[2] {
		t.Errorf("text of %d bytes takes %d", sizes[2], n)
	}
	var frames uint64
	objects := uint64(len(digests) + len(chunks) + 1)
	for _, x := range *st.Barrier.(*live.Store).Indexes.Load() {
		for i := range x.Frames() {
			f, _ := x.Frame(i)
			frames += uint64(f.Stored)
		}
	}
	if want := frames + objects*pack.ItemLen; sum+objects < want || sum > want+objects {
		t.Errorf("objects take %d, frames %d", sum, want)
	}
	if _, err := st.Sizer.Stored(ctx, store.KindFile, dir); !store.IsNotFound(err) {
		t.Errorf("a directory as a blob: %v", err)
	}
	if d, err := st.Blobs.Put(ctx, []byte("pending")); err != nil || stored(store.KindFile, d) != pack.ItemLen+7 {
		t.Errorf("%v", err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
}

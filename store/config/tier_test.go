package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"castar/store"
	"castar/store/storetest"
	"castar/store/tier"
)

// A cache over packed stores keeps their lanes, groups and joins, and so does a store whose blobs and directories come
// from two.
func TestPartsOfPacked(t *testing.T) {
	open := func(t *testing.T, spec string) *store.Store {
		t.Helper()
		st, err := Open(t.Context(), spec, Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	cached := func(t *testing.T, through bool) *store.Store {
		near, far := filepath.Join(t.TempDir(), "near"), filepath.Join(t.TempDir(), "far")
		inner := open(t, far)
		defer inner.Close()
		st := open(t, fmt.Sprintf("cache:?near=%s&far=%s&write_through=%v", near, far, through))
		// See tier.New. What is read from a cache may lie in either store, so there is no saying that it can be cloned.
		storetest.Keeps(t, inner, st, "Clones", "Sizer", "NewSet", "Scrubber", "Sweeper", "Repairer")
		return st
	}
	if err := cached(t, false).Close(); err != nil {
		t.Error(err)
	}
	if !storetest.UnderRace { // store/tier and store/packed run the suite under it
		storetest.Run(t, func(t *testing.T) *store.Store { return cached(t, true) })
	}
	a, b := open(t, filepath.Join(t.TempDir(), "a")), open(t, filepath.Join(t.TempDir(), "b"))
	defer a.Close()
	defer b.Close()
	st := tier.Split(a, b)
	storetest.Keeps(t, a, st, "NewSet", "Scrubber", "Sweeper", "Repairer", "Barrier")
	data := []byte("new")
	d, err := st.Blobs.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := st.Directories.Put(t.Context(), store.Directory{{Name: "x", Kind: store.KindFile, Digest: d, Size: 3}})
	if err != nil {
		t.Fatal(err)
	}
	for of, k := range map[store.Digest]store.Kind{d: store.KindFile, dir: store.KindDirectory} {
		if n, err := st.Sizer.Stored(t.Context(), k, of); err != nil || n == 0 {
			t.Errorf("%v takes %d bytes: %v", k, n, err)
		}
	}
	for _, one := range []*store.Store{a, b} {
		if err := one.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	_, ofA := a.Meter.Added()
	_, ofB := b.Meter.Added()
	if contents, stored := st.Meter.Added(); contents != 3 || stored != ofA+ofB || ofA == 0 || ofB == 0 {
		t.Errorf("added %d bytes, stored as %d, want 3, stored as %d and %d", contents, stored, ofA, ofB)
	}
}

// A cache takes a blob by its chunks though only the far store has them.
func TestTakesChunksOfFar(t *testing.T) {
	near, far := filepath.Join(t.TempDir(), "near"), filepath.Join(t.TempDir(), "far")
	inner, err := Open(t.Context(), far, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	var chunks []store.Chunk
	var whole []byte
	for i := range 3 {
		data := bytes.Repeat([]byte{byte(i)}, 200_000)
		d, err := inner.Blobs.Put(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, data...)
		chunks = append(chunks, store.Chunk{Digest: d, Size: uint64(len(data))})
	}
	if err := errors.Join(inner.Sync(t.Context()), inner.Close()); err != nil {
		t.Fatal(err)
	}
	st, err := Open(t.Context(), fmt.Sprintf("cache:?near=%s&far=%s", near, far), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Takes.TakeList(t.Context(), store.Sum(whole), chunks); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(st.Sync(t.Context()), st.Close()); err != nil {
		t.Fatal(err)
	}
	kept, err := Open(t.Context(), near, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	blob, err := kept.Blobs.Open(t.Context(), store.Sum(whole))
	if err != nil {
		t.Fatal(err)
	}
	defer blob.Close()
	if got, err := io.ReadAll(blob); err != nil || !bytes.Equal(got, whole) {
		t.Errorf("read %d bytes of %d: %v", len(got), len(whole), err)
	}
}

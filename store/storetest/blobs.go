package storetest

import (
	"bytes"
	"context"
	"fmt"
	"testing"

	"castar/store"
)

// content is a blob that the tests store.
type content struct {
	name   string
	data   []byte
	digest string // known from elsewhere, or "" if only store.Sum knows it
}

// contents has the sizes around which stores change what they do: a BLAKE3 chunk of 1 KiB, the least and greatest size
// of a chunk of a blob, and that of several. Blobs A and B are fixtures of castore. The race detector is slow with many
// bytes and looks for other faults, so it gets a few of them.
func contents() []content {
	const kib = 1 << 10
	if UnderRace {
		return []content{
			{"no bytes", nil, ""},
			{"random, 1025 bytes", random(3, 1025), ""},
			{"random, 131073 bytes", random(6, 128*kib+1), ""},
			{"random, 1048583 bytes", random(10, 1024*kib+7), ""},
		}
	}
	list := []content{
		{"no bytes", nil, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"},
		{"blob A", []byte{0, 1}, "7b7015bb92cf0b318037702a6cdd81dee41224f734684c2c122cd6359cb1ee63"},
		{"blob B", blobB(), "a82c5154a7a0c262c6fdb929a317585646f8fbcf80326d0a7b8747edaf2d99d2"},
		{"zeros, 1 MiB", make([]byte, 1<<20), ""}, // chunks that are all the same
		{"text, 600 KiB", bytes.Repeat([]byte("a line like all the others\n"), 600<<10/27), ""},
	}
	for i, n := range []int{
		1, 1023, 1024, 1025, 128*kib - 1, 128 * kib, 128*kib + 1, 512*kib - 1, 512 * kib, 512*kib + 1, 1024*kib + 7,
	} {
		list = append(list, content{fmt.Sprintf("random, %d bytes", n), random(byte(i), n), ""})
	}
	return list
}

// andLong adds a blob that is longer than what stores gather before they write, or send at once.
func andLong(list []content) []content {
	return append(list, content{"random, 3 MiB", random(100, 3<<20+7), ""})
}

func blobB() []byte {
	b := make([]byte, 255)
	for i := range b {
		b[i] = byte(i)
	}
	return bytes.Repeat(b, 4096)
}

func blobChecks() []check {
	return []check{
		{"an absent blob is not found", func(t *testing.T, st *store.Store) {
			wantNoBlob(t, st, store.Sum([]byte("absent")))
			wantNoBlob(t, st, store.Digest{})
			put(t, st, []byte("present"))
			wantNoBlob(t, st, store.Sum([]byte("absent")))
		}},
		{"Put stores any content", putAny},
		{"Put twice is harmless", putTwice},
		{"Put does not keep its argument", putKeepsNothing},
		{"Create stores any content in any pieces", createAny},
		{"Commit twice returns the same", commitTwice},
		{"Close without Commit leaves nothing", closeUncommitted},
		{"Close may be called again", closeTwice},
		{"an ended writer takes nothing", writeAfterEnd},
		{"two writers do not mix", twoWriters},
		{"a blob and a directory of one digest are two things", blobIsNoDirectory},
		{"concurrent writers", concurrentBlobs},
		{"a cancelled context is not an answer", cancelledBlobs},
	}
}

func putAny(t *testing.T, st *store.Store) {
	list := andLong(contents())
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			d := put(t, st, c.data)
			if c.digest != "" && d.String() != c.digest {
				t.Errorf("digest %s, want %s", d, c.digest)
			}
			wantBlob(t, st, d, c.data)
		})
	}
	for _, c := range list { // later blobs changed nothing
		wantBlob(t, st, store.Sum(c.data), c.data)
	}
}

func putTwice(t *testing.T, st *store.Store) {
	for _, data := range [][]byte{nil, []byte("twice"), random(1, 700_000)} {
		put(t, st, data)
		put(t, st, data)
		wantBlob(t, st, store.Sum(data), data)
	}
}

func putKeepsNothing(t *testing.T, st *store.Store) {
	for _, n := range []int{5, 100_000, 700_000} {
		data := random(1, n)
		want := bytes.Clone(data)
		d := put(t, st, data)
		clear(data)
		wantBlob(t, st, d, want)
	}
}

// writeInPieces writes data in pieces of odd sizes, one of them 0, and clears each piece after it is written.
func writeInPieces(w store.BlobWriter, data []byte) error {
	piece := make([]byte, 300_000)
	sizes := []int{0, 1, 4095, 70_001, 13, 300_000}
	for i := 0; len(data) > 0; i++ {
		n := copy(piece[:sizes[i%len(sizes)]], data)
		if m, err := w.Write(piece[:n]); m != n || err != nil {
			return fmt.Errorf("write of %d bytes = %d, %v", n, m, err)
		}
		clear(piece[:n])
		data = data[n:]
	}
	return nil
}

// createBlob stores data by Create, Write, Commit and Close.
func createBlob(ctx context.Context, st *store.Store, data []byte) error {
	w, err := st.Blobs.Create(ctx)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer w.Close()
	if err := writeInPieces(w, data); err != nil {
		return err
	}
	d, err := w.Commit()
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	if want := store.Sum(data); d != want {
		return fmt.Errorf("commit returned %s, want %s", d, want)
	}
	return nil
}

func createAny(t *testing.T, st *store.Store) {
	list := contents()
	if !UnderRace { // under it, only Put gets the long one
		list = andLong(list)
	}
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			if err := createBlob(t.Context(), st, c.data); err != nil {
				t.Fatal(err)
			}
			wantBlob(t, st, store.Sum(c.data), c.data)
		})
	}
}

func commitTwice(t *testing.T, st *store.Store) {
	for _, n := range []int{0, 10, 700_000} {
		data := random(1, n)
		w := create(t, st)
		if err := writeInPieces(w, data); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if d, err := w.Commit(); d != store.Sum(data) || err != nil {
				t.Fatalf("Commit = %s, %v, want %s", d, err, store.Sum(data))
			}
		}
		if err := w.Close(); err != nil {
			t.Errorf("Close after Commit: %v", err)
		}
		wantBlob(t, st, store.Sum(data), data)
	}
}

func closeUncommitted(t *testing.T, st *store.Store) {
	for _, n := range []int{10, 200_000, 3 << 20} {
		if n > 1<<20 && UnderRace {
			continue
		}
		data := random(1, n)
		w := create(t, st)
		if err := writeInPieces(w, data); err != nil {
			t.Fatal(err)
		}
		wantNoBlob(t, st, store.Sum(data))
		if err := w.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		wantNoBlob(t, st, store.Sum(data))
		put(t, st, data)
		wantBlob(t, st, store.Sum(data), data)
	}
}

func closeTwice(t *testing.T, st *store.Store) {
	for _, commit := range []bool{false, true} {
		w := create(t, st)
		if err := writeInPieces(w, []byte("closed twice")); err != nil {
			t.Fatal(err)
		}
		if commit {
			if _, err := w.Commit(); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if err := w.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}
	wantBlob(t, st, store.Sum([]byte("closed twice")), []byte("closed twice"))
}

func writeAfterEnd(t *testing.T, st *store.Store) {
	committed := create(t, st)
	defer committed.Close()
	if err := writeInPieces(committed, []byte("whole")); err != nil {
		t.Fatal(err)
	}
	d, err := committed.Commit()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := committed.Write([]byte("more")); err == nil {
		t.Error("Write after Commit: no error")
	}
	if again, err := committed.Commit(); again != d || err != nil {
		t.Errorf("Commit after a refused Write = %s, %v, want %s", again, err, d)
	}
	wantBlob(t, st, d, []byte("whole"))

	closed := create(t, st)
	closed.Close()
	if _, err := closed.Write([]byte("more")); err == nil {
		t.Error("Write after Close: no error")
	}
	if _, err := closed.Commit(); err == nil {
		t.Error("Commit after Close: no error")
	}
}

func twoWriters(t *testing.T, st *store.Store) {
	a, b := random(1, 900_000), random(2, 900_000)
	wa, wb := create(t, st), create(t, st)
	defer wa.Close()
	defer wb.Close()
	for i := 0; i < len(a); i += 100_000 {
		if err := writeInPieces(wa, a[i:i+100_000]); err != nil {
			t.Fatal(err)
		}
		if err := writeInPieces(wb, b[i:i+100_000]); err != nil {
			t.Fatal(err)
		}
	}
	for _, w := range []store.BlobWriter{wb, wa} {
		if _, err := w.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	wantBlob(t, st, store.Sum(a), a)
	wantBlob(t, st, store.Sum(b), b)
}

func blobIsNoDirectory(t *testing.T, st *store.Store) {
	dirs := [2]store.Directory{
		{{Name: "a", Kind: store.KindSymlink, Target: "x"}},
		{{Name: "b", Kind: store.KindSymlink, Target: "x"}},
	}
	onlyBlob := put(t, st, encoding(t, dirs[0]))
	wantNoDirectory(t, st, onlyBlob)
	onlyDirectory := putDirectory(t, st, dirs[1])
	wantNoBlob(t, st, onlyDirectory)

	empty := put(t, st, nil)
	wantNoDirectory(t, st, empty)
	for _, dir := range []store.Directory{{}, dirs[0], dirs[1]} {
		d := putDirectory(t, st, dir)
		if blob := put(t, st, encoding(t, dir)); blob != d {
			t.Fatalf("blob %s and directory %s", blob, d)
		}
		wantDirectory(t, st, d, dir)
		wantBlob(t, st, d, encoding(t, dir))
	}
}

func concurrentBlobs(t *testing.T, st *store.Store) {
	shared := [][]byte{nil, []byte("same"), random(200, 150_000), random(201, 550_000)}
	ctx := t.Context()
	parallel(t, func(worker int) error {
		own := [][]byte{fmt.Appendf(nil, "own of %d", worker), random(byte(worker), 140_000)}
		for _, data := range append(own, shared...) {
			if _, err := st.Blobs.Put(ctx, data); err != nil {
				return err
			}
			if err := createBlob(ctx, st, data); err != nil {
				return err
			}
			if err := checkBlob(ctx, st, store.Sum(data), data); err != nil {
				return err
			}
		}
		return nil
	})
	for _, data := range shared {
		wantBlob(t, st, store.Sum(data), data)
	}
}

// cancelledBlobs allows a store to ignore its context. But an interrupted call must not say that a blob is absent.
func cancelledBlobs(t *testing.T, st *store.Store) {
	data := random(1, 700_000)
	d := put(t, st, data)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if has, err := st.Blobs.Has(ctx, d); err == nil && !has {
		t.Error("Has = false, nil")
	}
	if _, err := st.Blobs.Chunks(ctx, d); store.IsNotFound(err) {
		t.Errorf("Chunks: %v", err)
	}
	b, err := st.Blobs.Open(ctx, d)
	if store.IsNotFound(err) {
		t.Errorf("Open: %v", err)
	}
	if err == nil {
		b.Close()
	}
	other := []byte("put when cancelled")
	if got, err := st.Blobs.Put(ctx, other); err == nil && got != store.Sum(other) {
		t.Errorf("Put = %s, nil", got)
	}
	if w, err := st.Blobs.Create(ctx); err == nil {
		writeInPieces(w, data) // may fail, but must not panic
		if got, err := w.Commit(); err == nil && got != d {
			t.Errorf("Commit = %s, nil", got)
		}
		w.Close()
	}
	put(t, st, other)
	wantBlob(t, st, store.Sum(other), other)
	wantBlob(t, st, d, data)
}

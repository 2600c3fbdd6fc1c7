package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"castar/store"
)

func readChecks() []check {
	return []check{
		{"reads like any reader", likeAnyReader},
		{"Seek goes where it says", seekAnywhere},
		{"Seek past the end reads nothing", seekPastEnd},
		{"Seek before the start is refused", seekBeforeStart},
		{"WriteTo writes the rest", writeToRest},
		{"WriteTo returns the error of its writer", writeToBroken},
		{"two readers do not mix", twoReaders},
		{"an open blob stays while more is stored", openStays},
		{"Chunks make up the blob", chunksCover},
	}
}

// lengths returns blobs of the lengths that stores keep in different ways: long ones may be cut into chunks.
func lengths() []content {
	if UnderRace {
		return contents()
	}
	return []content{
		{"no bytes", nil, ""},
		{"1 byte", []byte{1}, ""},
		{"random, 1025 bytes", random(1, 1025), ""},
		{"random, 140000 bytes", random(2, 140_000), ""}, // one chunk or two
		{"blob B", blobB(), ""},
		{"random, 1 MiB", random(3, 1<<20+7), ""},
		{"zeros, 1 MiB", make([]byte, 1<<20), ""},
	}
}

func likeAnyReader(t *testing.T, st *store.Store) {
	for _, n := range []int{0, 1, 2, 3, 1023, 1024, 1025, 30_000} {
		data := random(1, n)
		b := openBlob(t, st, put(t, st, data))
		if err := iotest.TestReader(b, data); err != nil {
			t.Errorf("%d bytes: %.200s", n, err.Error())
		}
	}
}

func seekAnywhere(t *testing.T, st *store.Store) {
	for _, c := range lengths() {
		t.Run(c.name, func(t *testing.T) {
			b := openBlob(t, st, put(t, st, c.data))
			size := int64(len(c.data))
			rnd := rand.New(rand.NewPCG(1, 2))
			targets := []int64{0, min(5, size), min(12345, size), size, 0, size / 2, size}
			for range 30 {
				targets = append(targets, rnd.Int64N(size+1))
			}
			at := int64(0)
			for i, target := range targets {
				whence := i % 3
				offset := target - []int64{io.SeekStart: 0, io.SeekCurrent: at, io.SeekEnd: size}[whence]
				if pos, err := b.Seek(offset, whence); pos != target || err != nil {
					t.Fatalf("Seek(%d, %d) from %d = %d, %v, want %d", offset, whence, at, pos, err, target)
				}
				want := c.data[target:min(size, target+rnd.Int64N(100_000))]
				wantNext(t, b, want)
				at = target + int64(len(want))
			}
		})
	}
}

// wantNext reads len(want) bytes and compares them.
func wantNext(t *testing.T, b store.Blob, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(b, got); err != nil {
		t.Fatalf("Read: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("read %s, want %s", brief(got), brief(want))
	}
}

// seekPastEnd allows the two behaviours that castore's stores have: an error, and a position from which nothing can be read.
func seekPastEnd(t *testing.T, st *store.Store) {
	for _, n := range []int{0, 10, 600_000} {
		data := random(1, n)
		b := openBlob(t, st, put(t, st, data))
		for _, past := range []int64{1, 1 << 40} {
			if pos, err := b.Seek(int64(n)+past, io.SeekStart); err == nil {
				if pos != int64(n)+past {
					t.Errorf("%d bytes: Seek to %d returned %d", n, int64(n)+past, pos)
				}
				if m, err := b.Read(make([]byte, 10)); m != 0 || err == nil {
					t.Errorf("%d bytes: Read past the end = %d, %v", n, m, err)
				}
			}
			if _, err := b.Seek(0, io.SeekStart); err != nil {
				t.Fatalf("Seek back: %v", err)
			}
			wantNext(t, b, data)
		}
	}
}

func seekBeforeStart(t *testing.T, st *store.Store) {
	data := random(1, 700_000)
	b := openBlob(t, st, put(t, st, data))
	tests := []struct {
		offset int64
		whence int
	}{
		{-1, io.SeekStart}, {-1, io.SeekCurrent}, {-int64(len(data)) - 1, io.SeekEnd}, {0, 3}, {0, -1},
	}
	for _, tt := range tests {
		if _, err := b.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		if pos, err := b.Seek(tt.offset, tt.whence); err == nil {
			t.Errorf("Seek(%d, %d) = %d, want an error", tt.offset, tt.whence, pos)
		}
	}
	if _, err := b.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	wantNext(t, b, data)
}

func writeToRest(t *testing.T, st *store.Store) {
	list := lengths()
	if !UnderRace {
		list = andLong(list)
	}
	for _, c := range list {
		t.Run(c.name, func(t *testing.T) {
			b := openBlob(t, st, put(t, st, c.data))
			size := len(c.data)
			for _, from := range []int{0, size / 3, size, 0, min(size, 300_000)} {
				if _, err := b.Seek(int64(from), io.SeekStart); err != nil {
					t.Fatal(err)
				}
				wantRest(t, b, c.data[from:])
			}
			if _, err := b.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			wantNext(t, b, c.data[:size/2])
			wantRest(t, b, c.data[size/2:])
		})
	}
}

// wantRest compares the rest of the blob, as WriteTo writes it, and checks that nothing follows.
func wantRest(t *testing.T, b store.Blob, want []byte) {
	t.Helper()
	m := matcher{rest: want}
	if n, err := b.WriteTo(&m); n != int64(len(want)) || err != nil {
		t.Fatalf("WriteTo = %d, %v, want %d", n, err, len(want))
	}
	if len(m.rest) > 0 {
		t.Fatalf("WriteTo left out %d bytes of %d", len(m.rest), len(want))
	}
	if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("Read after WriteTo = %d, %v, want EOF", n, err)
	}
}

// brokenWriter takes some bytes and then no more.
type brokenWriter struct{ room int }

var errFull = errors.New("full")

func (w *brokenWriter) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.room -= n
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func writeToBroken(t *testing.T, st *store.Store) {
	for _, n := range []int{10, 900_000} {
		d := put(t, st, random(1, n))
		for _, room := range []int{0, 1, n / 2, n - 1} {
			b := openBlob(t, st, d)
			if m, err := b.WriteTo(&brokenWriter{room}); m != int64(room) || !errors.Is(err, errFull) {
				t.Errorf("WriteTo to a writer of %d bytes = %d, %v, want %d, %v", room, m, err, room, errFull)
			}
		}
	}
}

func twoReaders(t *testing.T, st *store.Store) {
	data := random(1, 900_000)
	d := put(t, st, data)
	a, b := openBlob(t, st, d), openBlob(t, st, d)
	half := len(data) / 2
	wantNext(t, a, data[:half])
	wantNext(t, b, data[:100])
	wantNext(t, a, data[half:])
	wantRest(t, b, data[100:])

	parallel(t, func(int) error { return checkBlob(t.Context(), st, d, data) })
}

func openStays(t *testing.T, st *store.Store) {
	data := random(1, 1<<20)
	b := openBlob(t, st, put(t, st, data))
	wantNext(t, b, data[:1000])
	for i := range 10 {
		put(t, st, random(byte(10+i), 100_000))
	}
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRest(t, b, data[1000:])
}

func chunksCover(t *testing.T, st *store.Store) {
	for _, c := range contents() {
		t.Run(c.name, func(t *testing.T) {
			d := put(t, st, c.data)
			chunks, err := st.Blobs.Chunks(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			rest := c.data
			for i, chunk := range chunks {
				if chunk.Size == 0 || chunk.Size > uint64(len(rest)) {
					t.Fatalf("chunk %d of %d bytes, but only %d remain", i, chunk.Size, len(rest))
				}
				if err := checkChunk(t, st, chunk, rest[:chunk.Size]); err != nil {
					t.Fatalf("chunk %d: %v", i, err)
				}
				rest = rest[chunk.Size:]
			}
			if len(chunks) > 0 && len(rest) > 0 {
				t.Errorf("the chunks lack %d bytes", len(rest))
			}
		})
	}
}

// checkChunk returns an error unless a chunk is a blob of its own, named by its bytes and stored whole.
func checkChunk(t *testing.T, st *store.Store, chunk store.Chunk, data []byte) error {
	if chunk.Digest != store.Sum(data) {
		return fmt.Errorf("digest %s, want %s", chunk.Digest, store.Sum(data))
	}
	if more, err := st.Blobs.Chunks(t.Context(), chunk.Digest); len(more) > 0 || err != nil {
		return fmt.Errorf("chunks of a chunk: %d, %v", len(more), err)
	}
	return checkBlob(t.Context(), st, chunk.Digest, data)
}

package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"castar/store"
	"castar/store/zstd"
)

func groupChecks() []check {
	return []check{
		{"PutGroup stores blobs", putGroups},
		{"PutGroup stores a group when the store has some of its blobs", putGroupAgain},
		{"PutGroup does not keep its arguments", putGroupKeepsNothing},
		{"PutGroup takes no sizes but those of the blobs", putGroupWrong},
		{"concurrent groups", concurrentGroups},
		{"Group returns what a blob is compressed with", groupOf},
		{"Group knows what is in no group", noGroup},
		{"Group uses no memory again before Release", groupsHeld},
	}
}

// blobGroup has the arguments of PutGroup.
type blobGroup struct {
	raw   []byte
	sizes []int
	frame []byte
}

func group(t *testing.T, blobs ...[]byte) (g blobGroup) {
	t.Helper()
	for _, data := range blobs {
		g.raw = append(g.raw, data...)
		g.sizes = append(g.sizes, len(data))
	}
	enc, err := zstd.NewEncoder(1, zstd.Fast)
	if err == nil {
		g.frame, err = enc.Append(nil, g.raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (g blobGroup) put(t *testing.T, st *store.Store) error {
	digests, err := st.Groups.PutGroup(t.Context(), g.raw, g.sizes, g.frame)
	if err != nil {
		return err
	}
	rest := g.raw
	for i, n := range g.sizes {
		if i >= len(digests) || digests[i] != store.Sum(rest[:n]) {
			return fmt.Errorf("blob %d of %d has the wrong digest", i, len(g.sizes))
		}
		rest = rest[n:]
	}
	if len(digests) != len(g.sizes) {
		return fmt.Errorf("%d digests of %d blobs", len(digests), len(g.sizes))
	}
	return nil
}

// texts returns blobs that compress well, n bytes in all. No two begin alike.
func texts(seed, n int) (blobs [][]byte) {
	for total := 0; total < n; total += len(blobs[len(blobs)-1]) {
		size := []int{100, 30_000, 3, 200_000, 7_000}[len(blobs)%5]
		line := fmt.Sprintf(" of %d in %d, and then all the rest of the line, which is the same in each\n", len(blobs), seed)
		var b []byte
		for i := 0; len(b) < size; i++ {
			b = append(strconv.AppendInt(b, int64(i), 10), line...)
		}
		blobs = append(blobs, b)
	}
	return blobs
}

func putGroups(t *testing.T, st *store.Store) {
	for i, blobs := range [][][]byte{
		{nil},
		{[]byte("one")},
		texts(1, 100_000),
		append(texts(3, 600_000), nil, random(1, 300_000), bytes.Repeat([]byte("long\n"), 300_000)),
		texts(4, Sample(4<<20, 1<<20)),
		{random(2, 1<<20), random(3, 900_000)},
	} {
		if err := group(t, blobs...).put(t, st); err != nil {
			t.Fatalf("group %d: %v", i, err)
		}
		for round := range 2 { // first from memory, then after Sync
			for _, data := range blobs {
				wantBlob(t, st, store.Sum(data), data)
			}
			if err := st.Sync(t.Context()); err != nil {
				t.Fatalf("group %d, round %d: %v", i, round, err)
			}
		}
	}
}

func putGroupAgain(t *testing.T, st *store.Store) {
	blobs := texts(1, 1<<20)
	put(t, st, blobs[3])
	for _, g := range []blobGroup{
		group(t, blobs...), group(t, blobs...), // the store has one of them, and then all
		group(t, append(blobs, texts(2, 1<<20)...)...),
		group(t, append(texts(3, 1<<20), texts(3, 1<<20)...)...), // each comes twice
	} {
		if err := g.put(t, st); err != nil {
			t.Fatal(err)
		}
	}
	for _, data := range slices.Concat(blobs, texts(2, 1<<20), texts(3, 1<<20)) {
		wantBlob(t, st, store.Sum(data), data)
	}
}

func putGroupKeepsNothing(t *testing.T, st *store.Store) {
	blobs := texts(1, 1<<20)
	g := group(t, blobs...)
	if err := g.put(t, st); err != nil {
		t.Fatal(err)
	}
	clear(g.raw)
	clear(g.frame)
	clear(g.sizes)
	for _, data := range blobs {
		wantBlob(t, st, store.Sum(data), data)
	}
}

func putGroupWrong(t *testing.T, st *store.Store) {
	good := group(t, texts(1, 1<<20)...)
	for _, sizes := range [][]int{nil, {1}, append(good.sizes[1:], 1<<40), append([]int{-1, 1}, good.sizes...), append(good.sizes, 1)} {
		if _, err := st.Groups.PutGroup(t.Context(), good.raw, sizes, good.frame); err == nil {
			t.Errorf("%d sizes, want those of %d blobs: no error", len(sizes), len(good.sizes))
		}
	}
	wantNoBlob(t, st, store.Sum(good.raw[:1]))
}

func concurrentGroups(t *testing.T, st *store.Store) {
	shared := group(t, texts(99, 1<<20)...)
	parallel(t, func(worker int) error {
		for i, g := range []blobGroup{shared, group(t, texts(worker, 600_000)...)} {
			if err := g.put(t, st); err != nil {
				return fmt.Errorf("group %d: %w", i, err)
			}
		}
		return st.Sync(t.Context())
	})
	for _, seed := range []int{99, 0, 1} {
		for _, data := range texts(seed, 600_000) {
			wantBlob(t, st, store.Sum(data), data)
		}
	}
}

// wantGroup checks that d is in a group, and the digests of all members.
func wantGroup(t *testing.T, st *store.Store, d store.Digest) {
	t.Helper()
	g, err := st.Groups.Group(t.Context(), d)
	if err != nil {
		t.Errorf("%s: %v", d, err)
		return
	}
	total := uint64(0)
	for i := range g.Members {
		total += g.Members[i].Size
	}
	raw := g.Plain
	if g.Frame != nil {
		dec, err := zstd.NewDecoder(1)
		if err != nil {
			t.Fatal(err)
		}
		raw = make([]byte, total)
		if err := dec.Decode(raw, g.Frame); err != nil {
			t.Errorf("%s: %v", d, err)
			return
		}
	}
	if uint64(len(raw)) != total {
		t.Errorf("%s: the group has %d bytes, want %d", d, len(raw), total)
		return
	}
	found := false
	for i := range g.Members {
		m := &g.Members[i]
		found = found || m.Digest == d
		if store.Sum(raw[:m.Size]) != m.Digest {
			t.Errorf("%s: member %d has the wrong digest", d, i)
		}
		raw = raw[m.Size:]
	}
	if !found {
		t.Errorf("%s is not in its group", d)
	}
}

func groupOf(t *testing.T, st *store.Store) {
	blobs := append(texts(1, 300_000), nil, random(1, 100_000), random(2, 10))
	for _, data := range blobs {
		put(t, st, data)
	}
	sent := texts(2, 1<<20)
	if err := group(t, sent...).put(t, st); err != nil {
		t.Fatal(err)
	}
	long := put(t, st, bytes.Repeat(random(3, 100_000), 20))
	chunks, err := st.Blobs.Chunks(t.Context(), long)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // first from memory, then after Sync
		for _, data := range slices.Concat(blobs, sent) {
			if parts, err := st.Blobs.Chunks(t.Context(), store.Sum(data)); err != nil || len(parts) == 0 {
				wantGroup(t, st, store.Sum(data))
			}
		}
		for _, c := range chunks {
			wantGroup(t, st, c.Digest)
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func noGroup(t *testing.T, st *store.Store) {
	blobs := st.Groups
	put(t, st, []byte("another"))
	if _, err := blobs.Group(t.Context(), store.Sum([]byte("absent"))); !store.IsNotFound(err) {
		t.Errorf("an absent blob: %v, want that it is not found", err)
	}
	long := put(t, st, random(1, 3<<20))
	if chunks, err := st.Blobs.Chunks(t.Context(), long); err != nil || len(chunks) < 2 {
		t.Fatalf("%d chunks, %v", len(chunks), err)
	}
	for range 2 {
		if _, err := blobs.Group(t.Context(), long); !errors.Is(err, store.ErrUnsupported) {
			t.Errorf("a blob of several chunks: %v, want that it is not supported", err)
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func groupsHeld(t *testing.T, st *store.Store) {
	var held []store.Group
	var frames [][]byte
	for seed := range 4 {
		sent := texts(seed, 600_000+50_000*seed)
		if err := group(t, sent...).put(t, st); err != nil {
			t.Fatal(err)
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		g, err := st.Groups.Group(t.Context(), store.Sum(sent[0]))
		if err != nil {
			t.Fatal(err)
		}
		held, frames = append(held, g), append(frames, slices.Concat(g.Frame, g.Plain))
		if seed == 1 && held[0].Release != nil {
			held[0].Release()
			held, frames = held[1:], frames[1:]
		}
	}
	for i, g := range held {
		if !bytes.Equal(slices.Concat(g.Frame, g.Plain), frames[i]) {
			t.Errorf("group %d of %d has changed", i, len(held))
		}
	}
}

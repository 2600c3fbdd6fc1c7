package storetest

import (
	"bytes"
	"slices"
	"testing"

	"castar/store"
)

func takeChecks() []check {
	return []check{
		{"TakeGroup keeps a group as it is", takenGroup},
		{"TakeGroup leaves alone a group that the store has a part of", takenPart},
		{"TakeList stores what chunks make up", takenList},
	}
}

// take has the store take blobs, as they are compressed in g.
func take(t *testing.T, st *store.Store, g blobGroup, blobs [][]byte) bool {
	t.Helper()
	taken, err := st.Takes.TakeGroup(t.Context(), store.Group{Members: listed(blobs...), Frame: g.frame}, g.raw)
	if err != nil {
		t.Fatal(err)
	}
	return taken
}

func takenGroup(t *testing.T, st *store.Store) {
	for seed := range 3 {
		blobs := texts(seed, 1<<20)
		g := group(t, blobs...)
		if !take(t, st, g, blobs) {
			t.Fatalf("group %d is not taken", seed)
		}
		frame := slices.Clone(g.frame)
		clear(g.raw)
		clear(g.frame)
		for range 2 { // first from memory, then after Sync
			for _, data := range blobs {
				wantBlob(t, st, store.Sum(data), data)
			}
			if err := st.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if st.Groups == nil {
			continue
		}
		if kept, err := st.Groups.Group(t.Context(), store.Sum(blobs[0])); err != nil || !bytes.Equal(kept.Frame, frame) {
			t.Errorf("group %d: its frame has become another: %v", seed, err)
		}
	}
}

func takenPart(t *testing.T, st *store.Store) {
	blobs := texts(1, 1<<20)
	put(t, st, blobs[2])
	if take(t, st, group(t, blobs...), blobs) {
		t.Error("taken")
	}
	wantNoBlob(t, st, store.Sum(blobs[1]))
	twice := slices.Concat(texts(2, 600_000), texts(2, 600_000))
	if take(t, st, group(t, twice...), twice) {
		t.Error("a group with each blob twice is taken")
	}
}

func takenList(t *testing.T, st *store.Store) {
	data := random(1, 1<<20)
	chunks := pieces(t, st.Takes.ChunkSize(), data)
	for _, c := range chunks {
		put(t, st, c)
	}
	for range 2 {
		if err := st.Takes.TakeList(t.Context(), store.Sum(data), listed(chunks...)); err != nil {
			t.Fatal(err)
		}
		wantBlob(t, st, store.Sum(data), data)
	}
	absent := random(2, 100_000)
	err := st.Takes.TakeList(t.Context(), store.Sum(slices.Concat(chunks[0], absent)), listed(chunks[0], absent))
	if err == nil {
		err = st.Sync(t.Context()) // at the latest
	}
	if !store.IsNotFound(err) {
		t.Errorf("a chunk is missing: %v, want that it is not found", err)
	}
}

package storetest

import (
	"slices"
	"testing"

	"castar/store"
)

func remoteChecks() []check {
	return []check{
		{"HasAll answers for each, in order", remoteHasAll},
		{"HasAll of nothing", func(t *testing.T, st *store.Store) { wantHasAll(t, st, nil, nil) }},
	}
}

// remoteHasAll asks for more than one call about blobs, some of which were put just before.
func remoteHasAll(t *testing.T, st *store.Store) {
	var ds []store.Digest
	var want []bool
	for i := range 10_000 {
		data := []byte{byte(i), byte(i >> 8), 'x'}
		there := i%1000 == 7
		if there {
			put(t, st, data)
		}
		ds, want = append(ds, store.Sum(data)), append(want, there)
	}
	ds, want = append(ds, ds[7], ds[8]), append(want, true, false) // asked twice
	wantHasAll(t, st, ds, want)
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantHasAll(t, st, ds, want)
}

func wantHasAll(t *testing.T, st *store.Store, ds []store.Digest, want []bool) {
	t.Helper()
	if got, err := st.RemoteBlobs.HasAll(t.Context(), ds); err != nil || !slices.Equal(got, want) {
		t.Errorf("HasAll of %d blobs: %d answers, error %v; they are not the right ones", len(ds), len(got), err)
	}
}

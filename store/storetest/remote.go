package storetest

import (
	"errors"
	"slices"
	"testing"

	"castar/store"
)

func remoteChecks() []check {
	return []check{
		{"HasAll answers for each, in order", remoteHasAll},
		{"Group has the blob, or there is none", remoteGroup},
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

func remoteGroup(t *testing.T, st *store.Store) {
	d := put(t, st, []byte("in a group, or not"))
	if err := st.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	g, err := st.RemoteBlobs.Group(t.Context(), d)
	has := slices.ContainsFunc(g.Members, func(c store.Chunk) bool { return c.Digest == d })
	if err == nil && !has || err != nil && !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("a group with the blob %t, error %v", has, err)
	}
	g, err = st.RemoteBlobs.Group(t.Context(), store.Sum([]byte("nowhere")))
	if !errors.Is(err, store.ErrUnsupported) && !store.IsNotFound(err) {
		t.Errorf("what is not there: a group of %d, error %v", len(g.Members), err)
	}
}

package storetest

import (
	"fmt"
	"testing"

	"castar/store"
)

// RunReopen checks what a store in a directory keeps when it is closed and opened again. open opens the store in dir, and
// makes it if there is none; dir is empty the first time. RunReopen closes the stores that open returns.
func RunReopen(t *testing.T, open func(t *testing.T, dir string) *store.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, reopen func() *store.Store)
	}{
		{"what was synced is there", reopenSynced},
		{"the ID stays", reopenID},
		{"more may follow", reopenMore},
		{"what was not synced is whole or absent", reopenUnsynced},
		{"a writer that was left open leaves nothing", reopenOpenWriter},
		{"tags and log need no sync", reopenTags},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			var last *store.Store
			closeLast := func() {
				if last == nil {
					return
				}
				if err := last.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
				last = nil
			}
			defer closeLast()
			tt.run(t, func() *store.Store {
				t.Helper()
				closeLast()
				last = open(t, dir)
				return last
			})
		})
	}
}

func syncStore(t *testing.T, st *store.Store) {
	t.Helper()
	if err := st.Sync(t.Context()); err != nil {
		t.Fatalf("Sync: %v", err)
	}
}

func reopenSynced(t *testing.T, reopen func() *store.Store) {
	blobs, dirs, trees := contents(), validDirectories(), closures(t)
	st := reopen()
	for i, c := range blobs {
		if i%2 == 0 {
			put(t, st, c.data)
		} else if err := createBlob(t.Context(), st, c.data); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range dirs {
		putDirectory(t, st, d.dir)
	}
	for _, c := range trees {
		if err := c.upload(t.Context(), st); err != nil {
			t.Fatal(err)
		}
	}
	syncStore(t, st)
	for range 2 { // the second time, after it was opened and not changed
		st = reopen()
		for _, c := range blobs {
			wantBlob(t, st, store.Sum(c.data), c.data)
		}
		for _, d := range dirs {
			wantDirectory(t, st, store.Sum(encoding(t, d.dir)), d.dir)
		}
		for _, c := range trees {
			wantWalk(t, st, c)
		}
		wantNoBlob(t, st, store.Sum([]byte("absent")))
		wantNoDirectory(t, st, store.Sum([]byte("absent")))
		if st.Lister != nil && len(list(t, st, store.Digest{}, 0)) < len(blobs)+len(dirs) {
			t.Error("List leaves something out")
		}
	}
}

func reopenID(t *testing.T, reopen func() *store.Store) {
	id := reopen().ID
	for range 2 {
		st := reopen()
		if st.ID != id {
			t.Errorf("ID %q, was %q", st.ID, id)
		}
		put(t, st, []byte("more"))
		syncStore(t, st)
	}
}

func reopenMore(t *testing.T, reopen func() *store.Store) {
	blob := func(i int) []byte { return fmt.Appendf(nil, "blob %d", i) }
	dir := func(i int) store.Directory {
		return store.Directory{{Name: fmt.Sprintf("entry %d", i), Kind: store.KindFile}}
	}
	for i := range 12 {
		st := reopen()
		for j := range i {
			wantBlob(t, st, store.Sum(blob(j)), blob(j))
			wantDirectory(t, st, store.Sum(encoding(t, dir(j))), dir(j))
		}
		put(t, st, blob(i))
		put(t, st, blob(0)) // again, or as the first
		putDirectory(t, st, dir(i))
		syncStore(t, st)
	}
}

func reopenUnsynced(t *testing.T, reopen func() *store.Store) {
	blobs := contents()
	st := reopen()
	for _, c := range blobs {
		put(t, st, c.data)
	}
	dir := store.Directory{{Name: "a", Kind: store.KindFile}}
	d := putDirectory(t, st, dir)

	st = reopen()
	for _, c := range blobs {
		has, err := st.Blobs.Has(t.Context(), store.Sum(c.data))
		if err != nil {
			t.Fatal(err)
		}
		if has {
			wantBlob(t, st, store.Sum(c.data), c.data)
		}
		put(t, st, c.data)
		wantBlob(t, st, store.Sum(c.data), c.data)
	}
	if err := checkDirectory(t.Context(), st, d, dir); err != nil && !store.IsNotFound(err) {
		t.Error(err)
	}
	putDirectory(t, st, dir)
	wantDirectory(t, st, d, dir)
}

func reopenOpenWriter(t *testing.T, reopen func() *store.Store) {
	data := random(1, 3<<20)
	st := reopen()
	w := create(t, st)
	if err := writeInPieces(w, data); err != nil {
		t.Fatal(err)
	}
	syncStore(t, st)
	reopened := reopen()
	w.Close() // may fail, because its store is closed, but must not panic
	wantNoBlob(t, reopened, store.Sum(data))
	put(t, reopened, data)
	wantBlob(t, reopened, store.Sum(data), data)
}

func reopenTags(t *testing.T, reopen func() *store.Store) {
	st := reopen()
	if st.Tags == nil {
		t.Skip("this kind of store does not have it")
	}
	var log []store.Tag
	for range 2 {
		for _, tag := range tags() {
			setTag(t, st, tag)
			if err := st.Tags.Record(t.Context(), tag); err != nil {
				t.Fatal(err)
			}
			log = append(log, tag)
		}
		st = reopen()
		wantTags(t, collect(t, st.Tags.All(t.Context())), sorted(tags()))
		wantTags(t, collect(t, st.Tags.Log(t.Context())), log)
	}
	gone := tags()[0]
	if err := st.Tags.Delete(t.Context(), gone.Name); err != nil {
		t.Fatal(err)
	}
	moved := tags()[1]
	moved.Root = store.Node{Kind: store.KindSymlink, Target: "moved"}
	setTag(t, st, moved)

	st = reopen()
	wantNoTag(t, st, gone.Name)
	wantTag(t, st, moved)
	wantTags(t, collect(t, st.Tags.Log(t.Context())), log)
}

package ingest_test

import (
	"os"
	"path/filepath"
	"testing"

	"castar/ingest"
	"castar/store"
	"castar/store/memory"
)

// TestHash checks that Hash returns the tree that FS stores.
func TestHash(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"a/b/c", "a/d", "e"} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	st := memory.New()
	want, err := ingest.FS(t.Context(), st, root, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got, ds, err := ingest.Hash(t.Context(), root, ingest.Options{})
	if err != nil || got.Root != want.Root || got.Counts != want.Counts {
		t.Fatalf("got %+v, %v, want %+v", got, err, want)
	}
	n := 0
	for dir, err := range ds.Walk(t.Context(), got.Root.Digest) {
		if err != nil {
			t.Fatal(err)
		}
		if stored, err := st.Directories.Get(t.Context(), dir.Digest); err != nil || len(stored) != len(dir.Directory) {
			t.Errorf("%v: %v", dir, err)
		}
		n++
	}
	if n != 3 {
		t.Errorf("%d directories", n)
	}
	if _, err := ds.Get(t.Context(), store.Sum(nil)); !store.IsNotFound(err) {
		t.Error(err)
	}
}

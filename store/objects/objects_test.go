package objects

import (
	"testing"

	"castar/store"
	"castar/store/storetest"
)

func openBucket(t *testing.T, b Bucket, o Options) *store.Store {
	t.Helper()
	st, err := Open(t.Context(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestMemory(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, NewMemory(), Options{}) })
}

func openFolder(t *testing.T, dir string) Bucket {
	t.Helper()
	b, err := OpenFile(dir, true)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestFile(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, openFolder(t, t.TempDir()), Options{}) })
}

func TestFileReopen(t *testing.T) {
	t.Parallel()
	storetest.RunReopen(t, func(t *testing.T, dir string) *store.Store {
		return openBucket(t, openFolder(t, dir), Options{ID: dir})
	})
}

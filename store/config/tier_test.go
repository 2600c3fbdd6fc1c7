package config

import (
	"fmt"
	"path/filepath"
	"testing"

	"castar/store"
	"castar/store/storetest"
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
		storetest.Keeps(t, inner, st)
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
	storetest.Keeps(t, a, combine(a, b))
}

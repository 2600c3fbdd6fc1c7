package packed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
)

// openStore is open for the Store itself.
func openStore(t *testing.T, dir string, o Options) *live.Store {
	t.Helper()
	fsys, err := durable.Dir(dir)
	if err != nil {
		t.Fatal(err)
	}
	st, err := openFS(t.Context(), fsys, o)
	if err != nil {
		t.Fatal(err)
	}
	st.CloseFS = fsys.Close
	t.Cleanup(func() { st.Close() })
	return st
}

// What one handle commits, another that was opened before has at once, however it is asked, through merges of indexes
// too; and before that it has nothing.
func TestSeeOthersCommits(t *testing.T) {
	for _, readOnly := range []bool{true, false} {
		t.Run(fmt.Sprintf("read-only %v", readOnly), func(t *testing.T) {
			dir := t.TempDir()
			other := open(t, dir, Options{Create: true})
			mine := openStore(t, dir, Options{ReadOnly: readOnly})
			mine.Limits.Look = 0
			st := mine.Bundle()
			for i := range 20 {
				data, node := fmt.Appendf(nil, "blob %d", i), store.Directory{{Kind: store.KindFile, Name: fmt.Sprint(i)}}
				if i%5 == 0 {
					data = random(byte(i), 700<<10) // several chunks
				}
				b, err := store.EncodeDirectory(node)
				if err != nil {
					t.Fatal(err)
				}
				blob, directory := store.Sum(data), store.Sum(b)
				look := map[string]func() error{
					"Open":   func() error { _, err := readAll(t.Context(), st, blob); return err },
					"Chunks": func() error { _, err := st.Blobs.Chunks(t.Context(), blob); return err },
					"Get":    func() error { _, err := st.Directories.Get(t.Context(), directory); return err },
					"Has": func() error {
						has, err := st.Blobs.Has(t.Context(), blob)
						if err == nil && !has {
							err = store.ErrNotFound
						}
						return err
					},
					"Walk": func() error {
						for _, err := range st.Directories.Walk(t.Context(), directory) {
							return err
						}
						return nil
					},
				}
				for name, f := range look {
					if err := f(); !store.IsNotFound(err) {
						t.Fatalf("%d: %s before: %v", i, name, err)
					}
				}
				_, err = other.Blobs.Put(t.Context(), data)
				if err == nil {
					_, err = other.Directories.Put(t.Context(), node)
				}
				if err = errors.Join(err, other.Sync(t.Context())); err != nil {
					t.Fatal(err)
				}
				for name, f := range look { // any of them may be the first
					if err := f(); err != nil {
						t.Fatalf("%d: %s: %v", i, name, err)
					}
				}
				if got, err := readAll(t.Context(), st, blob); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("%d: %d bytes, %v", i, len(got), err)
				}
			}
			if n := len(mine.Retired); n > 40 {
				t.Errorf("%d indexes are kept that were replaced", n)
			}
		})
	}
}

// countingFS counts looks into the folder of indexes.
type countingFS struct {
	durable.FS
	looks int
}

func (c *countingFS) ReadDir(name string) ([]os.DirEntry, error) {
	if name == index.Dir {
		c.looks++
	}
	return c.FS.ReadDir(name)
}

// overtakenFS lets something happen before an index is opened for the first time.
type overtakenFS struct {
	durable.FS
	before func()
}

func (o *overtakenFS) Open(name string) (durable.File, error) {
	if filepath.Ext(name) == index.Ext && o.before != nil {
		before := o.before
		o.before = nil
		before()
	}
	return o.FS.Open(name)
}

// A commit is one even if another process merges its index, and removes it, before it is opened.
func TestCommitOvertaken(t *testing.T) {
	dir := t.TempDir()
	st, other := openStore(t, dir, Options{Create: true}), open(t, dir, Options{})
	put := func(st *store.Store, text string) store.Digest {
		d, err := st.Blobs.Put(t.Context(), []byte(text))
		if err = errors.Join(err, st.Sync(t.Context())); err != nil {
			t.Error(err)
		}
		return d
	}
	var theirs store.Digest
	st.Fs = &overtakenFS{FS: st.Fs, before: func() {
		other.Blobs.Open(t.Context(), store.Digest{}) // makes it look
		theirs = put(other, "theirs")
	}}
	ours := put(st.Bundle(), "ours")
	if theirs == (store.Digest{}) {
		t.Fatal("no index was opened")
	}
	if entries, err := os.ReadDir(filepath.Join(dir, index.Dir)); err != nil || len(entries) != 1 {
		t.Fatalf("%d indexes, %v; the other was to merge them", len(entries), err)
	}
	for _, d := range []store.Digest{ours, theirs} {
		if _, err := readAll(t.Context(), st.Bundle(), d); err != nil {
			t.Error(err)
		}
	}
}

// Has, which an ingest calls for each new file, does not look each time. What a store has costs no look at all, nor does
// a look lead to more than itself where there is nothing new, be there files that are of no use.
func TestLooks(t *testing.T) {
	dir := t.TempDir()
	st := openStore(t, dir, Options{Create: true})
	d, err := st.Bundle().Blobs.Put(t.Context(), []byte("x"))
	if err = errors.Join(err, st.Sync(t.Context()), os.WriteFile(filepath.Join(dir, index.Dir, ".nfs0001"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	counting := &countingFS{FS: st.Fs}
	st.Fs = counting
	st.Refresh() // passes the useless file over
	has := func(n int, d store.Digest) (looks int) {
		before := counting.looks
		for range n {
			if _, err := st.Blobs().Has(context.Background(), d); err != nil {
				t.Fatal(err)
			}
		}
		return counting.looks - before
	}
	absent := store.Sum([]byte("absent"))
	st.Limits.Look = 1 << 62
	if n := has(1000, absent); n != 0 {
		t.Errorf("%d looks for what is absent, before it is time for one", n)
	}
	st.Limits.Look = 0
	if n := has(100, d); n != 0 {
		t.Errorf("%d looks for what is there", n)
	}
	if n := has(100, absent); n != 100 {
		t.Errorf("%d looks for what is absent 100 times, want one each", n)
	}
	if n := len(*st.Indexes.Load()); n != 1 || len(st.Retired) > 0 {
		t.Errorf("%d indexes, %d replaced, where nothing changed", n, len(st.Retired))
	}
}

// A set is of the indexes of its time: what is committed and seen later does not keep it from being looked at.
func TestScrubAfterRefresh(t *testing.T) {
	dir := t.TempDir()
	other := open(t, dir, Options{Create: true})
	st := open(t, dir, Options{ReadOnly: true})
	put := func(data string) store.Digest {
		d, err := other.Blobs.Put(t.Context(), []byte(data))
		if err = errors.Join(err, other.Sync(t.Context())); err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := put("first")
	set := st.NewSet()
	if _, err := set.Add(store.KindFile, first); err != nil {
		t.Fatal(err)
	}
	if _, err := readAll(t.Context(), st, put("second")); err != nil {
		t.Fatal(err)
	}
	r, err := st.Scrubber.Scrub(t.Context(), store.ScrubOptions{Only: set}, func(d store.Damage) {
		if !d.Harmless { // as is a pack that the set knows nothing of
			t.Errorf("%+v", d)
		}
	})
	if err != nil || r.Objects != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := other.Scrubber.Scrub(t.Context(), store.ScrubOptions{Only: set}, func(store.Damage) {}); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("a set of another store: %v", err)
	}
}

package storetest

import (
	"fmt"
	"slices"
	"testing"

	"castar/store"
)

func uploadChecks() []check {
	return []check{
		{"a batch can be walked and had one by one", func(t *testing.T, st *store.Store) {
			most := 200 // directories to ask for
			if UnderRace {
				most = 20
			}
			for _, c := range append(closures(t), largeClosures(t)...) {
				t.Run(c.name, func(t *testing.T) {
					if err := c.upload(t.Context(), st); err != nil {
						t.Fatal(err)
					}
					wantWalk(t, st, c)
					for i := 0; i < len(c.ds); i += 1 + len(c.ds)/most {
						wantDirectory(t, st, c.ds[i], c.dirs[i])
					}
				})
			}
		}},
		{"a batch may be stored again", func(t *testing.T, st *store.Store) {
			c := smallClosure(t)
			for range 2 {
				if err := c.upload(t.Context(), st); err != nil {
					t.Fatal(err)
				}
				wantWalk(t, st, c)
			}
		}},
		{"duplicates are harmless", uploadDuplicates},
		{"Put refuses what is invalid", uploadInvalid},
		{"Close without Commit is harmless", uploadAborted},
		{"Close may be called again", uploadClosedTwice},
		{"Put may be called concurrently", uploadConcurrently},
		{"concurrent batches", func(t *testing.T, st *store.Store) {
			all := closures(t)
			parallel(t, func(worker int) error { return all[worker%len(all)].upload(t.Context(), st) })
			for _, c := range all {
				wantWalk(t, st, c)
			}
		}},
		{"the batch does not keep its argument", uploadKeepsNothing},
	}
}

func smallClosure(t *testing.T) *closure {
	var c closure
	a := c.add(t, nil)
	b := c.add(t, store.Directory{a("a")})
	c.add(t, store.Directory{a("a"), b("b")})
	return &c
}

func upload(t *testing.T, st *store.Store) store.DirectoryWriter {
	t.Helper()
	w, err := st.Directories.Upload(t.Context())
	if err != nil {
		t.Fatalf("Upload: %v", err)
	}
	return w
}

func uploadDuplicates(t *testing.T, st *store.Store) {
	c := smallClosure(t)
	w := upload(t, st)
	defer w.Close()
	for i, dir := range c.dirs {
		for range 3 {
			if d, err := w.Put(t.Context(), dir); d != c.ds[i] || err != nil {
				t.Fatalf("Put = %s, %v, want %s", d, err, c.ds[i])
			}
		}
		if _, err := w.Put(t.Context(), c.dirs[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Commit(t.Context(), c.root()); err != nil {
		t.Fatal(err)
	}
	wantWalk(t, st, c)
}

func uploadInvalid(t *testing.T, st *store.Store) {
	for _, d := range invalidDirectories() {
		w := upload(t, st)
		if _, err := w.Put(t.Context(), d.dir); err == nil {
			t.Errorf("%s: no error", d.name)
		}
		if err := w.Close(); err != nil {
			t.Errorf("%s: Close: %v", d.name, err)
		}
	}
}

func uploadAborted(t *testing.T, st *store.Store) {
	c := smallClosure(t)
	before := store.Directory{{Name: "before", Kind: store.KindFile}}
	putDirectory(t, st, before)
	for n := range len(c.dirs) + 1 {
		w := upload(t, st)
		for _, dir := range c.dirs[:n] {
			if _, err := w.Put(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Errorf("Close after %d of %d directories: %v", n, len(c.dirs), err)
		}
	}
	wantDirectory(t, st, store.Sum(encoding(t, before)), before)
	if err := c.upload(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	wantWalk(t, st, c)
}

func uploadClosedTwice(t *testing.T, st *store.Store) {
	c := smallClosure(t)
	for _, commit := range []bool{false, true} {
		w := upload(t, st)
		for _, dir := range c.dirs {
			if _, err := w.Put(t.Context(), dir); err != nil {
				t.Fatal(err)
			}
		}
		if commit {
			if err := w.Commit(t.Context(), c.root()); err != nil {
				t.Fatal(err)
			}
		}
		for range 3 {
			if err := w.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	}
	wantWalk(t, st, c)
}

// uploadConcurrently puts the leaves from several goroutines, some of them twice, and then their parents.
func uploadConcurrently(t *testing.T, st *store.Store) {
	var c closure
	var root store.Directory
	for i := range 20 * workers {
		name := fmt.Sprintf("%03d", i)
		root = append(root, c.add(t, store.Directory{{Name: name, Kind: store.KindFile}})(name))
	}
	c.add(t, root)
	w := upload(t, st)
	defer w.Close()
	parallel(t, func(worker int) error {
		for i := range 25 {
			k := (worker*20 + i) % (len(c.dirs) - 1)
			if d, err := w.Put(t.Context(), c.dirs[k]); d != c.ds[k] || err != nil {
				return fmt.Errorf("put = %s, %v, want %s", d, err, c.ds[k])
			}
		}
		return nil
	})
	if _, err := w.Put(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), c.root()); err != nil {
		t.Fatal(err)
	}
	wantWalk(t, st, &c)
}

func uploadKeepsNothing(t *testing.T, st *store.Store) {
	dir := bigDirectory(100)
	for i := range dir {
		dir[i].Kind, dir[i].Target = store.KindFile, ""
	}
	mine := slices.Clone(dir)
	w := upload(t, st)
	defer w.Close()
	d, err := w.Put(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	clear(mine)
	if err := w.Commit(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	wantDirectory(t, st, d, dir)
}

package export

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/storetest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestOverwrite(t *testing.T) {
	long := strings.Repeat("long ", 100<<10) // more than is compared at once
	tests := []struct {
		name    string
		before  any // nil: no destination
		root    any
		o       Options
		after   any // nil: as before
		changes []string
		res     Result
		err     string
	}{
		{name: "refused", before: tree{"a": "1"}, root: tree{"a": "2"}, err: "out: not empty"},
		{name: "refused for a dotfile", before: tree{".a": "1"}, root: tree{"a": "2"}, err: "out: not empty"},
		{name: "refused over a file", before: "file", root: tree{"a": "2"}, err: "out: file exists"},
		{name: "refused over a file, for a file", before: "file", root: "other", err: "out: file exists"},
		{name: "refused over a symlink", before: link("nowhere"), root: "other", err: "out: file exists"},
		{name: "delete alone", before: tree{"a": "1"}, root: tree{}, o: Options{Delete: true}, err: "delete without overwrite"},
		{name: "directory over a file", before: "file", root: tree{"a": "2"}, o: Options{Overwrite: true, Delete: true}, err: "out: not a directory"},
		{name: "directory over a symlink", before: link("outside"), root: tree{"a": "2"}, o: Options{Overwrite: true, Delete: true},
			err: "out: is a symbolic link"},
		{name: "file over a directory", before: tree{"a": "2"}, root: "file", o: Options{Overwrite: true, Delete: true}, err: "out: is a directory"},

		{name: "nothing there", root: tree{"a": "1"}, o: Options{Overwrite: true}, after: tree{"a": "1"},
			changes: []string{"mkdir ", "write a"}, res: Result{Files: 1, Directories: 1, Bytes: 1, Written: 2}},
		{name: "same", before: tree{"a": "1", "b": exec("2"), "c": link("x"), "d": tree{"e": long, "f": ""}},
			root: tree{"a": "1", "b": exec("2"), "c": link("x"), "d": tree{"e": long, "f": ""}}, o: Options{Overwrite: true, Delete: true},
			res: Result{Files: 4, Directories: 2, Symlinks: 1, Bytes: 2 + uint64(len(long)), Unchanged: 7}},
		{name: "extras stay", before: tree{"a": "1", "b": "2", "d": tree{"x": "y"}}, root: tree{"a": "3", "d": tree{}}, o: Options{Overwrite: true},
			after: tree{"a": "3", "b": "2", "d": tree{"x": "y"}}, changes: []string{"write a"},
			res: Result{Files: 1, Directories: 2, Bytes: 1, Written: 1, Unchanged: 2}},
		{name: "extras go", before: tree{"a": "1", "b": "2", "d": tree{"x": "y", "l": link("../../outside"), "s": tree{"t": tree{"u": "v"}}}, "o": link("../outside")},
			root: tree{"a": "1", "d": tree{"x": "y"}}, o: Options{Overwrite: true, Delete: true}, after: tree{"a": "1", "d": tree{"x": "y"}},
			changes: []string{"delete b", "delete d/l", "delete d/s", "delete d/s/t", "delete d/s/t/u", "delete o"},
			res:     Result{Files: 2, Directories: 2, Bytes: 2, Unchanged: 4, Deleted: 6}},
		{name: "new entries", before: tree{"d": tree{}}, root: tree{"d": tree{"a": "1", "s": tree{"b": "2", "t": tree{}}}, "l": link("d")}, o: Options{Overwrite: true},
			after:   tree{"d": tree{"a": "1", "s": tree{"b": "2", "t": tree{}}}, "l": link("d")},
			changes: []string{"mkdir d/s", "mkdir d/s/t", "write d/a", "write d/s/b", "write l"},
			res:     Result{Files: 2, Directories: 4, Symlinks: 1, Bytes: 2, Written: 5, Unchanged: 2}},
		{name: "contents of one size", before: tree{"a": "1234", "b": long + "x"}, root: tree{"a": "4321", "b": long + "y"}, o: Options{Overwrite: true},
			after: tree{"a": "4321", "b": long + "y"}, changes: []string{"write a", "write b"},
			res: Result{Files: 2, Directories: 1, Bytes: 5 + uint64(len(long)), Written: 2, Unchanged: 1}},
		{name: "executable bits", before: tree{"a": exec("1"), "b": "2"}, root: tree{"a": "1", "b": exec("2")}, o: Options{Overwrite: true},
			after: tree{"a": "1", "b": exec("2")}, changes: []string{"chmod a", "chmod b"}, res: Result{Files: 2, Directories: 1, Bytes: 2, Written: 2, Unchanged: 1}},
		{name: "kinds of leaf", before: tree{"a": "1", "b": link("../outside/precious"), "c": link("x")}, root: tree{"a": link("1"), "b": "precious", "c": link("y")},
			o: Options{Overwrite: true}, after: tree{"a": link("1"), "b": "precious", "c": link("y")}, changes: []string{"write a", "write b", "write c"},
			res: Result{Files: 1, Directories: 1, Symlinks: 2, Bytes: 8, Written: 3, Unchanged: 1}},
		{name: "symlink to a directory where a directory should be", before: tree{"d": link("../outside")}, root: tree{"d": tree{"precious": "no"}},
			o: Options{Overwrite: true}, err: "d: not a directory"},
		{name: "the same, deleted", before: tree{"d": link("../outside")}, root: tree{"d": tree{"precious": "no"}}, o: Options{Overwrite: true, Delete: true},
			after: tree{"d": tree{"precious": "no"}}, changes: []string{"delete d", "mkdir d", "write d/precious"},
			res: Result{Files: 1, Directories: 2, Bytes: 2, Written: 2, Unchanged: 1, Deleted: 1}},
		{name: "file where a directory should be", before: tree{"s": tree{"d": "1"}}, root: tree{"s": tree{"d": tree{}}}, o: Options{Overwrite: true},
			err: "s/d: not a directory"},
		{name: "directory where a file should be", before: tree{"a": "1", "s": tree{"f": tree{}}}, root: tree{"a": "2", "s": tree{"f": "1"}}, o: Options{Overwrite: true},
			err: "s/f: is a directory"},
		{name: "the same, deleted", before: tree{"s": tree{"f": tree{"x": "2", "y": tree{}}}}, root: tree{"s": tree{"f": "1"}}, o: Options{Overwrite: true, Delete: true},
			after: tree{"s": tree{"f": "1"}}, changes: []string{"delete s/f", "delete s/f/x", "delete s/f/y", "write s/f"},
			res: Result{Files: 1, Directories: 2, Bytes: 1, Written: 1, Unchanged: 2, Deleted: 3}},
		{name: "directory where a symlink should be", before: tree{"f": tree{"x": "1"}}, root: tree{"f": link("1")}, o: Options{Overwrite: true, Delete: true},
			after: tree{"f": link("1")}, changes: []string{"delete f", "delete f/x", "write f"},
			res: Result{Directories: 1, Symlinks: 1, Written: 1, Unchanged: 1, Deleted: 2}},
		{name: "all that is in the way", before: tree{"a": "1", "d": "2", "f": tree{"x": "3"}, "s": tree{"f": tree{}, "d": link("x"), "s": tree{"l": tree{}}}},
			root: tree{"a": "2", "d": tree{}, "f": "", "s": tree{"f": "1", "d": tree{"y": "z"}, "s": tree{"l": link("x")}}}, o: Options{Overwrite: true},
			err: "d: not a directory\nf: is a directory\ns/d: not a directory\ns/f: is a directory\ns/s/l: is a directory"},
		{name: "file over a file", before: "1", root: exec("2"), o: Options{Overwrite: true}, after: exec("2"), changes: []string{"write "},
			res: Result{Files: 1, Bytes: 1, Written: 1}},
		{name: "file over a symlink", before: link("outside/precious"), root: "2", o: Options{Overwrite: true}, after: "2", changes: []string{"write "},
			res: Result{Files: 1, Bytes: 1, Written: 1}},
		{name: "symlink over itself", before: link("outside"), root: link("outside"), o: Options{Overwrite: true}, res: Result{Symlinks: 1, Unchanged: 1}},
	}
	outside := tree{"precious": "precious", "dir": tree{"x": "y"}}
	for _, tt := range tests {
		for _, dry := range []bool{true, false} { // in this order: the first must change nothing
			name := tt.name
			if dry {
				name += ", dry"
			}
			t.Run(name, func(t *testing.T) {
				dir := t.TempDir()
				plant(t, dir, tree{"outside": outside})
				dest := filepath.Join(dir, "out")
				if tt.before != nil {
					plant(t, dest, tt.before)
				}
				f := newFake()
				var changes []string
				o := tt.o
				o.DryRun = dry
				o.Notify = func(a Action) { changes = append(changes, string(a.Op)+" "+a.Path) }
				res, err := Dir(t.Context(), f.store(), f.put(t, "", tt.root), dest, o)
				after := tt.after
				if after == nil || dry {
					after = tt.before
				}
				if d := cmp.Diff(after, read(t, dest)); d != "" {
					t.Error(d)
				}
				if d := cmp.Diff(any(outside), read(t, filepath.Join(dir, "outside"))); d != "" {
					t.Error(d)
				}
				switch slices.Sort(changes); {
				case tt.err != "":
					if err == nil || !strings.HasSuffix(err.Error(), tt.err) {
						t.Errorf("error %v, want %q", err, tt.err)
					}
				case err != nil:
					t.Error(err)
				case res != tt.res || !slices.Equal(changes, tt.changes):
					t.Errorf("%+v, %q\nwant %+v, %q", res, changes, tt.res, tt.changes)
				}
			})
		}
	}
}

// TestOverwriteAny puts one random tree over another.
func TestOverwriteAny(t *testing.T) {
	dir := t.TempDir()
	storetest.Check(t, func(r *rapid.T) {
		before, after := genTree(2).Draw(r, "before"), genTree(2).Draw(r, "after")
		dest, err := os.MkdirTemp(dir, "")
		if err != nil {
			r.Fatal(err)
		}
		defer os.RemoveAll(dest)
		plant(t, dest, before)
		f := newFake()
		root := f.put(t, "", after)
		o := Options{Overwrite: true, Delete: true, DryRun: true}
		would, dryErr := Dir(t.Context(), f.store(), root, dest, o)
		if d := cmp.Diff(any(before), read(t, dest)); d != "" {
			r.Fatal(d)
		}
		o.DryRun = false
		did, err := Dir(t.Context(), f.store(), root, dest, o)
		if err != nil || dryErr != nil {
			r.Fatalf("%v, %v", err, dryErr)
		}
		if d := cmp.Diff(any(after), read(t, dest)); d != "" || would != did {
			r.Fatalf("%+v, %+v, %s", would, did, d)
		}
	})
}

// TestKept overwrites a tree with right and wrong entries. Right ones are not written again, and no file is changed
// through one of several links.
func TestKept(t *testing.T) {
	dir := t.TempDir()
	dest := filepath.Join(dir, "out")
	plant(t, dest, tree{"same": "1", "differs": "1", "bits": "1", "link": link("x")})
	plant(t, filepath.Join(dir, "outside"), tree{})
	stat := func(path string) (st unix.Stat_t) {
		t.Helper()
		if err := unix.Lstat(filepath.Join(dir, path), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	for _, name := range []string{"differs", "bits"} {
		if err := os.Link(filepath.Join(dest, name), filepath.Join(dir, "outside", name)); err != nil {
			t.Fatal(err)
		}
	}
	paths := []string{"out/same", "out/link", "out", "outside/differs", "outside/bits"}
	before := map[string]unix.Stat_t{}
	for _, path := range paths {
		before[path] = stat(path)
	}
	f := newFake()
	root := f.put(t, "", tree{"same": "1", "differs": "2", "bits": exec("1"), "link": link("x")})
	r, err := Dir(t.Context(), f.store(), root, dest, Options{Overwrite: true})
	if err != nil || r.Written != 2 || r.Unchanged != 3 {
		t.Fatalf("%+v, %v", r, err)
	}
	for _, path := range paths {
		was, is := before[path], stat(path)
		if was.Ino != is.Ino || was.Mode != is.Mode || path != "out" && was.Mtim != is.Mtim {
			t.Errorf("%s was touched: %+v, %+v", path, was, is)
		}
	}
	if d := cmp.Diff(any(tree{"differs": "1", "bits": "1"}), read(t, filepath.Join(dir, "outside"))); d != "" {
		t.Error(d)
	}

	// MTime is set on entries that are kept, but not on a file with other links.
	if err := os.Link(filepath.Join(dest, "same"), filepath.Join(dir, "outside", "same")); err != nil {
		t.Fatal(err)
	}
	inode, linked := stat("out/bits").Ino, stat("outside/same")
	if _, err := Dir(t.Context(), f.store(), root, dest, Options{Overwrite: true, MTime: time.Unix(1, 0)}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"same", "bits", "link"} {
		if st := stat("out/" + name); st.Mtim.Sec != 1 {
			t.Errorf("%s has time %v", name, st.Mtim)
		}
	}
	if stat("out/bits").Ino != inode || stat("outside/same").Mtim != linked.Mtim || stat("out/same").Ino == linked.Ino {
		t.Error("written again, or through another link")
	}
}

// TestStoreStays overwrites a tree that contains the store, which Delete must not remove.
func TestStoreStays(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, tree{"out": tree{"a": "1", "x": tree{"b": "2", "store": tree{"id": "mine", "packs": "p"}, "z": "3"}}})
	f := newFake()
	o := Options{Overwrite: true, Delete: true, Landmarks: []store.Landmark{{Path: "id", Contents: []byte("mine")}}}
	for _, o.DryRun = range []bool{true, false} {
		r, err := Dir(t.Context(), f.store(), f.put(t, "", tree{}), filepath.Join(dir, "out"), o)
		if err != nil || r.Deleted != 3 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	left := tree{"x": tree{"store": tree{"id": "mine", "packs": "p"}}}
	for dest, contents := range map[string]tree{"out/x/store": {}, "out": {"x": tree{"store": tree{"packs": "damage"}}}} {
		_, err := Dir(t.Context(), f.store(), f.put(t, "", contents), filepath.Join(dir, dest), o)
		if !errors.Is(err, errStore) {
			t.Errorf("%s: error %v", dest, err)
		}
	}
	if d := cmp.Diff(any(left), read(t, filepath.Join(dir, "out"))); d != "" {
		t.Error(d)
	}
}

// TestFilesOfAnother overwrites files of another user whose bits or times are wrong. Only their owner can change them in
// place, so they are written again.
func TestFilesOfAnother(t *testing.T) {
	for _, o := range []Options{{Overwrite: true}, {Overwrite: true, MTime: time.Unix(1, 0)}} {
		t.Run(o.MTime.String(), func(t *testing.T) {
			dest := shared(t, nobody, tree{"bits": "1", "same": "2", "link": link("x")})
			f := newFake()
			want := tree{"bits": exec("1"), "same": "2", "link": link("x")}
			written := uint64(1)
			if !o.MTime.IsZero() {
				written = 3
			}
			for _, o.DryRun = range []bool{true, false} {
				if r, err := Dir(t.Context(), f.store(), f.put(t, "", want), dest, o); err != nil || r.Written != written {
					t.Errorf("%+v, %v", r, err)
				}
			}
			if d := cmp.Diff(any(want), read(t, dest)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestExecutableBitsFollowWhoMayRead(t *testing.T) {
	e, err := newExporter(t.Context(), newFake().store(), &store.Node{Kind: store.KindSymlink, Target: "t"}, Options{ExecMode: 0o750})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		mode uint32
		exec bool
		want uint32
	}{
		{0o644, false, 0o644}, {0o644, true, 0o754}, {0o600, true, 0o700}, {0o700, true, 0o700}, {0o755, false, 0o644}, {0o011, true, 0o111},
		{0o000, true, 0o100}, {0o611, false, 0o611},
	} {
		if got := e.withExec(tt.mode, tt.exec); got != tt.want {
			t.Errorf("%03o, %v: %03o, want %03o", tt.mode, tt.exec, got, tt.want)
		}
	}
	e.stop(nil)
}

// TestSpelling looks up ./a, which leads to a as A would on a file system that ignores case.
func TestSpelling(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, tree{"a": "1"})
	d, err := openPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	for name, want := range map[string]error{"a": nil, "./a": errSpelling, "b": nil} {
		if _, exists, err := d.look(name, []string{"a"}); err != want || exists != (name != "b") {
			t.Errorf("%s: %v, %v", name, exists, err)
		}
	}
}

// TestSpellingOfNew plants an entry in the temporary directory of an export. It stands for an entry of the tree with a
// name that the file system does not tell from the next one.
func TestSpellingOfNew(t *testing.T) {
	for _, second := range []any{"file", link("x"), tree{}} {
		dir := t.TempDir()
		f := newFake()
		root := f.put(t, "", tree{"D": tree{}, "d": second})
		f.onGet = func(d store.Digest) error {
			temps, err := filepath.Glob(filepath.Join(dir, ".out.castar-*"))
			if err == nil && len(temps) == 1 {
				os.Mkdir(filepath.Join(temps[0], "d"), 0o700)
			}
			return err
		}
		_, err := Dir(t.Context(), f.store(), root, filepath.Join(dir, "out"), Options{Jobs: 1})
		if !errors.Is(err, errSpelling) || !strings.HasPrefix(err.Error(), "d: another entry has this name") {
			t.Errorf("%v: error %v", second, err)
		}
		if left, err := os.ReadDir(dir); len(left) > 0 || err != nil {
			t.Errorf("%v: left %v, %v", second, left, err)
		}
	}
}

// TestMadeDuring has another process make entries during an export. They are treated like those from before.
func TestMadeDuring(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "out")
	plant(t, dest, tree{"d": tree{}})
	f := newFake()
	want := tree{"d": tree{"f": "1"}, "x": "2", "y": "3", "z": tree{"f": "4"}}
	root := f.put(t, "", want)
	f.onGet = func(d store.Digest) error {
		if d == f.put(t, "", want["d"]).Digest { // the names in dest were read before
			plant(t, dest, tree{"x": "2", "y": "other", "z": tree{}})
		}
		return nil
	}
	r, err := Dir(t.Context(), f.store(), root, dest, Options{Overwrite: true, Jobs: 1})
	if err != nil || r.Unchanged != 4 {
		t.Errorf("%+v, %v", r, err)
	}
	if d := cmp.Diff(any(want), read(t, dest)); d != "" {
		t.Error(d)
	}
}

// TestSpecial replaces entries that are not files, directories or symlinks, without opening them.
func TestSpecial(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "out")
	plant(t, dest, tree{})
	for _, name := range []string{"a", "b"} {
		if err := unix.Mkfifo(filepath.Join(dest, name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	f := newFake()
	root := f.put(t, "", tree{"a": store.Node{Kind: store.KindFile, Digest: store.Sum(nil)}})
	r, err := Dir(t.Context(), f.store(), root, dest, Options{Overwrite: true, Delete: true})
	if err != nil || r.Written != 1 || r.Deleted != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	if d := cmp.Diff(any(tree{"a": ""}), read(t, dest)); d != "" {
		t.Error(d)
	}
}

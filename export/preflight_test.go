package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"castar/store"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

var overwriteAll = Options{Overwrite: true, Delete: true}

// TestNothingTouched exports to destinations with obstacles. The error names all of them, and nothing is changed.
func TestNothingTouched(t *testing.T) {
	missing := store.Node{Kind: store.KindFile, Digest: store.Sum([]byte("no")), Size: 2}
	noDir := store.Node{Kind: store.KindDirectory, Digest: store.Sum([]byte("none")), Size: 2}
	mark := tree{"id": "mine", "packs": tree{"p": "p"}}
	tests := []struct {
		name   string
		before any
		root   any
		err    string
	}{
		{"missing blobs", tree{"a": "gone", "b": tree{"f": "old", "n": "12"}, "z": "xx"}, tree{"b": tree{"f": tree{}, "n": missing}, "z": missing},
			"b/n: blob " + missing.Digest.String() + ": not found\nz: blob " + missing.Digest.String() + ": not found"},
		{"missing blob in a new directory", tree{"a": "gone"}, tree{"n": tree{"m": tree{"f": missing}}},
			"n/m/f: blob " + missing.Digest.String() + ": not found"},
		{"missing new directory", tree{"a": "gone"}, tree{"n": noDir}, "n: directory " + noDir.Digest.String() + ": not found"},
		{"missing directory", tree{"a": "gone", "z": tree{}}, tree{"b": "1", "z": noDir}, "z: directory " + noDir.Digest.String() + ": not found"},
		{"the store where a file should be", tree{"a": "gone", "d": mark}, tree{"d": "file"}, "d: is the store itself"},
		{"the store below", tree{"a": "gone", "d": tree{"e": tree{"s": mark}}}, tree{"d": link("x")}, "d/e/s: is the store itself"},
		{"the store where the tree has a directory", tree{"a": "gone", "z": mark}, tree{"z": tree{"packs": tree{}}}, "z: is the store itself"},
	}
	for _, tt := range tests {
		for _, dry := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.name, dry), func(t *testing.T) {
				dest := filepath.Join(t.TempDir(), "out")
				plant(t, dest, tt.before)
				f := newFake()
				o := overwriteAll
				o.DryRun, o.Landmarks = dry, []store.Landmark{{Path: "id", Contents: []byte("mine")}}
				o.Notify = func(a Action) { t.Errorf("changed: %+v", a) }
				if _, err := Dir(t.Context(), f.store(), f.put(t, "", tt.root), dest, o); err == nil || !strings.HasSuffix(err.Error(), tt.err) {
					t.Errorf("error %v\nwant  %s", err, tt.err)
				}
				if d := cmp.Diff(tt.before, read(t, dest)); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// TestOverwriteAsksForBlobsOnlyToDelete overwrites an unchanged tree from a store that has lost its blobs. If nothing is
// to be removed, the store is not asked for them, because a remote store is slow.
func TestOverwriteAsksForBlobsOnlyToDelete(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "out")
	plant(t, dest, tree{"a": "1", "b": "2"})
	f := newFake()
	root := f.put(t, "", tree{"a": "1", "b": "2"})
	for d := range f.blobs { // what is there already is not needed
		delete(f.blobs, d)
	}
	if r, err := Dir(t.Context(), f.store(), root, dest, overwriteAll); err != nil || r.Unchanged != 3 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestReplacedWhole fails or interrupts the writing of an entry that is to replace a directory, which must stay.
func TestReplacedWhole(t *testing.T) {
	before := tree{"d": tree{"x": "1", "y": tree{"z": "2"}}, "f": "3", "l": link("d")}
	after := tree{"d": "new", "f": tree{"g": "new"}, "l": tree{"g": "new"}}
	broken := errors.New("broken")
	for _, cancelled := range []bool{true, false} {
		dir := t.TempDir()
		dest := filepath.Join(dir, "out")
		plant(t, dest, before)
		ctx, cancel := context.WithCancelCause(t.Context())
		f := newFake()
		root := f.put(t, "", after)
		f.onOpen = func(store.Digest) error {
			if cancelled {
				cancel(broken)
				return nil
			}
			return broken
		}
		if _, err := Dir(ctx, f.store(), root, dest, overwriteAll); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
		if d := cmp.Diff(any(before), read(t, dest)); d != "" {
			t.Error(d)
		}
		only(t, dir, 1)
		cancel(nil)
	}
}

// TestReadOnlyOfOneself changes directories of the caller that are not writable. They have their old mode afterwards.
func TestReadOnlyOfOneself(t *testing.T) {
	before := tree{"d": tree{"f": "1", "g": "old", "x": tree{"y": tree{"z": "old"}}}, "e": tree{"s": tree{"a": "1"}}, "same": tree{"f": "1"}, "w": tree{"q": tree{"r": "s"}}}
	after := tree{"d": tree{"f": "2", "n": tree{"m": "3"}}, "e": tree{"s": "file"}, "same": tree{"f": "1"}, "w": tree{"q": tree{"r": tree{}}}}
	for _, stop := range []bool{false, true} {
		t.Run(fmt.Sprint("stopped ", stop), func(t *testing.T) { readOnly(t, before, after, stop) })
	}
	t.Run("empty", func(t *testing.T) { // which is filled where it is
		dest := shared(t, nobody, tree{})
		if err := os.Chmod(dest, 0o555); err != nil {
			t.Fatal(err)
		}
		f := newFake()
		if _, err := Dir(t.Context(), f.store(), f.put(t, "", after), dest, Options{}); err != nil || mode(t, dest) != 0o555 {
			t.Errorf("%v, mode %o", err, mode(t, dest))
		}
	})
}

// readOnly overwrites the tree before with after. If stop is set, the store fails during that.
func readOnly(t *testing.T, before, after tree, stop bool) {
	dest := shared(t, nobody, before)
	chown(t, dest)
	chmodDirs(t, dest, 0o555)
	broken := errors.New("broken")
	f := newFake()
	root := f.put(t, "", after)
	if stop {
		f.onOpen = func(store.Digest) error { return broken }
	}
	o := overwriteAll
	for _, o.DryRun = range []bool{true, false} {
		_, err := Dir(t.Context(), f.store(), root, dest, o)
		if (err != nil) != (stop && !o.DryRun) || err != nil && !errors.Is(err, broken) {
			t.Fatalf("dry %v: error %v", o.DryRun, err)
		}
		for _, name := range []string{"", "d", "same", "w"} {
			if got := mode(t, filepath.Join(dest, name)); got != 0o555 {
				t.Errorf("dry %v: %q has mode %o", o.DryRun, name, got)
			}
		}
	}
	if d := cmp.Diff(any(after), read(t, dest)); d != "" && !stop {
		t.Error(d)
	}
	only(t, filepath.Dir(dest), 1)
}

// chown gives all entries in dest to nobody.
func chown(t *testing.T, dest string) {
	t.Helper()
	asRoot(t, func() {
		filepath.WalkDir(dest, func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, nobody, nobody))
		})
	})
}

// chmodDirs sets the mode of all directories in dest, and makes them writable at the end of the test.
func chmodDirs(t *testing.T, dest string, mode fs.FileMode) {
	t.Helper()
	set := func(mode fs.FileMode) {
		var dirs []string
		filepath.WalkDir(dest, func(path string, d fs.DirEntry, err error) error {
			if d.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		for _, path := range slices.Backward(dirs) {
			os.Chmod(path, mode)
		}
	}
	asRoot(t, func() { set(mode) })
	t.Cleanup(func() { set(0o755) })
}

// asRoot calls do as root in a test that runs as nobody because of shared.
func asRoot(t *testing.T, do func()) {
	t.Helper()
	if err := unix.Setreuid(-1, 0); err != nil {
		t.Fatal(err)
	}
	do()
	if err := unix.Setreuid(-1, nobody); err != nil {
		t.Fatal(err)
	}
}

// TestNotAllowed exports to directories of another user. The error names all of them, and nothing is changed.
func TestNotAllowed(t *testing.T) {
	tests := []struct {
		name string
		path string // gets the mode, and is root's
		mode fs.FileMode
		root tree
		err  string
	}{
		{"removing", "d", 0o755, tree{"b": "2", "d": tree{}, "e": tree{}}, "d: permission denied"},
		{"making", "d", 0o755, tree{"b": "2", "d": tree{"f": "1", "n": ""}, "e": tree{}}, "d: permission denied"},
		{"removing below", "d", 0o755, tree{"b": "2", "e": tree{}}, "d: permission denied"},
		{"replacing", "d", 0o755, tree{"b": "2", "d": "file", "e": tree{}}, "d: permission denied"},
		{"listing", "d", 0o711, tree{"b": "2", "d": tree{"f": "1"}, "e": tree{}}, "d: permission denied"},
		{"others' files", "d", 0o777 | fs.ModeSticky, tree{"b": "2", "d": tree{}, "e": tree{}}, "d/f: operation not permitted"},
		{"several", "d", 0o755, tree{"b": "2", "d": tree{}, "e": tree{"g": "1"}}, "d: permission denied\ne: permission denied"},
	}
	for _, tt := range tests {
		for _, dry := range []bool{true, false} {
			t.Run(fmt.Sprint(tt.name, dry), func(t *testing.T) {
				before := tree{"a": "gone", "b": "1", "d": tree{"f": "1"}, "e": tree{}}
				dest := shared(t, nobody, before)
				asRoot(t, func() { os.Chmod(filepath.Join(dest, tt.path), tt.mode) })
				f := newFake()
				o := overwriteAll
				o.DryRun = dry
				_, err := Dir(t.Context(), f.store(), f.put(t, "", tt.root), dest, o)
				if err == nil || err.Error() != tt.err {
					t.Errorf("error %v, want %s", err, tt.err)
				}
				asRoot(t, func() {
					if d := cmp.Diff(any(before), read(t, dest)); d != "" {
						t.Error(d)
					}
				})
			})
		}
	}
}

package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"castar/store"
)

func TestLandmark(t *testing.T) {
	dir := t.TempDir()
	for path, contents := range map[string]string{"a/s/in/id": "mine", "a/s/x/y/z": "", "b/in/id": "mina", "c/in/id": "mine too", "d/in/id/x": "", "in": "mine"} {
		path = filepath.Join(dir, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(contents), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink("a/s", filepath.Join(dir, "link")), os.MkdirAll(filepath.Join(dir, "e/in"), 0o755), unix.Mkfifo(filepath.Join(dir, "e/in/id"), 0o644)); err != nil {
		t.Fatal(err)
	}
	mark, err := store.LandmarkOf(filepath.Join(dir, "a/s"), "in/id")
	if err != nil || mark.Hint() != "in" {
		t.Fatalf("%+v, %v", mark, err)
	}
	for path, want := range map[string][2]bool{ // in it, around it
		"a/s": {true, true}, "link": {true, true}, "a/s/x": {false, true}, "a/s/x/y": {false, true}, "link/x/y": {false, true},
		"a": {}, "b": {}, "b/in": {}, "c": {}, "d": {}, "e": {}, ".": {},
	} {
		path = filepath.Join(dir, path)
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		in, err := mark.In(int(f.Fd()))
		around, aerr := mark.Around(path)
		if err != nil || aerr != nil || [2]bool{in, around} != want {
			t.Errorf("%s: in %v, %v, around %v, %v, want %v", path, in, err, around, aerr, want)
		}
	}
	if _, err := mark.Around(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if _, err := mark.Around(filepath.Join(dir, "in")); !errors.Is(err, unix.ENOTDIR) {
		t.Errorf("a file: %v", err)
	}
}

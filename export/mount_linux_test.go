package export

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestMountPoints skips if it may not mount.
func TestMountPoints(t *testing.T) {
	dir := t.TempDir()
	contents := tree{"precious": "p"}
	plant(t, dir, tree{"outside": contents, "bind": tree{}, "out": tree{"s": tree{"bound": tree{}}}})
	mount := func(from, to string) {
		t.Helper()
		to = filepath.Join(dir, to)
		if err := unix.Mount(filepath.Join(dir, from), to, "", unix.MS_BIND, ""); err != nil {
			t.Skipf("NOT TESTED: mount points, because only root can make them: %v", err)
		}
		t.Cleanup(func() { unix.Unmount(to, unix.MNT_DETACH) })
	}
	mount("outside", "out/s/bound")
	f := newFake()
	o := Options{Overwrite: true, Delete: true}
	for _, o.DryRun = range []bool{true, false} {
		_, err := Dir(t.Context(), f.store(), f.put(t, "", tree{}), filepath.Join(dir, "out"), o)
		if !errors.Is(err, errMount) || err.Error() != "s/bound: is a mount point" {
			t.Errorf("error %v", err)
		}
	}
	if d := cmp.Diff(any(contents), read(t, filepath.Join(dir, "outside"))); d != "" {
		t.Error(d)
	}

	// A file that another is mounted on cannot be replaced either, but it may stay if it is right.
	plant(t, dir, tree{"theirs": "mounted", "files": tree{"f": ""}})
	mount("theirs", "files/f")
	for content, want := range map[string]string{"changed": "f: is a mount point", "mounted": ""} {
		_, err := Dir(t.Context(), f.store(), f.put(t, "", tree{"f": content}), filepath.Join(dir, "files"), Options{Overwrite: true})
		if (err != nil || want != "") && (err == nil || err.Error() != want) {
			t.Errorf("%s: error %v", content, err)
		}
		if d := cmp.Diff(any(tree{"f": "mounted"}), read(t, filepath.Join(dir, "files"))); d != "" {
			t.Error(d)
		}
	}

	// A mount point cannot be replaced by rename.
	plant(t, dir, tree{"empty": tree{}})
	mount("empty", "bind")
	if _, err := Dir(t.Context(), f.store(), f.put(t, "", contents), filepath.Join(dir, "bind"), Options{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(any(contents), read(t, filepath.Join(dir, "empty"))); d != "" {
		t.Error(d)
	}
}

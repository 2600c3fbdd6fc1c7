package export

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestModeStays replaces files. The new file keeps the mode of the old one, except for the executable bits.
func TestModeStays(t *testing.T) {
	for _, tt := range []struct {
		before fs.FileMode
		exec   bool
		o      Options
		want   fs.FileMode
	}{
		{before: 0o600, want: 0o600},
		{before: 0o664, want: 0o664},
		{before: 0o640, exec: true, want: 0o750},
		{before: 0o600, exec: true, want: 0o700},
		{before: 0o755, want: 0o644},
		{before: 0o750, exec: true, want: 0o750},
		{before: 0o444, want: 0o444},
		{before: 0o000, want: 0o000},
		{before: 0o755 | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky, exec: true, want: 0o755},
		{before: 0o644 | fs.ModeSetgid, want: 0o644},
		{before: 0o600, o: Options{FileMode: 0o640}, want: 0o640},
		{before: 0o600, o: Options{ExecMode: 0o750}, want: 0o600},
		{before: 0o600, exec: true, o: Options{ExecMode: 0o711}, want: 0o711},
		{before: 0o600, exec: true, o: Options{FileMode: 0o640}, want: 0o700},
		{before: 0o755 | fs.ModeSetuid, exec: true, o: Options{ExecMode: 0o700}, want: 0o700},
	} {
		for _, root := range []bool{false, true} { // DEST itself, or in it
			dest := filepath.Join(t.TempDir(), "out")
			path := dest
			var contents, after any = "1", "2"
			if tt.exec {
				after = exec("2")
			}
			if !root {
				contents, after, path = tree{"f": contents}, tree{"f": after}, filepath.Join(dest, "f")
			}
			plant(t, dest, contents)
			if err := os.Chmod(path, tt.before); err != nil {
				t.Fatal(err)
			}
			f := newFake()
			o := tt.o
			o.Overwrite = true
			if r, err := Dir(t.Context(), f.store(), f.put(t, "", after), dest, o); err != nil || r.Written != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			if fi, err := os.Lstat(path); err != nil || fi.Mode() != tt.want {
				t.Errorf("%+v, root %v: mode %v, want %v", tt, root, fi.Mode(), tt.want)
			}
		}
	}
}

// TestOwnerStays replaces files of others. Root keeps the owner and group of the old file. Other users keep the group if
// they are in it, and otherwise drop its permissions.
func TestOwnerStays(t *testing.T) {
	dest := shared(t, nobody, tree{"f": "1", "g": "1", "l": link("x")})
	asRoot(t, func() {
		os.Chown(filepath.Join(dest, "f"), nobody, 12345)
		os.Chmod(filepath.Join(dest, "f"), 0o660)
		os.Chown(filepath.Join(dest, "g"), nobody, 12345)
		os.Chmod(filepath.Join(dest, "g"), 0o764)
	})
	f := newFake()
	check := func(name string, uid, gid, mode uint32) {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dest, name), &st); err != nil || st.Uid != uid || st.Gid != gid || permissions(&st) != mode {
			t.Errorf("%s: %v, owner %d, group %d, mode %o; want %d, %d, %o", name, err, st.Uid, st.Gid, permissions(&st), uid, gid, mode)
		}
	}
	export := func(contents string) {
		t.Helper()
		root := f.put(t, "", tree{"f": contents, "g": exec(contents), "l": contents})
		if _, err := Dir(t.Context(), f.store(), root, dest, Options{Overwrite: true}); err != nil {
			t.Fatal(err)
		}
	}
	asRoot(t, func() { export("2") })
	check("f", nobody, 12345, 0o660)
	check("g", nobody, 12345, 0o764)
	check("l", 0, uint32(os.Getegid()), 0o644)
	export("3") // as nobody, whose group is still root's
	group := uint32(os.Getegid())
	check("f", nobody, group, 0o600)
	check("g", nobody, group, 0o744)
}

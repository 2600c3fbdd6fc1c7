package export

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"castar/store"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestSplitDest(t *testing.T) {
	for _, tt := range [][3]string{
		{"out", ".", "out"}, {"a/out", "a/", "out"}, {"/out", "/", "out"}, {"out///", ".", "out"}, {"a//out/", "a//", "out"},
		{".", ".", "."}, {"..", "..", "."}, {"a/..", "a/..", "."}, {"a/./", "a/./", "."}, {"/", "/", "."}, {"//", "//", "."}, {"", "", "."},
		{"...", ".", "..."},
	} {
		if parent, name := splitDest(tt[0]); parent != tt[1] || name != tt[2] {
			t.Errorf("splitDest(%q) = %q, %q, want %q, %q", tt[0], parent, name, tt[1], tt[2])
		}
	}
}

// TestMadeAtDest has another process make an entry at dest during an export.
func TestMadeAtDest(t *testing.T) {
	contents := tree{"a": "1", "b": tree{"c": "2"}, "z": "last"}
	tests := []struct {
		name   string
		before any
		made   string // and what is made, while the last file is written
		what   any
		inside bool // export to "."
		after  any
		is     error
		err    string
	}{
		{name: "file", made: "out", what: "mine", after: "mine", is: fs.ErrExist, err: "out: file exists"},
		{name: "empty directory", made: "out", what: tree{}, after: tree{}, is: fs.ErrExist, err: "out: file exists"},
		{name: "symlink", made: "out", what: link("x"), after: link("x"), is: fs.ErrExist, err: "out: file exists"},
		{name: "entry", before: tree{}, made: "out/mine", what: "mine", after: tree{"mine": "mine"}, is: ErrNotEmpty, err: "out: not empty"},
		{name: "entry of that name, inside", before: tree{}, made: "out/b", what: "mine", inside: true, after: tree{"b": "mine"},
			is: fs.ErrExist, err: "b: file exists"},
		{name: "last entry of that name, inside", before: tree{}, made: "out/z", what: tree{}, inside: true, after: tree{"z": tree{}},
			is: fs.ErrExist, err: "z: file exists"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			dest := filepath.Join(dir, "out")
			if tt.before != nil {
				plant(t, dest, tt.before)
			}
			if tt.inside {
				t.Chdir(dest)
			}
			f := newFake()
			last := f.file("", "last").Digest
			f.onOpen = func(d store.Digest) error {
				if d == last {
					plant(t, filepath.Join(dir, tt.made), tt.what)
				}
				return nil
			}
			_, err := Dir(t.Context(), f.store(), f.put(t, "", contents), dest, Options{})
			if !errors.Is(err, tt.is) || !strings.HasSuffix(err.Error(), tt.err) {
				t.Errorf("error %v, want %s", err, tt.err)
			}
			if d := cmp.Diff(tt.after, read(t, dest)); d != "" {
				t.Error(d)
			}
			only(t, dir, 1)
		})
	}
}

// TestReadOnlyDirectories writes, moves and discards directories that their owner cannot write to.
func TestReadOnlyDirectories(t *testing.T) {
	f := newFake()
	want := tree{"d": tree{"e": tree{"f": "1"}}, "z": "last"}
	root := f.put(t, "", want)
	dir := t.TempDir()
	writable := func() {
		filepath.WalkDir(dir, func(path string, d fs.DirEntry, _ error) error {
			if d.IsDir() {
				os.Chmod(path, 0o755)
			}
			return nil
		})
	}
	defer writable()
	plant(t, dir, tree{"empty": tree{}, "inside": tree{}, "parent": tree{"empty": tree{}}})
	if err := os.Chmod(filepath.Join(dir, "parent"), 0o555); err != nil {
		t.Fatal(err)
	}
	for _, dest := range []string{"new", "empty", "inside/.", "parent/empty"} {
		dest := dir + "/" + dest
		if _, err := Dir(t.Context(), f.store(), root, dest, Options{DirMode: 0o555}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(any(want), read(t, dest)); d != "" {
			t.Error(d)
		}
		if got := mode(t, filepath.Join(dest, "d")); got != 0o555 {
			t.Errorf("%s/d has mode %o", dest, got)
		}
	}
	writable()
	only(t, dir, 4)
	f.onOpen = func(d store.Digest) error {
		if d == store.Sum([]byte("last")) {
			return errors.New("no")
		}
		return nil
	}
	plant(t, dir, tree{"inside2": tree{}})
	for _, dest := range []string{"new2", "inside2/."} {
		if _, err := Dir(t.Context(), f.store(), root, dir+"/"+dest, Options{DirMode: 0o555, Jobs: 1}); err == nil {
			t.Error("no error")
		}
	}
	only(t, dir, 5)
	if d := cmp.Diff(any(tree{}), read(t, filepath.Join(dir, "inside2"))); d != "" {
		t.Error(d)
	}
}

// TestMovedDuring moves directories of a deep path during an export. A directory that was closed to save descriptors is
// found again only where it was, even if the directory in it moved.
func TestMovedDuring(t *testing.T) {
	for name, tt := range map[string]struct {
		move [][2]string
		err  error
	}{
		"nothing": {},
		"child":   {move: [][2]string{{"top/a/b", "outside/b"}}},
		"itself":  {move: [][2]string{{"top/a", "outside/a"}}, err: fs.ErrNotExist},
		"symlink": {move: [][2]string{{"top/a", "outside/a"}, {"link", "top/a"}}, err: unix.ENOTDIR},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			plant(t, root, tree{"top": tree{"a": tree{"b": tree{}}}, "outside": tree{}, "link": link("../outside/a")})
			top, err := openPath(filepath.Join(root, "top"))
			if err != nil {
				t.Fatal(err)
			}
			defer top.close()
			top.depth = keepOpen
			d, err := top.open("a")
			if err != nil {
				t.Fatal(err)
			}
			defer d.close()
			child, err := d.open("b")
			if err != nil {
				t.Fatal(err)
			}
			err = d.within(child, func() error {
				if d.fd >= 0 {
					t.Error("not closed")
				}
				for _, m := range tt.move {
					if err := os.Rename(filepath.Join(root, m[0]), filepath.Join(root, m[1])); err != nil {
						t.Fatal(err)
					}
				}
				return nil
			})
			if !errors.Is(err, tt.err) || (err != nil) != (d.fd < 0) {
				t.Errorf("descriptor %d, %v, want %v", d.fd, err, tt.err)
			}
		})
	}
}

// TestGroup exports to an empty directory of another group. It keeps its group, and new entries get it.
func TestGroup(t *testing.T) {
	dir := t.TempDir()
	const group = 12345
	plant(t, dir, tree{"group": tree{}, "inherited": tree{}, "parent": tree{"inherited": tree{}, "own": tree{}}})
	own := unix.Getegid()
	for path, gid := range map[string]int{"group": group, "inherited": group, "parent": group, "parent/inherited": group, "parent/own": own} {
		path = filepath.Join(dir, path)
		if err := os.Chown(path, -1, gid); err != nil {
			t.Skipf("NOT TESTED: the group of a destination, because only root can choose any: %v", err)
		}
		if strings.HasSuffix(path, "inherited") || strings.HasSuffix(path, "parent") {
			if err := os.Chmod(path, 0o775|fs.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}
	}
	f := newFake()
	root := f.put(t, "", tree{"a": "1", "d": tree{}})
	for path, below := range map[string]int{"group": own, "inherited": group, "parent/inherited": group, "parent/own": own} {
		var before, after, inside unix.Stat_t
		dest := filepath.Join(dir, path)
		err := unix.Lstat(dest, &before)
		if err == nil {
			_, err = Dir(t.Context(), f.store(), root, dest, Options{})
		}
		if err := errors.Join(err, unix.Lstat(dest, &after), unix.Lstat(dest+"/a", &inside)); err != nil {
			t.Fatal(err)
		}
		if after.Gid != before.Gid || after.Mode != before.Mode {
			t.Errorf("%s: group %d, mode %o, were %d, %o", path, after.Gid, after.Mode, before.Gid, before.Mode)
		}
		if inside.Gid != uint32(below) {
			t.Errorf("%s: a file in it has group %d, want %d", path, inside.Gid, below)
		}
	}
}

// TestTimeOfAnothers exports with a time to a directory of another user. It fails before anything appears there, because
// only the owner can set the time.
func TestTimeOfAnothers(t *testing.T) {
	dest := shared(t, 0, tree{})
	f := newFake()
	_, err := Dir(t.Context(), f.store(), f.put(t, "", tree{"a": "1"}), dest, Options{MTime: time.Unix(1, 0)})
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("error %v", err)
	}
	if d := cmp.Diff(any(tree{}), read(t, dest)); d != "" {
		t.Error(d)
	}
}

// nobody is another user.
const nobody = 65534

// shared returns a directory of owner that everybody can write to, with contents of root, and runs the rest of the test
// as nobody.
func shared(t *testing.T, owner int, contents tree) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: directories of another user, because only root can become another user")
	}
	dir, err := os.MkdirTemp("", "castar")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	dest := filepath.Join(dir, "out")
	plant(t, dest, contents)
	err = errors.Join(os.Chmod(dir, 0o755), os.Chown(dest, owner, -1), os.Chmod(dest, 0o777), syscall.Setreuid(-1, nobody))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Setreuid(-1, 0); err != nil {
			t.Fatal(err)
		}
	})
	return dest
}

// TestOwner exports to an empty directory of another user, which keeps its owner.
func TestOwner(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "out")
	plant(t, dest, tree{})
	if err := os.Chown(dest, 12345, 12345); err != nil {
		t.Skipf("NOT TESTED: the owner of a destination, because only root can give files away: %v", err)
	}
	f := newFake()
	if _, err := Dir(t.Context(), f.store(), f.put(t, "", tree{"a": "1"}), dest, Options{}); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(dest, &st); err != nil || st.Uid != 12345 {
		t.Errorf("owner %d, %v", st.Uid, err)
	}
	if d := cmp.Diff(any(tree{"a": "1"}), read(t, dest)); d != "" {
		t.Error(d)
	}
}

package export

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/storetest"
	"castar/store/storetest/gorace"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) {
	gorace.Restart()
	goleak.VerifyTestMain(m)
}

// names are valid names that are easy to get wrong.
func genName() *rapid.Generator[string] {
	odd := []string{"a", "b", "A", "..a", ".castar-x", " ", "-rf", "a\nb", "ü", strings.Repeat("n", 255), "\x01"}
	if runtime.GOOS != "darwin" { // where names are UTF-8
		odd = append(odd, "\xff\xfe", "a\\", strings.Repeat("\xe9", 255))
	}
	return rapid.OneOf(rapid.SampledFrom(odd), rapid.StringMatching(`[a-e]{1,3}`))
}

func genTree(depth int) *rapid.Generator[tree] {
	return rapid.Custom(func(r *rapid.T) tree {
		t := tree{}
		for range rapid.IntRange(0, 6).Draw(r, "entries") {
			name := genName().Draw(r, "name")
			switch rapid.IntRange(0, 4).Draw(r, "kind") {
			case 0:
				t[name] = exec(rapid.StringN(0, 20, 40).Draw(r, "program"))
			case 1:
				t[name] = link(rapid.SampledFrom([]string{"a", "/", "..", "../../..", "/etc/passwd", "loop", "\xff"}).Draw(r, "target"))
			case 2:
				if depth > 0 {
					t[name] = genTree(depth-1).Draw(r, "dir")
				}
			default:
				size := rapid.SampledFrom([]int{0, 1, 4096, 300 << 10}).Draw(r, "size")
				t[name] = strings.Repeat(rapid.SampledFrom([]string{"x", "y"}).Draw(r, "byte"), size)
			}
		}
		return t
	})
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	i := 0
	storetest.Check(t, func(r *rapid.T) {
		want := genTree(3).Draw(r, "tree")
		f := newFake()
		f.rule = rapid.SampledFrom([]store.SizeRule{store.SizeDocumented, store.SizeSnix}).Draw(r, "rule")
		i++
		dest := filepath.Join(dir, fmt.Sprint(i))
		res, err := Dir(t.Context(), f.store(), f.put(t, "", want), dest, Options{Jobs: rapid.IntRange(1, 8).Draw(r, "jobs")})
		if err != nil {
			r.Fatal(err)
		}
		if d := cmp.Diff(any(want), read(t, dest)); d != "" {
			r.Fatal(d)
		}
		if entries := res.Files + res.Directories + res.Symlinks; res.Written != entries || res.Unchanged+res.Deleted != 0 {
			r.Fatalf("%+v", res)
		}
		only(t, dir, 1)
		os.RemoveAll(dest)
	})
}

// only checks that dir has n entries, none of them temporary.
func only(t *testing.T, dir string, n int) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != n {
		t.Errorf("%s has %v, want %d", dir, entries, n)
	}
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		if strings.Contains(filepath.Base(path), ".castar-") && filepath.Base(path) != ".castar-x" {
			t.Errorf("left behind: %s", path)
		}
		return nil
	})
}

func TestRoots(t *testing.T) {
	tests := []struct {
		name string
		root any
		dest string // below the test's directory, which has "empty" and "link -> empty"
		at   string // where to look, if elsewhere
		err  string
	}{
		{name: "file", root: "data", dest: "out"},
		{name: "empty file", root: "", dest: "out"},
		{name: "program", root: exec("#!"), dest: "out"},
		{name: "symlink", root: link("/nowhere"), dest: "out"},
		{name: "empty directory", root: tree{}, dest: "out"},
		{name: "trailing slashes", root: tree{"a": "b"}, dest: "out//", at: "out"},
		{name: "doubled slash", root: tree{"a": "b"}, dest: "empty//out", at: "empty/out"},
		{name: "through a symlink", root: tree{"a": "b"}, dest: "link/out", at: "empty/out"},
		{name: "into an empty directory", root: tree{"a": "b", "c": tree{}}, dest: "empty"},
		{name: "into an empty directory by its inside", root: tree{"a": "b", "c": tree{}}, dest: "empty/.", at: "empty"},
		{name: "into an empty directory by dots", root: tree{"a": "b"}, dest: "empty/../empty/.", at: "empty"},
		{name: "long name", root: tree{"a": "b"}, dest: strings.Repeat("é", 127)},
		{name: "file to a directory", root: "data", dest: "empty", err: "/empty: is a directory"},
		{name: "file to the inside of a directory", root: "data", dest: "empty/.", err: "/empty/.: is a directory"},
		{name: "symlink to a directory", root: tree{}, dest: "link", err: "/link: file exists"},
		{name: "no parent", root: tree{}, dest: "x/y", err: "/x/y: no such file or directory"},
		{name: "parent is a file", root: tree{}, dest: "file/y", err: "/file/y: not a directory"},
		{name: "name too long", root: tree{}, dest: strings.Repeat("x", 256), err: "file name too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			plant(t, dir, tree{"empty": tree{}, "link": link("empty"), "file": "f"})
			f := newFake()
			_, err := Dir(t.Context(), f.store(), f.put(t, "ignored", tt.root), dir+"/"+tt.dest, Options{})
			if tt.err != "" {
				if err == nil || !strings.HasSuffix(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				if d := cmp.Diff(any(tree{"empty": tree{}, "link": link("empty"), "file": "f"}), read(t, dir)); d != "" {
					t.Error(d)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if tt.at == "" {
				tt.at = tt.dest
			}
			if d := cmp.Diff(tt.root, read(t, filepath.Join(dir, tt.at))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	want := tree{"a": tree{"b": "c"}, "d": link("a"), "e": "f"}
	f := newFake()
	root := f.put(t, "", want)
	if _, err := Dir(t.Context(), f.store(), root, "out", Options{}); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(any(want), read(t, "out")); d != "" {
		t.Error(d)
	}
	if _, err := Dir(t.Context(), f.store(), root, "", Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no destination: %v", err)
	}
	if _, err := Dir(t.Context(), f.store(), root, ".", Options{}); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("working directory: %v", err)
	}
	// The working directory stays in place, by whatever path it is named.
	for _, dest := range []string{".", "./", "../inner", "absolute"} {
		inner := filepath.Join(t.TempDir(), "inner")
		if err := os.Mkdir(inner, 0o700); err != nil {
			t.Fatal(err)
		}
		if dest == "absolute" {
			dest = inner
		}
		t.Chdir(inner)
		if _, err := Dir(t.Context(), f.store(), root, dest, Options{}); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(any(want), read(t, ".")); d != "" {
			t.Errorf("%s: %s", dest, d)
		}
		if got := mode(t, "."); got != 0o700 {
			t.Errorf("%s: mode %o, want that of before", dest, got)
		}
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	fi, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return fi.Mode().Perm()
}

func TestModes(t *testing.T) {
	tests := []struct {
		umask           int
		o               Options
		dir, file, exec fs.FileMode
	}{
		{0o022, Options{}, 0o755, 0o644, 0o755},
		{0o000, Options{}, 0o755, 0o644, 0o755},
		{0o077, Options{}, 0o700, 0o600, 0o700},
		{0o027, Options{FileMode: 0o666, ExecMode: 0o777, DirMode: 0o777}, 0o750, 0o640, 0o750},
		{0o022, Options{FileMode: 0o444, ExecMode: 0o555, DirMode: 0o555}, 0o555, 0o444, 0o555},
		{0o002, Options{DirMode: 0o577}, 0o575, 0o644, 0o755},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%03o", tt.umask), func(t *testing.T) {
			dest := filepath.Join(t.TempDir(), "out")
			f := newFake()
			root := f.put(t, "", tree{"d": tree{"file": "f", "exec": exec("x")}})
			old := unix.Umask(tt.umask)
			_, err := Dir(t.Context(), f.store(), root, dest, tt.o)
			unix.Umask(old)
			if err != nil {
				t.Fatal(err)
			}
			for path, want := range map[string]fs.FileMode{"": tt.dir, "d": tt.dir, "d/file": tt.file, "d/exec": tt.exec} {
				if got := mode(t, filepath.Join(dest, path)); got != want {
					t.Errorf("%q has mode %03o, want %03o", path, got, want)
				}
			}
			for _, d := range []string{dest, filepath.Join(dest, "d")} {
				os.Chmod(d, 0o755) // so that it can be removed
			}
		})
	}
	_, err := Dir(t.Context(), newFake().store(), store.Node{Kind: store.KindDirectory}, "x", Options{DirMode: 0o355})
	if err == nil || !strings.Contains(err.Error(), "directory mode 0355") {
		t.Errorf("directory mode 0355: %v", err)
	}
}

// TestReplacedDirectoryKeepsMode exports to an empty private directory, which must stay private.
func TestReplacedDirectoryKeepsMode(t *testing.T) {
	dest := filepath.Join(t.TempDir(), "out")
	if err := os.Mkdir(dest, 0o700); err != nil {
		t.Fatal(err)
	}
	f := newFake()
	f.onOpen = func(store.Digest) error { // it is not to be read before it has that name, either
		entries, err := os.ReadDir(filepath.Dir(dest))
		for _, entry := range entries {
			if got := mode(t, filepath.Join(filepath.Dir(dest), entry.Name())); got != 0o700 {
				t.Errorf("meanwhile %s has mode %o", entry.Name(), got)
			}
		}
		return err
	}
	if _, err := Dir(t.Context(), f.store(), f.put(t, "", tree{"a": "b"}), dest, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := mode(t, dest); got != 0o700 {
		t.Errorf("mode %o", got)
	}
}

func TestMTime(t *testing.T) {
	want := tree{"d": tree{"f": "f", "e": tree{}}, "l": link("d/f"), "x": exec("x")}
	for _, when := range []time.Time{time.Unix(0, 0), time.Unix(1234567890, 123456789)} {
		for _, o := range []Options{{}, {Overwrite: true}} {
			dest := filepath.Join(t.TempDir(), "out")
			f := newFake()
			root := f.put(t, "", want)
			if o.Overwrite {
				plant(t, dest, tree{"d": tree{"f": "f"}, "l": link("d/f")})
			}
			o.MTime = when
			if _, err := Dir(t.Context(), f.store(), root, dest, o); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{"", "d", "d/f", "d/e", "l", "x"} {
				fi, err := os.Lstat(filepath.Join(dest, path))
				if err != nil {
					t.Fatal(err)
				}
				if !fi.ModTime().Equal(when) {
					t.Errorf("%+v: %q has %v, want %v", o, path, fi.ModTime(), when)
				}
			}
		}
	}
	dest := filepath.Join(t.TempDir(), "out")
	f := newFake()
	before := time.Now().Add(-time.Minute)
	if _, err := Dir(t.Context(), f.store(), f.put(t, "", want), dest, Options{}); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(dest + "/d/f"); err != nil || fi.ModTime().Before(before) {
		t.Errorf("default: %v %v", fi, err)
	}
}

func TestProgressAndNotify(t *testing.T) {
	f := newFake()
	root := f.put(t, "", tree{"d": tree{"f": "12345", "x": exec("x")}, "l": link("d/f"), "e": ""})
	dest := filepath.Join(t.TempDir(), "out")
	var p Progress
	var changes []string
	o := Options{Progress: &p, DryRun: true, Notify: func(a Action) { changes = append(changes, string(a.Op)+" "+a.Path) }}
	want := Result{Files: 3, Directories: 2, Symlinks: 1, Bytes: 6, Written: 6}
	wantChanges := []string{"mkdir ", "mkdir d", "write d/f", "write d/x", "write e", "write l"}
	for _, o.DryRun = range []bool{true, false} {
		p, changes = Progress{}, nil
		r, err := Dir(t.Context(), f.store(), root, dest, o)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(changes)
		if r != want || p.result() != want || !slices.Equal(changes, wantChanges) {
			t.Errorf("dry run %v: %+v, %+v, %q", o.DryRun, r, p.result(), changes)
		}
		if exists := read(t, dest) != nil; exists == o.DryRun {
			t.Errorf("dry run %v: destination there: %v", o.DryRun, exists)
		}
	}
}

func TestCancel(t *testing.T) {
	contents := tree{}
	for i := range 20 {
		contents[fmt.Sprint("dir", i)] = tree{"f": fmt.Sprint("f", i), "g": tree{"h": fmt.Sprint("h", i)}}
	}
	stopped := errors.New("stopped by the test")
	for _, existing := range []string{"", "empty", "full", "cwd"} {
		for _, at := range []int{0, 1, 7, 39} {
			t.Run(fmt.Sprint(existing, at), func(t *testing.T) {
				dir := t.TempDir()
				dest, n := filepath.Join(dir, "out"), 0
				o := Options{}
				if existing != "" {
					n = 1
					plant(t, dest, tree{})
				}
				if existing == "full" {
					o.Overwrite, o.Delete = true, true
					plant(t, dest, tree{"dir3": tree{"f": "other", "x": "y"}, "dir4": "in the way"})
				}
				if existing == "cwd" {
					t.Chdir(dest)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				f := newFake()
				root := f.put(t, "", contents)
				opened := 0
				f.onOpen = func(store.Digest) error {
					f.mu.Lock()
					defer f.mu.Unlock()
					if opened == at {
						cancel(stopped)
					}
					opened++
					return nil
				}
				if _, err := Dir(ctx, f.store(), root, dest, o); !errors.Is(err, stopped) {
					t.Fatalf("error %v", err)
				}
				only(t, dir, n)
				if got := read(t, dest); existing != "full" && n == 1 && len(got.(tree)) > 0 {
					t.Errorf("in the empty directory: %v", got)
				}
			})
		}
	}
}

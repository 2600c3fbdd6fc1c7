package durable_test

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"castar/store/durable"
	"castar/store/durable/crashfs"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// want fails the test unless err is target and names the path.
func want(t *testing.T, err, target error, name string) {
	t.Helper()
	if !errors.Is(err, target) || !strings.Contains(err.Error(), name+": ") {
		t.Errorf("got error %v, want %s: %v", err, name, target)
	}
}

func put(t *testing.T, fsys durable.FS, name, data string) {
	t.Helper()
	f, err := fsys.Create(name)
	check(t, err)
	_, err = f.Write([]byte(data))
	check(t, err)
	check(t, f.Close())
}

func get(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	data, err := durable.ReadFile(fsys, name, 1<<20)
	check(t, err)
	return string(data)
}

func second[T any](_ T, err error) error { return err }

func dir(t *testing.T, path string) *durable.DirFS {
	t.Helper()
	d, err := durable.Dir(path)
	check(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

// TestFS checks that the operating system and its model behave alike.
func TestFS(t *testing.T) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, durable.FS)
	}{
		{"create", testCreate}, {"append", testAppend}, {"read", testRead}, {"map", testMap}, {"open", testOpen},
		{"mkdir", testMkdir}, {"rename", testRename}, {"remove", testRemove}, {"readdir", testReadDir},
		{"stat", testStat}, {"syncdir", testSyncDir}, {"lock", testLock}, {"names", testNames}, {"closed", testClosed},
		{"helpers", testHelpers},
	} {
		t.Run("dir/"+tt.name, func(t *testing.T) { tt.test(t, dir(t, t.TempDir())) })
		t.Run("crashfs/"+tt.name, func(t *testing.T) {
			fsys := crashfs.New()
			tt.test(t, fsys)
			if n := fsys.InUse(); n != 0 {
				t.Errorf("%d files, maps and locks were left", n)
			}
		})
	}
}

func testCreate(t *testing.T, fsys durable.FS) {
	f, err := fsys.Create("f")
	check(t, err)
	want(t, second(fsys.Create("f")), fs.ErrExist, "f")
	want(t, second(fsys.Create("d/f")), fs.ErrNotExist, "d/f")
	want(t, second(fsys.Create("f/f")), syscall.ENOTDIR, "f/f")
	n, err := f.WriteAt([]byte("xyz"), 2)
	if n != 3 || err != nil {
		t.Errorf("WriteAt: %d, %v", n, err)
	}
	_, err = f.Write([]byte("ab")) // at the file's own offset, which WriteAt does not move
	check(t, err)
	_, err = f.Write([]byte("c"))
	check(t, err)
	n, err = f.Write(nil)
	if n != 0 || err != nil {
		t.Errorf("write of nothing: %d, %v", n, err)
	}
	if _, err := f.WriteAt([]byte("x"), -1); err == nil {
		t.Error("wrote at -1")
	}
	check(t, f.Sync())
	buf := make([]byte, 5)
	_, err = f.ReadAt(buf, 0)
	check(t, err)
	size, err := f.Size()
	check(t, err)
	if string(buf) != "abcyz" || size != 5 {
		t.Errorf("got %q of %d", buf, size)
	}
	_, err = f.WriteAt([]byte("!"), 7)
	check(t, err)
	check(t, f.Close())
	if got := get(t, fsys, "f"); got != "abcyz\x00\x00!" {
		t.Errorf("got %q", got)
	}
}

func testAppend(t *testing.T, fsys durable.FS) {
	a, err := fsys.Append("f")
	check(t, err)
	b, err := fsys.Append("f")
	check(t, err)
	for _, f := range []durable.File{a, b, a} {
		buf := []byte("ab")
		_, err := f.Write(buf)
		check(t, err)
		clear(buf) // which the file may not have kept
	}
	if _, err := a.WriteAt([]byte("x"), 0); err == nil {
		t.Error("WriteAt of a file that is appended to")
	}
	want(t, second(a.ReadAt(make([]byte, 1), 0)), syscall.EBADF, "f")
	want(t, second(a.Map()), syscall.EACCES, "f")
	check(t, a.Sync())
	check(t, a.Close())
	check(t, b.Close())
	if got := get(t, fsys, "f"); got != "ababab" {
		t.Errorf("got %q", got)
	}
	want(t, second(fsys.Append("d/f")), fs.ErrNotExist, "d/f")
	check(t, fsys.Mkdir("d"))
	want(t, second(fsys.Append("d")), syscall.EISDIR, "d")
}

func testRead(t *testing.T, fsys durable.FS) {
	put(t, fsys, "f", "abcd")
	f, err := fsys.Open("f")
	check(t, err)
	defer f.Close()
	for _, tt := range []struct {
		off  int64
		len  int
		want string
		err  error
	}{{0, 4, "abcd", nil}, {1, 2, "bc", nil}, {2, 3, "cd", io.EOF}, {4, 1, "", io.EOF}, {9, 1, "", io.EOF}, {0, 0, "", nil}} {
		buf := make([]byte, tt.len)
		n, err := f.ReadAt(buf, tt.off)
		if string(buf[:n]) != tt.want || err != tt.err {
			t.Errorf("ReadAt(%d, %d): %q, %v", tt.off, tt.len, buf[:n], err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("read at -1")
	}
	want(t, second(f.Write([]byte("x"))), syscall.EBADF, "f")
	want(t, second(f.WriteAt([]byte("x"), 0)), syscall.EBADF, "f")
}

func testMap(t *testing.T, fsys durable.FS) {
	put(t, fsys, "f", "abcd")
	put(t, fsys, "empty", "")
	f, err := fsys.Open("f")
	check(t, err)
	data, err := f.Map()
	check(t, err)
	check(t, f.Close())
	check(t, fsys.Remove("f"))
	if string(data) != "abcd" {
		t.Errorf("got %q", data)
	}
	f.Evict(data)
	if string(data) != "abcd" {
		t.Errorf("after it was evicted: %q", data)
	}
	check(t, f.Unmap(data))

	e, err := fsys.Open("empty")
	check(t, err)
	defer e.Close()
	data, err = e.Map()
	if data != nil || err != nil {
		t.Errorf("map of an empty file: %v, %v", data, err)
	}
	e.Evict(data)
	check(t, e.Unmap(data))
}

func testOpen(t *testing.T, fsys durable.FS) {
	check(t, fsys.Mkdir("d"))
	want(t, second(fsys.Open("f")), fs.ErrNotExist, "f")
	want(t, second(fsys.Open("d")), syscall.EISDIR, "d")
	want(t, second(fsys.Open(".")), syscall.EISDIR, fsys.Path("."))
	put(t, fsys, "d/f", "x")
	want(t, second(fsys.Open("d/f/f")), syscall.ENOTDIR, "d/f/f")
}

func testMkdir(t *testing.T, fsys durable.FS) {
	check(t, fsys.Mkdir("d"))
	check(t, fsys.Mkdir("d/e"))
	put(t, fsys, "f", "x")
	want(t, fsys.Mkdir("d"), fs.ErrExist, "d")
	want(t, fsys.Mkdir("f"), fs.ErrExist, "f")
	want(t, fsys.Mkdir("x/y"), fs.ErrNotExist, "x/y")
	want(t, fsys.Mkdir("f/y"), syscall.ENOTDIR, "f/y")
}

func testRename(t *testing.T, fsys durable.FS) {
	check(t, fsys.Mkdir("d"))
	check(t, fsys.Mkdir("e"))
	put(t, fsys, "a", "new")
	put(t, fsys, "d/b", "old")
	old, err := fsys.Open("d/b")
	check(t, err)
	defer old.Close()
	check(t, fsys.Rename("a", "d/b"))
	want(t, second(fsys.Stat("a")), fs.ErrNotExist, "a")
	if got := get(t, fsys, "d/b"); got != "new" {
		t.Errorf("got %q", got)
	}
	buf := make([]byte, 3)
	_, err = old.ReadAt(buf, 0)
	check(t, err)
	if string(buf) != "old" {
		t.Errorf("the replaced file that is open has %q", buf)
	}
	check(t, fsys.Rename("d/b", "d/b"))
	want(t, fsys.Rename("x", "y"), fs.ErrNotExist, "y")
	want(t, fsys.Rename("d/b", "x/y"), fs.ErrNotExist, "x/y")
	want(t, fsys.Rename("d/b", "d"), fs.ErrExist, "d")
	check(t, fsys.Mkdir("none"))
	want(t, fsys.Rename("d/b", "none"), fs.ErrExist, "none")
	want(t, fsys.Rename("e", "none"), fs.ErrExist, "none")
	want(t, fsys.Rename("d/b", "d/b/c"), syscall.ENOTDIR, "d/b/c")
	want(t, fsys.Rename("d", "d/e"), syscall.EINVAL, "d/e")
	want(t, fsys.Rename("e", "d/b"), syscall.ENOTDIR, "d/b")
	check(t, fsys.Rename("d", "moved"))
	if got := get(t, fsys, "moved/b"); got != "new" {
		t.Errorf("got %q", got)
	}
}

func testRemove(t *testing.T, fsys durable.FS) {
	check(t, fsys.Mkdir("d"))
	put(t, fsys, "d/f", "x")
	want(t, fsys.Remove("d"), syscall.ENOTEMPTY, "d")
	want(t, fsys.Remove("d/g"), fs.ErrNotExist, "d/g")
	check(t, fsys.Remove("d/f"))
	check(t, fsys.Remove("d"))
	want(t, second(fsys.Stat("d")), fs.ErrNotExist, "d")
}

func testReadDir(t *testing.T, fsys durable.FS) {
	put(t, fsys, "b", "x")
	put(t, fsys, "a0", "xyz")
	check(t, fsys.Mkdir("a"))
	put(t, fsys, "a/f", "")
	var got []string
	entries, err := fsys.ReadDir(".")
	check(t, err)
	for _, e := range entries {
		got = append(got, e.Type().String()+" "+e.Name())
	}
	if diff := cmp.Diff([]string{"d--------- a", "---------- a0", "---------- b"}, got); diff != "" {
		t.Error(diff)
	}
	want(t, second(fsys.ReadDir("b")), syscall.ENOTDIR, "b")
	want(t, second(fsys.ReadDir("x")), fs.ErrNotExist, "x")
}

func testStat(t *testing.T, fsys durable.FS) {
	put(t, fsys, "f", "xyz")
	check(t, fsys.Mkdir("d"))
	fi, err := fsys.Stat("f")
	check(t, err)
	if fi.Name() != "f" || fi.Size() != 3 || fi.Mode() != 0o600 {
		t.Errorf("got %v", fs.FormatFileInfo(fi))
	}
	fi, err = fsys.Stat("d")
	check(t, err)
	if fi.Name() != "d" || fi.Mode() != fs.ModeDir|0o700 {
		t.Errorf("got %v", fs.FormatFileInfo(fi))
	}
	_, err = fsys.Stat(".")
	check(t, err)
	want(t, second(fsys.Stat("f/x")), syscall.ENOTDIR, "f/x")
}

func testSyncDir(t *testing.T, fsys durable.FS) {
	put(t, fsys, "f", "")
	check(t, fsys.Mkdir("d"))
	check(t, fsys.SyncDir("d"))
	check(t, fsys.SyncDir("."))
	want(t, fsys.SyncDir("f"), syscall.ENOTDIR, "f")
	want(t, fsys.SyncDir("x"), fs.ErrNotExist, "x")
}

func testLock(t *testing.T, fsys durable.FS) {
	a, err := fsys.Lock("lock", true)
	check(t, err)
	want(t, second(fsys.Lock("lock", true)), durable.ErrLocked, "lock")
	want(t, second(fsys.Lock("lock", false)), durable.ErrLocked, "lock")
	check(t, a.Shared())
	b, err := fsys.Lock("lock", false)
	check(t, err)
	check(t, b.Shared())
	want(t, second(fsys.Lock("lock", true)), durable.ErrLocked, "lock")
	check(t, a.Close())
	want(t, second(fsys.Lock("lock", true)), durable.ErrLocked, "lock")
	check(t, b.Close())
	c, err := fsys.Lock("lock", true)
	check(t, err)
	check(t, c.Close())
	want(t, c.Close(), fs.ErrClosed, "lock")
	want(t, second(fsys.Lock("d/lock", true)), fs.ErrNotExist, "d/lock")
}

func testNames(t *testing.T, fsys durable.FS) {
	for _, name := range []string{"", "/f", "../f", "a/../f", "a/", "a//b", "./f"} {
		for _, err := range []error{second(fsys.Open(name)), second(fsys.Create(name)), second(fsys.Append(name)),
			fsys.Mkdir(name), fsys.Rename(name, "x"), fsys.Rename("x", name), fsys.Remove(name),
			second(fsys.ReadDir(name)), second(fsys.Stat(name)), fsys.SyncDir(name), second(fsys.Lock(name, true))} {
			if !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%q: %v, want %v", name, err, fs.ErrInvalid)
			}
		}
	}
}

func testClosed(t *testing.T, fsys durable.FS) {
	f, err := fsys.Create("f")
	check(t, err)
	check(t, f.Close())
	for _, err := range []error{second(f.ReadAt(make([]byte, 1), 0)), second(f.Write([]byte("x"))),
		second(f.WriteAt([]byte("x"), 0)), second(f.Size()), f.Sync(), second(f.Map()), f.Close()} {
		want(t, err, fs.ErrClosed, "f")
	}
}

func testHelpers(t *testing.T, fsys durable.FS) {
	check(t, durable.MkdirAll(fsys, "."))
	check(t, durable.MkdirAll(fsys, "a/b"))
	check(t, durable.MkdirAll(fsys, "a/b/c"))
	tmp := durable.TempName()
	if len(tmp) != 16 || tmp == durable.TempName() {
		t.Errorf("temporary name %q", tmp)
	}
	check(t, durable.WriteFile(fsys, tmp, "a/b/f", []byte("old")))
	check(t, durable.WriteFile(fsys, tmp, "a/b/f", []byte("new")))
	if got := get(t, fsys, "a/b/f"); got != "new" {
		t.Errorf("got %q", got)
	}
	want(t, durable.MkdirAll(fsys, "a/b/f"), syscall.ENOTDIR, "a/b/f")
	want(t, durable.MkdirAll(fsys, "a/b/f/g"), syscall.ENOTDIR, "a/b/f")
	want(t, second(durable.ReadFile(fsys, "x", 1<<20)), fs.ErrNotExist, "x")

	put(t, fsys, tmp, "of another") // which WriteFile may not touch
	want(t, durable.WriteFile(fsys, tmp, "a/b/f", nil), fs.ErrExist, tmp)
	if got := get(t, fsys, tmp); got != "of another" {
		t.Errorf("got %q", got)
	}
}

package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"castar/store/durable"
)

// A symbolic link in the folder never leads out of it.
func TestDirSymlinks(t *testing.T) {
	top := t.TempDir()
	outside, inside := filepath.Join(top, "outside"), filepath.Join(top, "inside")
	check(t, os.MkdirAll(filepath.Join(outside, "d"), 0o700))
	check(t, os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o600))
	check(t, os.MkdirAll(inside, 0o700))
	for _, target := range []string{outside, "../outside"} {
		os.Remove(filepath.Join(inside, "out"))
		os.Remove(filepath.Join(inside, "file"))
		check(t, os.Symlink(target, filepath.Join(inside, "out")))
		check(t, os.Symlink(target+"/f", filepath.Join(inside, "file")))
		fsys := dir(t, inside)
		for i, err := range []error{
			second(fsys.Open("out/f")), second(fsys.Open("file")), second(fsys.Create("out/new")),
			second(fsys.Append("file")), second(fsys.Append("out/f")), fsys.Mkdir("out/e"), fsys.Rename("out/f", "x"),
			fsys.Remove("out/f"), second(fsys.ReadDir("out")), second(fsys.Stat("out/f")), fsys.SyncDir("out"),
			second(fsys.Lock("file", true)), second(fsys.Lock("out/lock", true)), second(fsys.Create("file")),
		} {
			if err == nil {
				t.Errorf("%s: operation %d followed the link", target, i)
			}
		}
		fi, err := fsys.Stat("file")
		check(t, err)
		if fi.Mode().Type() != fs.ModeSymlink {
			t.Errorf("stat of a link says %v", fi.Mode())
		}
	}
	entries, err := os.ReadDir(outside)
	check(t, err)
	if len(entries) != 2 {
		t.Errorf("outside has %v", entries)
	}
}

// A named pipe in place of a file is an error, and does not block.
func TestDirPipe(t *testing.T) {
	path := t.TempDir()
	check(t, syscall.Mkfifo(filepath.Join(path, "f"), 0o600))
	fsys := dir(t, path)
	if _, err := fsys.Open("f"); err == nil {
		t.Error("opened a pipe")
	}
	if _, err := fsys.Append("f"); err == nil {
		t.Error("appended to a pipe")
	}
}

// A lock file that cannot be written can still be locked. Root can write every file, so it runs the test as nobody.
func TestDirLockReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		asNobody(t)
		return
	}
	path := t.TempDir()
	check(t, os.WriteFile(filepath.Join(path, "lock"), nil, 0o400))
	check(t, os.Chmod(path, 0o500))
	t.Cleanup(func() { os.Chmod(path, 0o700) })
	fsys := dir(t, path)
	l, err := fsys.Lock("lock", false)
	check(t, err)
	check(t, l.Close())
	want(t, second(fsys.Lock("missing", false)), fs.ErrPermission, "missing")
}

// asNobody runs the calling test again, in a process of an unprivileged user.
func asNobody(t *testing.T) {
	t.Helper()
	// Only its owner may enter the folder of the test program, and often the folder for temporary files too.
	dir, err := os.MkdirTemp("", "castar-")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	check(t, os.Chmod(dir, 0o777))
	program, err := os.ReadFile(os.Args[0])
	check(t, err)
	copied := filepath.Join(dir, "test")
	check(t, os.WriteFile(copied, program, 0o755))
	c := exec.Command(copied, "-test.v", "-test.run=^"+t.Name()+"$")
	c.Dir = dir
	c.Env = append(os.Environ(), "TMPDIR="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := c.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDirMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	want(t, second(durable.Dir(path)), fs.ErrNotExist, path)
}

// Concurrent writes to the end of a file do not mix.
func TestDirConcurrent(t *testing.T) {
	fsys := dir(t, t.TempDir())
	done := make(chan error)
	const n = 8
	for range n {
		go func() {
			f, err := fsys.Append("f")
			if err == nil {
				_, err = f.Write([]byte("0123456789"))
				err = errors.Join(err, f.Close())
			}
			done <- err
		}()
	}
	for range n {
		check(t, <-done)
	}
	if got := get(t, fsys, "f"); got != strings.Repeat("0123456789", n) {
		t.Errorf("got %q", got)
	}
}

func TestMakeFolder(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a/b/c", "a/b/c", "a", "a/d"} {
		folder := filepath.Join(dir, name)
		if err := durable.MakeFolder(folder); err != nil {
			t.Error(err)
		}
		if fi, err := os.Stat(folder); err != nil || !fi.IsDir() {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	for _, name := range []string{file, file + "/below"} {
		if err := durable.MakeFolder(name); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("%s: %v, want ENOTDIR", name, err)
		}
	}
}

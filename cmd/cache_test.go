package cmd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// unseen is a file that can be changed without a trace in its times, as nothing but a memory map of a tmpfs can.
type unseen struct {
	path string
	data []byte
}

// newUnseen makes a file of that name in dir, which holds "old", and which is old enough to be remembered.
func newUnseen(t *testing.T, dir, name string) unseen {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("..."); err != nil {
		t.Fatal(err)
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, 3, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(data) })
	copy(data, "old")
	time.Sleep(50 * time.Millisecond)
	return unseen{path, data}
}

// set changes the file to text.
func (u unseen) set(t *testing.T, text string) {
	t.Helper()
	before, err := os.Stat(u.path)
	if err != nil {
		t.Fatal(err)
	}
	copy(u.data, text)
	after, err := os.Stat(u.path)
	if err != nil || !after.ModTime().Equal(before.ModTime()) {
		t.Skipf("NOT TESTED: what is not read again: the time of %s changed from %v to %v, error %v", u.path, before, after, err)
	}
}

// TestReadAgain looks at which commands read a file again. One that does not sees its old contents.
func TestReadAgain(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "castar-test-")
	if err != nil {
		t.Skipf("NOT TESTED: what is not read again: there is no tmpfs: %v", err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o700); err != nil {
		t.Fatal(err)
	}
	environ := append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"), "CASTAR_STORE="+filepath.Join(dir, "store"))
	run := func(status int, args ...string) string {
		t.Helper()
		c := exec.Command("castar", args...)
		c.Env = environ
		out, err := c.Output()
		if got := c.ProcessState.ExitCode(); got != status {
			t.Fatalf("castar %v: exit status %d, want %d: %v", args, got, status, err)
		}
		return strings.TrimSpace(string(out))
	}
	file := newUnseen(t, tree, "file")
	if err := syscall.Mkfifo(filepath.Join(tree, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(1, "ingest", tree) // refuses the pipe, and has read the file
	file.set(t, "new")
	root := run(3, "ingest", "--skip-special", tree)
	if got := run(0, "cat", root+":file"); got != "old" {
		t.Errorf("a file was read again after an ingest that failed: %q", got)
	}
	if got := run(3, "diff", root, tree); got != "" {
		t.Errorf("diff read a file again: %q", got)
	}
	if got := run(3, "diff", "-e", "file", root, tree); got != "" {
		t.Errorf("diff -e file: %q, want nothing", got)
	}
	if got := run(3, "diff", "--trust-cache", root, tree); got != "" {
		t.Errorf("diff read a file again after it was left out: %q", got)
	}
	if got := run(3, "diff", "--no-cache", root, tree); got != "M file" {
		t.Errorf("diff --no-cache: %q, want that the file changed", got)
	}
	if got := run(3, "ingest", "--no-cache", "--skip-special", tree); got == root {
		t.Error("ingest --no-cache did not read a file again")
	}
	if got := run(3, "ingest", "--skip-special", tree); got != root {
		t.Error("a file was read again that was left out once")
	}
}

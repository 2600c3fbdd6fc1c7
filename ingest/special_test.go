package ingest

import (
	"context"
	"errors"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"castar/store/memory"

	"golang.org/x/sys/unix"
)

func mkfifo(path string) error { return unix.Mkfifo(path, 0o644) }

func TestSpecial(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") // the path of a socket is short
	try(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	kept := tree{"a": "", "d": tree{}}
	plant(t, dir, kept)
	try(t, mkfifo(dir+"/d/pipe"))
	l, err := net.Listen("unix", dir+"/socket")
	try(t, err)
	defer l.Close()
	want2 := map[string]error{"d/pipe": ErrSpecial}
	if err := unix.Mknod(dir+"/null", unix.S_IFCHR|0o600, 0); err == nil {
		want2["null"] = ErrSpecial
	} else {
		t.Logf("NOT TESTED: devices, which need root: %v", err)
	}
	wantLeftOut(t, dir, Options{}, kept, want2)
	r := want(t, dir, Options{SkipSpecial: true}, kept)
	if len(r.Sockets) != 1 || r.Sockets[0] != dir+"/socket" { // it holds no data
		t.Errorf("sockets %q", r.Sockets)
	}
	if _, err := FS(context.Background(), memory.New(), dir+"/socket", Options{}); !errors.Is(err, ErrSpecial) {
		t.Errorf("a socket as the root: %v", err)
	}
	if len(r.LeftOut) != len(want2) {
		t.Errorf("left out %v", r.LeftOut)
	}
	for _, p := range r.LeftOut {
		if !p.Special {
			t.Errorf("%v is not marked as special", p)
		}
	}
	// Other problems are still refused, and only they.
	o := Options{SkipSpecial: true, hook: func(m hookMoment, path string) {
		if m == hookListed && path == dir {
			os.Remove(dir + "/a")
		}
	}}
	_, err = FS(context.Background(), memory.New(), dir, o)
	var left *LeftOutError
	if !errors.As(err, &left) || len(left.Problems) != 1 || left.Problems[0].Path != dir+"/a" {
		t.Errorf("error %v, want that of a alone", err)
	}
}

// asNobody runs the test again in a process without the powers of root, if this one has them. It reports whether the test
// must go on in this process.
func asNobody(t *testing.T) bool {
	t.Helper()
	const mark = "CASTAR_TEST_NOBODY"
	if os.Geteuid() != 0 {
		return true
	}
	if os.Getenv(mark) == "" {
		rerun(t, mark+"=1")
		return false
	}
	const nobody = 65534
	try(t, syscall.Setgroups(nil))
	try(t, syscall.Setgid(nobody))
	try(t, syscall.Setuid(nobody))
	if f, err := os.CreateTemp("", ""); err != nil {
		t.Skipf("NOT TESTED: unreadable files, because only root can write to the temporary directory: %v", err)
	} else {
		f.Close()
		os.Remove(f.Name())
	}
	return true
}

// rerun runs this test alone in a new process.
func rerun(t *testing.T, env ...string) {
	t.Helper()
	cmd := osexec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()+" ") {
		t.Errorf("as another process: %v\n%s", err, out)
	}
}

func TestUnreadable(t *testing.T) {
	if !asNobody(t) {
		return
	}
	dir := planted(t, tree{
		"file": "secret", "dir": tree{"a": ""}, "good": "good", "kept": tree{"x": "x", "y": "y"},
		"listed":  tree{"p": "1", "q": tree{"r": ""}}, // names can be read, entries cannot
		"ignored": tree{".gitignore": "*", "seen": "seen"},
	})
	modes := map[string]os.FileMode{"file": 0, "dir": 0o300, "kept/y": 0o200, "listed": 0o400, "ignored/.gitignore": 0}
	for name, mode := range modes {
		try(t, os.Chmod(filepath.Join(dir, name), mode))
		t.Cleanup(func() { os.Chmod(filepath.Join(dir, name), 0o700) })
	}
	for _, o := range []Options{{}, {Jobs: 1}, {GitIgnore: true}, {SkipSpecial: true}} {
		wantLeftOut(t, dir, o, tree{
			"good": "good", "kept": tree{"x": "x"}, "listed": tree{}, "ignored": tree{"seen": "seen"},
		}, map[string]error{
			"file": unix.EACCES, "dir": unix.EACCES, "kept/y": unix.EACCES, "listed/p": unix.EACCES, "listed/q": unix.EACCES,
			"ignored/.gitignore": unix.EACCES,
		})
	}
	_, err := FS(context.Background(), nil, dir+"/file", Options{IgnoreErrors: true})
	if want := dir + "/file: permission denied"; err == nil || err.Error() != want {
		t.Errorf("an unreadable root: %v, want %s", err, want)
	}
	_, err = FS(context.Background(), nil, dir, Options{})
	if want := "6 entries could not be stored"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestReadError ingests files in /proc: one that cannot be read, and one with a wrong size.
func TestReadError(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("NOT TESTED: needs the proc file system")
	}
	tests := []struct {
		path string
		want error
	}{
		{"/proc/self/mem", unix.EIO},    // cannot be read at 0
		{"/proc/self/maps", ErrChanged}, // has bytes, and says it has none
	}
	for _, tt := range tests {
		r, err := FS(context.Background(), nil, tt.path, Options{})
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: root %v, error %v; want %v", tt.path, r.Root, err, tt.want)
		}
	}
}

package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// mountTest is a store with a tag t of a tree with a file f, and a folder to mount it at.
type mountTest struct {
	t               *testing.T
	dir, store, mnt string
}

func newMountTest(t *testing.T) *mountTest {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("NOT TESTED: castar mount, which needs /dev/fuse and root")
	}
	dir := t.TempDir()
	m := &mountTest{t, dir, filepath.Join(dir, "store"), filepath.Join(dir, "a mount")}
	mkdir(t, m.mnt, filepath.Join(dir, "tree"))
	try(t, os.WriteFile(filepath.Join(dir, "tree", "f"), []byte("contents"), 0o600))
	m.run(0, "ingest", "-q", "--no-metadata", "--tag", "t", filepath.Join(dir, "tree"))
	t.Cleanup(func() {
		for unix.Unmount(m.mnt, unix.MNT_DETACH) == nil { // whatever failed, nothing stays mounted
		}
	})
	return m
}

func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *mountTest) command(args ...string) *exec.Cmd {
	c := exec.Command("castar", append([]string{"-s", m.store}, args...)...)
	c.Env = append(os.Environ(), "XDG_CACHE_HOME="+m.dir)
	return c
}

// run runs castar, and returns what it printed.
func (m *mountTest) run(status int, args ...string) (stdout, stderr string) {
	m.t.Helper()
	var out, errs bytes.Buffer
	c := m.command(args...)
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if got := c.ProcessState.ExitCode(); got != status {
		m.t.Fatalf("castar %q: status %d, want %d: %v\n%s%s", args, got, status, err, &out, &errs)
	}
	return out.String(), errs.String()
}

// start runs castar mount in the foreground, and returns when it is ready.
func (m *mountTest) start(args ...string) (c *exec.Cmd, stderr *os.File) {
	m.t.Helper()
	c = m.command(append([]string{"mount", "-q"}, args...)...)
	out, err := c.StdoutPipe()
	try(m.t, err)
	stderr, theirs, err := os.Pipe()
	try(m.t, err)
	c.Stderr = theirs
	try(m.t, c.Start())
	theirs.Close()
	m.t.Cleanup(func() {
		_ = c.Process.Kill()
		stderr.Close()
	})
	line := make([]byte, len(m.mnt)+1)
	if _, err := io.ReadFull(out, line); err != nil || string(line) != m.mnt+"\n" {
		rest, _ := io.ReadAll(stderr)
		m.t.Fatalf("printed %q, %v; %s", line, err, rest)
	}
	return c, stderr
}

// check reads the file through the mount.
func (m *mountTest) check() {
	m.t.Helper()
	if got, err := os.ReadFile(filepath.Join(m.mnt, "f")); err != nil || string(got) != "contents" {
		m.t.Errorf("%q, %v", got, err)
	}
}

// ended waits for a process, and checks its status and that nothing is mounted.
func (m *mountTest) ended(c *exec.Cmd, status int) {
	m.t.Helper()
	_ = c.Wait()
	if got := c.ProcessState.ExitCode(); got != status {
		m.t.Errorf("status %d, want %d", got, status)
	}
	if entries, err := os.ReadDir(m.mnt); err != nil || len(entries) > 0 {
		m.t.Errorf("still mounted: %v, %v", entries, err)
	}
}

func TestMountSignals(t *testing.T) {
	useRace(t)
	m := newMountTest(t)
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGTERM} {
		c, _ := m.start("t", m.mnt)
		m.check()
		try(t, c.Process.Signal(sig))
		m.ended(c, statusDone)
	}
	c, _ := m.start("t", m.mnt)
	m.run(0, "umount", m.mnt)
	m.ended(c, statusDone)
}

func TestMountBusy(t *testing.T) {
	m := newMountTest(t)
	for _, second := range []bool{false, true} { // a second signal, or the end of the use
		c, stderr := m.start("t", m.mnt)
		f, err := os.Open(filepath.Join(m.mnt, "f"))
		try(t, err)
		defer f.Close()
		_, said := m.run(statusFailed, "umount", m.mnt)
		if want := fmt.Sprintf(`castar: umount: %s: busy: used by cmd.test (process %d)`, m.mnt, os.Getpid()); !strings.HasPrefix(said, want) || !strings.HasSuffix(said, "--lazy takes it away at once\n") {
			t.Errorf("said %q, want %q", said, want)
		}
		try(t, c.Process.Signal(syscall.SIGINT))
		first := make([]byte, 4096)
		n, err := stderr.Read(first) // it has met the use now
		if text := string(first[:n]); err != nil || !strings.Contains(text, "busy: used by cmd.test") || !strings.Contains(text, "another signal") {
			t.Errorf("said %q, %v", text, err)
		}
		m.check()
		if second {
			try(t, c.Process.Signal(syscall.SIGINT))
		} else {
			f.Close()
		}
		m.ended(c, statusDone)
	}
}

func TestMountKilled(t *testing.T) {
	m := newMountTest(t)
	for range 2 {
		c, _ := m.start("t", m.mnt)
		m.check()
		try(t, c.Process.Kill())
		_ = c.Wait()
		if _, err := os.ReadDir(m.mnt); !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("a dead mount: %v", err)
		}
		_, said := m.run(statusFailed, "mount", "t", m.mnt)
		if !strings.Contains(said, "a mount whose process is gone") || !strings.Contains(said, "'castar umount DIR' clears it") {
			t.Errorf("said %q", said)
		}
		m.run(0, "umount", m.mnt)
	}
	c, _ := m.start("t", m.mnt)
	m.check()
	m.run(0, "umount", m.mnt)
	m.ended(c, statusDone)
}

func TestMountDaemon(t *testing.T) {
	m := newMountTest(t)
	log := filepath.Join(m.dir, "log")
	// The pipes of run end although the daemon lives on.
	out, said := m.run(0, "mount", "--daemon", "--log", log, "t", m.mnt)
	if out != m.mnt+"\n" || said != "" {
		t.Errorf("printed %q, said %q", out, said)
	}
	m.check()
	_, said = m.run(statusLocked, "gc", "-q")
	if !strings.Contains(said, "locked") {
		t.Errorf("gc said %q", said)
	}
	_, said = m.run(statusFailed, "mount", "--daemon", "t", m.mnt)
	if !strings.Contains(said, "not empty") || !strings.Contains(said, "--nonempty") {
		t.Errorf("said %q", said)
	}
	m.run(statusNotFound, "mount", "--daemon", "nothing", m.dir)
	m.run(0, "umount", m.mnt)
	out, _ = m.run(0, "mount", "--daemon", "--json", m.mnt) // the whole store
	if want := fmt.Sprintf("{\"type\":\"mount\",\"dir\":%q}\n", m.mnt); out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if got, err := os.ReadFile(filepath.Join(m.mnt, "tags/t/f")); err != nil || string(got) != "contents" {
		t.Errorf("%q, %v", got, err)
	}
	m.run(0, "umount", m.mnt)
}

// TestMountDamage reads a damaged file through a daemon, which writes that to its log.
func TestMountDamage(t *testing.T) {
	m := newMountTest(t)
	packs, err := filepath.Glob(filepath.Join(m.store, "packs", "*"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("%q, %v", packs, err)
	}
	for _, name := range packs {
		b, err := os.ReadFile(name)
		try(t, err)
		if i := bytes.Index(b, []byte("contents")); i >= 0 {
			b[i] ^= 1
			try(t, os.Chmod(name, 0o600))
			try(t, os.WriteFile(name, b, 0o600))
		}
	}
	log := filepath.Join(m.dir, "log")
	m.run(0, "mount", "--daemon", "--log", log, "t", m.mnt)
	for range 2 {
		if _, err := os.ReadFile(filepath.Join(m.mnt, "f")); !errors.Is(err, syscall.EIO) {
			t.Errorf("error %v", err)
		}
	}
	m.run(0, "umount", m.mnt)
	text, err := os.ReadFile(log)
	if err != nil || strings.Count(string(text), "\n") != 1 || !strings.Contains(string(text), "castar: mount: warning: f: ") {
		t.Errorf("log %q, %v", text, err)
	}
}

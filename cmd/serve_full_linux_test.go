package cmd

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A server on a disk that is full goes on reading, and takes blobs again by itself when there is space. What it had
// acknowledged is whole.
func TestServeFull(t *testing.T) {
	dir := t.TempDir()
	disk := filepath.Join(dir, "disk")
	if err := os.Mkdir(disk, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", disk, "tmpfs", 0, "size=24m"); err != nil {
		t.Skipf("NOT TESTED: a server on a full disk: no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	write := func(name string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("small/file", []byte("small"))
	random := rand.NewChaCha8([32]byte{7}) // does not compress
	for name, size := range map[string]int{"large/file": 40 << 20, "next/file": 3 << 20} {
		data := make([]byte, size)
		_, _ = random.Read(data)
		write(name, data)
	}

	st := filepath.Join(disk, "store")
	s := startServe(t, exec.Command("castar", "serve", "-s", st, "--allow-put", "-l", "unix:"+filepath.Join(dir, "s")))
	ingest := func(name string) (root string, err error) {
		c := exec.Command("castar", "ingest", "-q", "--no-cache", "-s", s.url, filepath.Join(dir, name))
		var stderr bytes.Buffer
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil && !strings.Contains(stderr.String(), s.url+": the server has no space left") {
			t.Fatalf("ingest %s: %v: %s", name, err, &stderr)
		}
		return strings.TrimSpace(string(out)), err
	}
	root, err := ingest("small")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ingest("large"); err == nil {
		t.Fatal("an ingest that is larger than the disk succeeded")
	}
	if os.WriteFile(filepath.Join(disk, "fill"), make([]byte, 40<<20), 0o666) == nil {
		t.Fatal("the disk is not full")
	}
	if _, err := ingest("next"); err == nil {
		t.Error("an ingest into a full disk succeeded")
	}
	out, err := exec.Command("castar", "export", "-q", "-s", s.url, root, filepath.Join(dir, "out")).CombinedOutput()
	if err != nil {
		t.Errorf("export from a full disk: %v: %s", err, out)
	}
	if err := os.Remove(filepath.Join(disk, "fill")); err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if _, err = ingest("next"); err == nil || time.Since(start) > time.Minute {
			break
		}
	}
	if err != nil {
		t.Error("a minute after there was space, nothing could be stored")
	}
	s.stop(t, syscall.SIGTERM)
	if out, err := exec.Command("castar", "verify", "-q", "-s", st).CombinedOutput(); err != nil {
		t.Errorf("verify: %v: %s", err, out)
	}
}

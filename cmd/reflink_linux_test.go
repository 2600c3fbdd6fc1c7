package cmd

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"castar/store/storetest"
)

// loopMount makes a file system with a program and mounts it, until the test ends.
func loopMount(t *testing.T, mkfs ...string) string {
	t.Helper()
	if _, err := exec.LookPath(mkfs[0]); err != nil || os.Geteuid() != 0 {
		t.Skipf("NOT TESTED: shared blocks, because %s is not installed or this is not root", mkfs[0])
	}
	dir := t.TempDir()
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	for _, err := range []error{os.WriteFile(image, nil, 0o600), os.Truncate(image, 320<<20), os.Mkdir(at, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], image)...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", mkfs[0], err, out)
	}
	if out, err := exec.Command("mount", "-o", "loop", image, at).CombinedOutput(); err != nil {
		t.Skipf("NOT TESTED: shared blocks, because a loop device cannot be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
			unix.Unmount(at, unix.MNT_DETACH)
		}
	})
	return at
}

// sharedBytes returns how many bytes of a file are in blocks that another file has too: ioctl_fiemap(2).
func sharedBytes(t *testing.T, path string) (n int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const fiemap, sync, shared = 0xc020660b, 1, 0x2000
	type extent struct {
		logical, physical, length, _, _ uint64
		flags, _, _, _                  uint32
	}
	var m struct {
		start, length                  uint64
		flags, mapped, count, reserved uint32
		extents                        [512]extent
	}
	m.length, m.flags, m.count = 1<<62, sync, uint32(len(m.extents))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), fiemap, uintptr(unsafe.Pointer(&m))); errno != 0 {
		t.Fatal(errno)
	}
	for _, e := range m.extents[:m.mapped] {
		if e.flags&shared != 0 {
			n += int64(e.length)
		}
	}
	return n
}

func writeRandom(t *testing.T, path string, seed byte, n int) {
	t.Helper()
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(data)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestReflink(t *testing.T) {
	all := [][]string{{"mkfs.xfs", "-q", "-m", "reflink=1"}, {"mkfs.btrfs", "-q"}}
	for _, mkfs := range all[:storetest.Sample(2, 1)] {
		t.Run(mkfs[0], func(t *testing.T) {
			at := loopMount(t, mkfs...)
			t.Setenv("XDG_CACHE_HOME", filepath.Join(at, "cache"))
			reflink(t, at)
		})
	}
}

// reflink tests export in a file system that lets files share blocks.
func reflink(t *testing.T, at string) {
	path := func(name string) string { return filepath.Join(at, name) }
	if err := os.Mkdir(path("tree"), 0o700); err != nil {
		t.Fatal(err)
	}
	const large = 5<<20 + 1234
	writeRandom(t, path("tree/large"), 1, large)
	writeRandom(t, path("tree/one"), 2, 200_000)
	writeRandom(t, path("tree/small"), 3, 1000)
	text := strings.Repeat("text that can be compressed\n", 1<<15)
	if err := os.WriteFile(path("tree/text"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	do := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		status, stdout, stderr := castar(append([]string{"-s", path("store")}, args...)...)
		if status != want {
			t.Fatalf("%v: status %d, want %d: %s", args, status, want, stderr)
		}
		return stdout, stderr
	}
	export := func(dest string, flags ...string) (shared int64) {
		t.Helper()
		out, _ := do(0, append(append([]string{"export", "--json", "--metadata=none"}, flags...), "t", dest)...)
		if diff := cmp.Diff(describe(t, path("tree")), describe(t, dest)); diff != "" {
			t.Fatalf("%v: the tree -, what was written +:\n%s", flags, diff)
		}
		var r struct{ Shared int64 }
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		return r.Shared
	}
	do(0, "init")
	do(0, "ingest", "-q", "--tag", "t", path("tree"))
	wantShared := func(dest string, told int64) {
		t.Helper()
		found := sharedBytes(t, filepath.Join(dest, "large")) + sharedBytes(t, filepath.Join(dest, "one"))
		if most := int64(large + 200_000); found != told || found < most-most/50 {
			t.Errorf("%s: %d bytes are shared of %d, and export says %d", dest, found, most, told)
		}
	}
	for _, mode := range []string{"auto", "always"} {
		wantShared(path(mode), export(path(mode), "--reflink="+mode))
	}
	if err := os.Remove(path("auto/one")); err != nil {
		t.Fatal(err)
	}
	if export(path("never"), "--reflink=never") != 0 || sharedBytes(t, path("never/large")) != 0 {
		t.Error("never: blocks are shared")
	}
	if err := os.WriteFile(path("auto/large"), []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantShared(path("auto"), export(path("auto"), "--overwrite"))
	wantShared(path("sparse"), export(path("sparse"), "--sparse"))

	// What gc moves can still be shared.
	writeRandom(t, path("tree/gone"), 4, 3<<20)
	do(0, "ingest", "-q", "--tag", "gone", path("tree"))
	if err := os.Remove(path("tree/gone")); err != nil {
		t.Fatal(err)
	}
	do(0, "forget", "gone", "--gc")

	elsewhere := filepath.Join(t.TempDir(), "out")
	if export(elsewhere) != 0 {
		t.Error("blocks are shared with another file system")
	}
	_, stderr := do(1, "export", "--reflink=always", "t", elsewhere+"2")
	if _, err := os.Lstat(elsewhere + "2"); err == nil || !strings.Contains(stderr, "cannot share blocks with the store: ") {
		t.Errorf("to another file system: %s", stderr)
	}
	spoilPacks(t, path("store"))
	do(1, "export", "t", path("spoiled"))
	if _, err := os.Lstat(path("spoiled")); err == nil {
		t.Error("damage was exported")
	}
}

// spoilPacks changes a byte in the middle of each pack.
func spoilPacks(t *testing.T, dir string) {
	t.Helper()
	packs, err := filepath.Glob(filepath.Join(dir, "packs", "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("no packs: %v", err)
	}
	for _, p := range packs {
		data, err := os.ReadFile(p)
		if err == nil && len(data) > 1<<20 {
			err = writeOver(p, flipped(data, len(data)/2))
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", p, err))
		}
	}
}

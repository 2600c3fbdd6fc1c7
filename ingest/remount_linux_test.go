package ingest

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"castar/store/memory"

	"golang.org/x/sys/unix"
)

// ext4Image is a file system with "file", which holds firstText, and "dir/other", which holds otherText. It was made by
//
//	mkfs.ext4 -b 1024 -N 16 -O ^has_journal,^resize_inode,^metadata_csum,^orphan_file -m 0
//
//go:embed testdata/ext4.img.gz
var ext4Image []byte

const (
	firstText  = "the first of two files"
	secondText = "another one's contents" // as long
	otherText  = "another text"
)

// image writes ext4Image to path, with text as the contents of its file and no other change.
func image(t *testing.T, path, text string) {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(ext4Image))
	try(t, err)
	data, err := io.ReadAll(z)
	try(t, err)
	if bytes.Count(data, []byte(firstText)) != 1 || len(text) != len(firstText) {
		t.Fatal("the image is not the one that this test was written for")
	}
	try(t, os.WriteFile(path, bytes.Replace(data, []byte(firstText), []byte(text), 1), 0o600))
}

// attach makes a disk of the file at path. The disk goes away when it is unmounted and the file is closed.
func attach(t *testing.T, path string) (*os.File, string) {
	t.Helper()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("NOT TESTED: disk images, which need root: %v", err)
	}
	defer control.Close()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	try(t, err)
	defer file.Close()
	for range 10 { // somebody else may take it first
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Skipf("NOT TESTED: disk images: no free loop device: %v", err)
		}
		name := fmt.Sprintf("/dev/loop%d", n)
		disk, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Skipf("NOT TESTED: disk images: %v", err)
		}
		config := &unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
		if err = unix.IoctlLoopConfigure(int(disk.Fd()), config); err == nil {
			return disk, name
		}
		disk.Close()
		if err != unix.EBUSY {
			t.Skipf("NOT TESTED: disk images: %s: %v", name, err)
		}
	}
	t.Skip("NOT TESTED: disk images: others take all loop devices")
	return nil, ""
}

// mount mounts a file system at dir until unmount is called or the test ends.
func mount(t *testing.T, source, dir, kind string, flags uintptr, options string) (unmount func()) {
	t.Helper()
	if err := unix.Mount(source, dir, kind, flags, options); err != nil {
		t.Skipf("NOT TESTED: mounting: %s: %v", kind, err)
	}
	mounted := true
	unmount = func() {
		if mounted {
			mounted = false
			try(t, unix.Unmount(dir, unix.MNT_DETACH))
		}
	}
	t.Cleanup(unmount)
	return unmount
}

// mountImage mounts the disk image at path.
func mountImage(t *testing.T, path, dir string) (unmount func()) {
	t.Helper()
	disk, name := attach(t, path)
	defer disk.Close()
	return mount(t, name, dir, "ext4", unix.MS_RDONLY, "")
}

// TestOtherImage mounts two images in turn that differ only in the bytes of a file.
func TestOtherImage(t *testing.T) {
	first, second := t.TempDir()+"/1", t.TempDir()+"/2"
	image(t, first, firstText)
	image(t, second, secondText)
	one := tree{"file": firstText, "dir": tree{"other": otherText}}
	two := tree{"file": secondText, "dir": tree{"other": otherText}}
	dir := planted(t, tree{"image": tree{}})
	c := newCached(t)
	unmount := mountImage(t, first, dir+"/image")
	c.want(dir, tree{"image": one}, "image/dir/other", "image/file")
	c.want(dir, tree{"image": one})
	c.want(dir+"/image", one)
	// The same mount in another mount namespace, as in a service of systemd.
	away := mount(t, dir+"/image", dir+"/image", "", unix.MS_BIND, "")
	c.want(dir+"/image", one)
	away()
	unmount()
	unmount = mountImage(t, second, dir+"/image")
	c.want(dir, tree{"image": two}, "image/dir/other", "image/file")
	c.want(dir+"/image", two, "dir/other", "file")
	unmount()
	mountImage(t, first, dir+"/image")
	c.trust = true // the user's word against it
	c.want(dir, tree{"image": two})
}

// TestRemountedTmpfs mounts a tmpfs again, which is a new one with the same device and inode numbers.
func TestRemountedTmpfs(t *testing.T) {
	dir := planted(t, tree{"m": tree{}})
	when := time.Now().Add(-time.Hour)
	c := newCached(t)
	mounts := map[string]bool{}
	for _, text := range []string{"one", "two", "six"} {
		unmount := mount(t, "castar-test", dir+"/m", "tmpfs", 0, "size=1m")
		plant(t, dir+"/m/file", text)
		try(t, os.Chtimes(dir+"/m/file", when, when))
		c.want(dir, tree{"m": tree{"file": text}}, "m/file")
		c.want(dir, tree{"m": tree{"file": text}})
		f, err := os.Open(dir + "/m")
		try(t, err)
		native, _, id := identify(int(f.Fd()), 0)
		try(t, f.Close())
		if !native || id == "" || mounts[id] {
			t.Errorf("identified as native %v, %q, and before as %v", native, id, mounts)
		}
		mounts[id] = true
		unmount()
	}
}

// TestOverlay changes a file under an overlay, which does not notice it.
func TestOverlay(t *testing.T) {
	base := onTmpfs(t)
	plant(t, base+"/tree", tree{"lower": tree{"a": "one", "b": "b"}, "upper": tree{"c": "c"}, "work": tree{}, "m": tree{}})
	dir := base + "/tree"
	options := strings.NewReplacer("DIR", dir).Replace("lowerdir=DIR/lower,upperdir=DIR/upper,workdir=DIR/work")
	unmount := mount(t, "castar-test", dir+"/m", "overlay", 0, options)
	c := newCached(t)
	c.want(dir+"/m", tree{"a": "one", "b": "b", "c": "c"}, "a", "b", "c")
	c.want(dir+"/m", tree{"a": "one", "b": "b", "c": "c"}, "a", "b", "c")
	unmount()
	fi, err := os.Stat(dir + "/lower/a")
	try(t, err)
	try(t, os.WriteFile(dir+"/lower/a", []byte("two"), 0o644))
	try(t, os.Chtimes(dir+"/lower/a", fi.ModTime(), fi.ModTime()))
	mount(t, "castar-test", dir+"/m", "overlay", 0, options)
	c.want(dir+"/m", tree{"a": "two", "b": "b", "c": "c"}, "a", "b", "c")
}

// TestOneFileSystemFiles leaves out mounted files, and counts them.
func TestOneFileSystemFiles(t *testing.T) {
	dir := planted(t, tree{"a": "a", "mounted": "below", "same": "", "d": tree{"sub": "sub"}, "m": tree{}})
	mount(t, "castar-test", dir+"/m", "tmpfs", 0, "size=1m")
	plant(t, dir+"/m/file", "elsewhere")
	mount(t, dir+"/m/file", dir+"/mounted", "", unix.MS_BIND, "")
	mount(t, dir+"/a", dir+"/same", "", unix.MS_BIND, "") // of the same file system
	r := want(t, dir, Options{OneFileSystem: true}, tree{"a": "a", "same": "a", "d": tree{"sub": "sub"}, "m": tree{}})
	if r.Excluded != 2 {
		t.Errorf("%d entries are counted as left out, want 2", r.Excluded)
	}
	c := newCached(t)
	whole := tree{"a": "a", "mounted": "elsewhere", "same": "a", "d": tree{"sub": "sub"}, "m": tree{"file": "elsewhere"}}
	c.want(dir, whole, "a", "d/sub", "m/file", "mounted", "same")
	c.want(dir, whole, "mounted")
}

// TestOneFileSystemOverlay stores the files of an overlay, although they have the device numbers of other file systems.
func TestOneFileSystemOverlay(t *testing.T) {
	base := planted(t, tree{"disk": tree{"a": "a"}, "m": tree{}})
	lower := onTmpfs(t)
	plant(t, lower+"/b", "b")
	options := fmt.Sprintf("xino=off,lowerdir=%s:%s/disk", lower, base)
	mount(t, "castar-test", base+"/m", "overlay", unix.MS_RDONLY, options)
	r := want(t, base+"/m", Options{OneFileSystem: true}, tree{"a": "a", "b": "b"})
	if r.Excluded != 0 {
		t.Errorf("%d entries are counted as left out, want none", r.Excluded)
	}
}

// TestRootIsFile checks that the cache works for a root that is a file.
func TestRootIsFile(t *testing.T) {
	dir := plantedNative(t, tree{"a": "a"})
	c := newCached(t)
	for i, opened := range []int{1, 0} {
		time.Sleep(2 * clockTick)
		cache := c.open(dir + "/a")
		o := Options{Cache: cache, Progress: new(Progress)}
		r, err := FS(t.Context(), c.st, dir+"/a", o)
		if err != nil || r.Root != rootOf(t, "a") || o.Progress.Unchanged.Load() != uint64(1-opened) {
			t.Errorf("ingest %d: %v, %v, %d unchanged", i, r.Root, err, o.Progress.Unchanged.Load())
		}
		try(t, cache.Save())
		try(t, cache.Close())
	}
	if _, err := FS(t.Context(), memory.New(), dir+"/a", Options{}); err != nil {
		t.Error(err)
	}
}

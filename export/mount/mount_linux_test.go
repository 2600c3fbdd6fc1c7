package mount

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"castar/store"
	"castar/store/memory"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func sorted(v files) []string { return slices.Sorted(maps.Keys(v)) }

// read reads a tree of files.
func read(t *testing.T, dir string) files {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := files{}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			out[e.Name()] = read(t, path)
		case e.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				t.Fatal(err)
			}
			out[e.Name()] = link(target)
		default:
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			out[e.Name()] = string(data)
			if fi, err := e.Info(); err != nil || fi.Mode()&0o111 != 0 {
				out[e.Name()] = executable(data)
			}
		}
	}
	return out
}

func sample() files {
	deep := files{"end": "reached"}
	for range 200 {
		deep = files{"d": deep}
	}
	shared := files{"a": "1", "sub": files{"b": "2"}}
	return files{
		"empty": "", "none": files{}, "text": "hello\n", "run": executable("#!/bin/sh\necho ran\n"),
		"link": link("text"), "dangling": link("/nowhere/at all"), "\xff\xfe name\n": "odd", strings.Repeat("n", 255): "long name",
		"one": shared, "two": shared, "deep": deep, "big": strings.Repeat("0123456789abcdef", 40_000),
	}
}

func TestTree(t *testing.T) {
	st, want := memory.New(), sample()
	root := plant(t, st, "", want)
	dir, n := mounted(t, st, &root)
	for range 2 { // from the store, and from the kernel's caches
		if d := cmp.Diff(want, read(t, dir)); d != "" {
			t.Fatal(d)
		}
	}
	if out, err := exec.Command(in(dir, "run")).Output(); err != nil || string(out) != "ran\n" {
		t.Errorf("run: %q, %v", out, err)
	}
	for name, mode := range map[string]fs.FileMode{"text": 0o444, "run": 0o555, "one": 0o555 | fs.ModeDir} {
		if fi, err := os.Stat(in(dir, name)); err != nil || fi.Mode() != mode || !fi.ModTime().Equal(someTime) {
			t.Errorf("%s: %v, %v", name, fi, err)
		}
	}
	for _, err := range []error{os.WriteFile(in(dir, "text"), nil, 0o600), os.Mkdir(in(dir, "new"), 0o700), os.Remove(in(dir, "text"))} {
		if !errors.Is(err, syscall.EROFS) {
			t.Errorf("a change: %v", err)
		}
	}
	if _, err := os.Lstat(in(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	var sfs unix.Statfs_t
	if err := unix.Statfs(dir, &sfs); err != nil || sfs.Files != root.Size+1 || sfs.Bfree != 0 || sfs.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("statfs: %+v, %v", sfs, err)
	}
	if p := n.take(); p != nil {
		t.Errorf("reported %q", p)
	}
}

// numbersIn returns the inode number of each path. It checks that listings have the same numbers.
func numbersIn(t *testing.T, dir string) map[string]uint64 {
	t.Helper()
	all := map[string]uint64{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(path)
		if err == nil {
			all[strings.TrimPrefix(path, dir)] = fi.Sys().(*syscall.Stat_t).Ino
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, number := range direntsOf(t, dir, 0) {
		if want, ok := all["/"+name]; ok && number.ino != want {
			t.Errorf("%s is listed with the number %d and has %d", name, number.ino, want)
		}
	}
	return all
}

func TestNumbers(t *testing.T) {
	st := memory.New()
	root := plant(t, st, "", sample())
	first, _ := mounted(t, st, &root)
	second, _ := mounted(t, st, &root)
	a, b := numbersIn(t, first), numbersIn(t, second)
	if d := cmp.Diff(a, b); d != "" {
		t.Errorf("another mount numbers otherwise: %s", d)
	}
	paths := map[uint64]string{}
	for path, number := range a {
		if other, ok := paths[number]; ok {
			t.Errorf("%q and %q have the number %d", path, other, number)
		}
		paths[number] = path
		if number < 1 || number > root.Size+1 {
			t.Errorf("%q has the number %d, which is not the tree's", path, number)
		}
	}
}

func TestDigests(t *testing.T) {
	st := memory.New()
	root := plant(t, st, "", files{"f": "hello\n", "d": files{}, "l": link("f")})
	dir, _ := mounted(t, st, &root)
	get := func(path, name string) string {
		buf := make([]byte, 100)
		n, err := unix.Lgetxattr(in(dir, path), name, buf)
		if err != nil {
			return err.Error()
		}
		return string(buf[:n])
	}
	file, empty := store.Sum([]byte("hello\n")), store.Sum(nil)
	for _, tt := range []struct{ path, name, want string }{
		{"f", "user.castar.digest", file.String()},
		{"f", "user.tvix.castore.blob.digest", tvixDigest(file)},
		{"f", "user.tvix.castore.directory.digest", "no data available"},
		{"d", "user.castar.digest", empty.String()},
		{"d", "user.tvix.castore.directory.digest", tvixDigest(empty)},
		{"d", "user.tvix.castore.blob.digest", "no data available"},
		{"", "user.castar.digest", root.Digest.String()},
		{"l", "user.castar.digest", "no data available"},
		{"f", "user.other", "no data available"},
		{"f", "security.capability", "operation not supported"}, // so ls does not ask for each file
		{"f", "system.posix_acl_access", "operation not supported"},
	} {
		if got := get(tt.path, tt.name); got != tt.want {
			t.Errorf("%s %s: %q, want %q", tt.path, tt.name, got, tt.want)
		}
	}
	if d, err := store.ParseDigest(get("f", "user.tvix.castore.blob.digest")); err != nil || d != file {
		t.Errorf("%v, %v", d, err)
	}
	buf := make([]byte, 100)
	n, err := unix.Listxattr(in(dir, "f"), buf)
	if want := "user.castar.digest\x00user.tvix.castore.blob.digest\x00"; err != nil || string(buf[:n]) != want {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := unix.Getxattr(in(dir, "f"), "user.castar.digest", make([]byte, 5)); err != unix.ERANGE {
		t.Errorf("a short buffer: %v", err)
	}
}

// dirent is an entry as getdents has it.
type dirent struct {
	ino  uint64
	next int64 // offset after it
}

// direntsOf reads a directory from an offset on.
func direntsOf(t *testing.T, dir string, offset int64) map[string]dirent {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := unix.Seek(int(d.Fd()), offset, 0); err != nil {
		t.Fatal(err)
	}
	all := map[string]dirent{}
	for buf := make([]byte, 1<<15); ; {
		n, err := unix.Getdents(int(d.Fd()), buf)
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			return all
		}
		for b := buf[:n]; len(b) > 0; {
			length := int(b[16]) | int(b[17])<<8
			name, _, _ := bytes.Cut(b[19:length], []byte{0})
			if _, ok := all[string(name)]; ok {
				t.Errorf("%q is listed twice", name)
			}
			all[string(name)] = dirent{le(b[0:8]), int64(le(b[8:16]))}
			b = b[length:]
		}
	}
}

func le(b []byte) (n uint64) {
	for i := range 8 {
		n |= uint64(b[i]) << (8 * i)
	}
	return n
}

func TestLargeDirectory(t *testing.T) {
	const count = 100_000
	st := memory.New()
	empty := plant(t, st, "", "")
	dir := make(store.Directory, count)
	for i := range dir {
		dir[i] = empty
		dir[i].Name = fmt.Sprintf("%06d", i)
	}
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := mounted(t, st, &store.Node{Kind: store.KindDirectory, Digest: d, Size: count})
	all := direntsOf(t, at, 0)
	if len(all) != count+2 { // with . and ..
		t.Fatalf("%d entries", len(all))
	}
	for _, from := range []int{count - 500, count - 1} {
		rest := direntsOf(t, at, all[dir[from].Name].next)
		if len(rest) != count-1-from {
			t.Errorf("after %d there are %d entries", from, len(rest))
		}
		if from+1 < count {
			if _, ok := rest[dir[from+1].Name]; !ok {
				t.Errorf("%s does not follow", dir[from+1].Name)
			}
		}
	}
}

func TestLargeFile(t *testing.T) {
	st, b := newBroken()
	data := make([]byte, 20<<20)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(data)
	chunked, whole := b.cut(t, data), plant(t, st, "whole", string(data[5<<20:15<<20])) // the second has no chunks
	chunked.Name = "chunked"
	dir := store.Directory{chunked, whole}
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	at, _ := mounted(t, st, &store.Node{Kind: store.KindDirectory, Digest: d, Size: 2})
	var wg sync.WaitGroup
	for seed := range uint64(4) { // at random, at once
		wg.Go(func() {
			r := rand.New(rand.NewPCG(seed, 0))
			f, err := os.Open(in(at, dir[seed%2].Name))
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			want := [][]byte{data, data[5<<20 : 15<<20]}[seed%2]
			for range 40 {
				from := r.IntN(len(want))
				buf := make([]byte, min(r.IntN(1<<20)+1, len(want)-from))
				if _, err := f.ReadAt(buf, int64(from)); err != nil || !bytes.Equal(buf, want[from:from+len(buf)]) {
					t.Errorf("%s at %d: %v", f.Name(), from, err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := os.ReadFile(in(at, "chunked")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("chunked: %v", err)
	}
}

// TestExec runs this test's program from a mount, which maps its pages.
func TestExec(t *testing.T) {
	if os.Getenv("CASTAR_TEST_EXEC") != "" {
		fmt.Println("mapped")
		os.Exit(0)
	}
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	st, b := newBroken()
	n := b.cut(t, program)
	n.Name, n.Executable = "program", true
	d, err := st.Directories.Put(t.Context(), store.Directory{n})
	if err != nil {
		t.Fatal(err)
	}
	at, _ := mounted(t, st, &store.Node{Kind: store.KindDirectory, Digest: d, Size: 1})
	c := exec.Command(in(at, "program"), "-test.run=^TestExec$")
	c.Env = append(os.Environ(), "CASTAR_TEST_EXEC=1")
	if out, err := c.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "mapped\n") {
		t.Errorf("%s, %v", out, err)
	}
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"

	"golang.org/x/sys/unix"
)

// chain makes depth nested directories in dir, each between two files in the order of names, and returns the root.
func chain(t testing.TB, dir string, depth int) store.Node {
	t.Helper()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	try(t, err)
	file := store.Node{Kind: store.KindFile, Digest: store.Sum(nil)}
	for range depth {
		for _, name := range []string{"a", "z"} {
			f, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o644)
			try(t, err)
			unix.Close(f)
		}
		try(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		try(t, err)
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	t.Cleanup(func() { unchain(dir, depth) })

	root := rootOf(t, tree{})
	for range depth {
		a, z := file, file
		a.Name, z.Name, root.Name = "a", "z", "d"
		nodes := store.Directory{a, root, z}
		b, err := store.EncodeDirectory(nodes)
		try(t, err)
		size, err := nodes.Size(store.SizeDocumented)
		try(t, err)
		root = store.Node{Kind: store.KindDirectory, Digest: store.Sum(b), Size: size}
	}
	return root
}

// unchain removes a chain. It moves parts of it up to dir, because their paths are too long.
func unchain(dir string, depth int) {
	for i := 0; i < depth; i += 500 {
		deep := dir + strings.Repeat("/d", 500)
		os.Rename(deep, fmt.Sprintf("%s/part", dir))
		os.RemoveAll(dir + "/d")
		os.Rename(dir+"/part", dir+"/d")
	}
}

func TestDeep(t *testing.T) {
	dir := onTmpfs(t)
	root := chain(t, dir, storetest.Sample(5000, 2500))
	for _, jobs := range []int{1, 4} {
		st := memory.New()
		r, err := FS(context.Background(), st, dir, Options{Jobs: jobs})
		if err != nil || r.Root != root {
			t.Errorf("%d jobs: root %v, error %v; want %v", jobs, r.Root, err, root)
		}
	}
}

// TestFewDescriptors walks a deep tree in a process that may open only few files, and a wide tree in a process that may
// open too few.
func TestFewDescriptors(t *testing.T) {
	const mark = "CASTAR_TEST_FILES"
	if os.Getenv(mark) == "" {
		rerun(t, mark+"=1")
		return
	}
	dir := onTmpfs(t)
	root := chain(t, dir, 300)
	limit := func(n uint64) { try(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: 4096})) }
	limit(128)
	for range 3 { // no descriptor is lost
		if r, err := FS(context.Background(), nil, dir, Options{Jobs: 4}); err != nil || r.Root != root {
			t.Fatalf("root %v, error %v; want %v", r.Root, err, root)
		}
	}
	limit(40)
	r, err := FS(context.Background(), nil, dir, Options{IgnoreErrors: true})
	if !errors.Is(err, unix.EMFILE) || !strings.HasPrefix(err.Error(), dir+"/d/d/d/") || r.Root != (store.Node{}) {
		t.Errorf("root %v, error %v; want that of too many open files and a path", r.Root, err)
	}
	limit(4096)
}

func TestTooDeep(t *testing.T) {
	dir := planted(t, tree{"d": tree{}})
	w, err := newWalker(context.Background(), memory.New(), Options{Jobs: 1, Progress: new(Progress)})
	try(t, err)
	defer w.close()
	on := w.firstWorker()
	d, err := os.Open(dir)
	try(t, err)
	defer d.Close()
	for depth, want := range map[int]int{store.MaxDepth - 2: 1, store.MaxDepth - 1: 0} {
		nodes, err := on.entries(&folder{fd: int(d.Fd()), depth: depth, at: &place{name: dir}, scratch: new(scratch)}, []string{"d"})
		if err != nil || len(nodes) != want {
			t.Errorf("depth %d: nodes %v, error %v; want %d", depth, nodes, err, want)
		}
	}
	want := fmt.Sprintf("%s/d: more than %d directories deep", dir, store.MaxDepth)
	if all := w.problems.sorted(); len(all) != 1 || all[0].Error() != want {
		t.Errorf("problems %v, want %s", all, want)
	}
}

// TestMovedAway moves a directory while the walk is below it and has no descriptor for it.
func TestMovedAway(t *testing.T) {
	base := onTmpfs(t)
	other := base + "/other"
	plant(t, other, tree{"new": tree{"secret": ""}})
	for _, depth := range []int{heldDepth - 1, heldDepth + 3} { // above: the walk goes on where it was
		dir := fmt.Sprintf("%s/%d", base, depth)
		plant(t, dir, tree{"kept": ""})
		chain(t, dir, heldDepth+10)
		moved := dir + strings.Repeat("/d", depth)
		o := at(hookListed, dir+strings.Repeat("/d", heldDepth+9), 1, func() {
			try(t, os.Rename(moved, other+"/new/moved"))
		})
		o.IgnoreErrors = true
		st := memory.New()
		r, err := FS(context.Background(), st, dir, o)
		if err != nil {
			t.Fatal(err)
		}
		if depth < heldDepth {
			if len(r.LeftOut) > 0 {
				t.Errorf("left out %v", r.LeftOut)
			}
		} else if lost := dir + strings.Repeat("/d", heldDepth+1) + ": changed while it was read"; len(r.LeftOut) != 1 || r.LeftOut[0].Error() != lost {
			t.Errorf("left out %v, want %s", r.LeftOut, lost)
		}
		for d, err := range st.Directories.Walk(context.Background(), r.Root.Digest) {
			try(t, err)
			if _, found := d.Directory.Find("secret"); found {
				t.Error("the walk left the tree")
			}
		}
		try(t, os.RemoveAll(other+"/new/moved"))
	}
}

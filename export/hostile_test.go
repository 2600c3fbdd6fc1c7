package export

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/storetest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestHostile exports from stores that lie. No temporary entry may be left, and nothing may be written elsewhere.
func TestHostile(t *testing.T) {
	fileNode := func(f *fake, name string) store.Node { return f.file(name, "data") }
	missing := store.Sum([]byte("missing"))
	tests := []struct {
		name string
		root func(f *fake) store.Node
		err  string // with %s for the digest of the root
	}{
		{"slash", func(f *fake) store.Node { return f.forge("", store.Directory{fileNode(f, "../escaped")}) },
			`out: directory %s: invalid name "../escaped": contains a slash`},
		{"absolute", func(f *fake) store.Node { return f.forge("", store.Directory{fileNode(f, "/tmp/escaped")}) },
			`out: directory %s: invalid name "/tmp/escaped": contains a slash`},
		{"dots", func(f *fake) store.Node {
			return f.forge("", store.Directory{f.forge("..", store.Directory{fileNode(f, "escaped")})})
		}, `out: directory %s: invalid name "..": is ..`},
		{"dot", func(f *fake) store.Node { return f.forge("", store.Directory{fileNode(f, ".")}) },
			`out: directory %s: invalid name ".": is .`},
		{"no name", func(f *fake) store.Node { return f.forge("", store.Directory{fileNode(f, "")}) },
			`out: directory %s: invalid name "": empty`},
		{"NUL", func(f *fake) store.Node { return f.forge("", store.Directory{fileNode(f, "a\x00b")}) },
			`out: directory %s: invalid name "a\x00b": contains a NUL byte`},
		{"duplicate", func(f *fake) store.Node {
			return f.forge("", store.Directory{fileNode(f, "a"), fileNode(f, "a")})
		}, `out: directory %s: duplicate name "a"`},
		{"symlink and directory of one name", func(f *fake) store.Node {
			return f.forge("", store.Directory{{Name: "a", Kind: store.KindSymlink, Target: "../outside"},
				f.forge("a", store.Directory{fileNode(f, "escaped")})})
		}, `out: directory %s: duplicate name "a"`},
		{"the same, not side by side", func(f *fake) store.Node {
			return f.forge("", store.Directory{{Name: "a", Kind: store.KindSymlink, Target: "../outside"}, fileNode(f, "b"),
				f.forge("a", store.Directory{fileNode(f, "escaped")})})
		}, `out: directory %s: wrong order: "a" comes after "b"`},
		{"unknown kind", func(f *fake) store.Node { return f.forge("", store.Directory{{Name: "a", Kind: 9}}) },
			`out: directory %s: "a": unknown kind 9`},
		{"empty target", func(f *fake) store.Node { return f.forge("", store.Directory{{Name: "a", Kind: store.KindSymlink}}) },
			`out: directory %s: "a": invalid target "" of a symbolic link: empty`},
		{"contains itself", func(f *fake) store.Node {
			inner := f.forge("inner", nil)
			outer := f.forge("", store.Directory{inner})
			f.dirs[inner.Digest] = store.Directory{{Name: "b", Kind: store.KindDirectory, Digest: outer.Digest, Size: 5}}
			return outer
		}, `inner/b: directory %s contains itself`},
		{"missing blob", func(f *fake) store.Node {
			return f.forge("", store.Directory{fileNode(f, "a"), f.forge("d", store.Directory{{Name: "f", Kind: store.KindFile, Digest: missing, Size: 3}})})
		}, `d/f: blob ` + missing.String() + `: not found`},
		{"missing directory", func(f *fake) store.Node {
			return f.forge("", store.Directory{fileNode(f, "a"), {Name: "d\n", Kind: store.KindDirectory, Digest: missing}})
		}, `"d\n": directory ` + missing.String() + `: not found`},
		{"missing root", func(f *fake) store.Node { return store.Node{Kind: store.KindDirectory, Digest: missing} },
			`out: directory ` + missing.String() + `: not found`},
		{"missing root file", func(f *fake) store.Node { return store.Node{Kind: store.KindFile, Digest: missing} },
			`out: blob ` + missing.String() + `: not found`},
		{"file longer than recorded", func(f *fake) store.Node {
			n := fileNode(f, "a")
			n.Size = 3
			return f.forge("", store.Directory{n})
		}, `a: size mismatch: blob ` + store.Sum([]byte("data")).String() + ` is recorded with 3 bytes and has 4`},
		{"file shorter than recorded", func(f *fake) store.Node {
			n := fileNode(f, "a")
			n.Size = 1 << 50
			return f.forge("", store.Directory{n})
		}, `a: size mismatch: blob ` + store.Sum([]byte("data")).String() + ` is recorded with 1125899906842624 bytes and has 4`},
		{"empty file that is not", func(f *fake) store.Node {
			n := fileNode(f, "a")
			n.Size = 0
			return f.forge("", store.Directory{n})
		}, `is recorded with 0 bytes and has 4`},
		{"blob that goes on", func(f *fake) store.Node {
			n := fileNode(f, "a")
			f.sizes[n.Digest], n.Size, f.maxPiece = 3, 3, 2
			return f.forge("", store.Directory{n})
		}, `a: size mismatch: blob ` + store.Sum([]byte("data")).String() + ` is recorded with 3 bytes and has more`},
		{"blob that ends early", func(f *fake) store.Node {
			n := fileNode(f, "a")
			f.sizes[n.Digest], n.Size = 5, 5
			return f.forge("", store.Directory{n})
		}, `a: size mismatch: blob ` + store.Sum([]byte("data")).String() + ` is recorded with 5 bytes and has 4`},
		{"wrong bytes", func(f *fake) store.Node {
			n := fileNode(f, "a")
			f.blobs[n.Digest] = []byte("Data")
			return f.forge("", store.Directory{n})
		}, `a: blob ` + store.Sum([]byte("data")).String() + `: corrupt: digest mismatch`},
		{"directory size too small", func(f *fake) store.Node {
			d := f.forge("d", store.Directory{fileNode(f, "a"), fileNode(f, "b")})
			d.Size = 1
			return f.forge("", store.Directory{d})
		}, ` is recorded with 1 and has 2`},
		{"root size too small", func(f *fake) store.Node {
			d := f.forge("", store.Directory{fileNode(f, "a")})
			d.Size = 0
			return d
		}, `out: size mismatch: directory %s is recorded with 0 and has 1`},
		{"unknown root", func(f *fake) store.Node { return store.Node{Kind: 7} }, `unknown kind 7`},
	}
	blobTests := map[string]bool{"file longer than recorded": true, "file shorter than recorded": true, "empty file that is not": true,
		"blob that goes on": true, "blob that ends early": true, "wrong bytes": true}
	for _, tt := range tests {
		for _, o := range []Options{{}, {Overwrite: true, Delete: true}, {DryRun: true}} {
			if o.DryRun && blobTests[tt.name] {
				continue // a dry run reads no blobs
			}
			t.Run(fmt.Sprint(tt.name, o.Overwrite, o.DryRun), func(t *testing.T) {
				dir := t.TempDir()
				f := newFake()
				root := tt.root(f)
				before := tree{"outside": tree{}}
				if o.Overwrite {
					before["out"] = tree{"keep": "k"}
				}
				plant(t, dir, before)
				_, err := Dir(t.Context(), f.store(), root, filepath.Join(dir, "out"), o)
				want := tt.err
				if strings.Contains(want, "%s") {
					want = fmt.Sprintf(want, root.Digest)
				}
				if root.Kind == store.KindFile && o.Overwrite {
					want = "out: is a directory"
				}
				if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Count(err.Error(), "\n") > 0 {
					t.Errorf("error %v\n want %s", err, want)
				}
				after := read(t, dir).(tree)
				if o.Overwrite { // what came before the error may be there, under names of the tree
					for name := range after["out"].(tree) {
						if strings.Contains(name, "castar") || name == "escaped" {
							t.Errorf("found %q", name)
						}
					}
					delete(after, "out")
					delete(before, "out")
				}
				if d := cmp.Diff(before, after); d != "" {
					t.Error(d)
				}
			})
		}
	}
}

// TestExcessSizeIsHarmless accepts directory sizes that are too large: snix counts entries twice.
func TestExcessSizeIsHarmless(t *testing.T) {
	f := newFake()
	root := f.dir(t, "", store.Directory{{Name: "d", Kind: store.KindDirectory, Digest: f.dir(t, "", nil).Digest, Size: 99}})
	root.Size += 1000
	if _, err := Dir(t.Context(), f.store(), root, filepath.Join(t.TempDir(), "out"), Options{}); err != nil {
		t.Error(err)
	}
}

// TestSwap replaces a directory of the destination by a symlink to the outside, and back, during an export: at random
// moments, and once for every object that is read.
func TestSwap(t *testing.T) {
	dir := t.TempDir()
	outside := tree{"d": tree{"precious": "p"}, "precious": "p"}
	plant(t, dir, tree{"outside": outside, "out": tree{"d": tree{"d": tree{}}}})
	f := newFake()
	contents := tree{"d": tree{"d": tree{"a": "1", "b": "2", "l": link("/")}, "f": "f"}}
	roots := []store.Node{f.put(t, "", contents), f.put(t, "", tree{"d": tree{"d": tree{"x": "3"}}})}
	out, aside := filepath.Join(dir, "out", "d"), filepath.Join(dir, "aside")
	var mu sync.Mutex
	swap := func() {
		mu.Lock()
		defer mu.Unlock()
		if fi, err := os.Lstat(out); err == nil && fi.Mode().Type() == fs.ModeSymlink {
			os.Remove(out)
			os.Rename(aside, out)
		} else if err == nil {
			os.RemoveAll(aside)
			os.Rename(out, aside)
			os.Symlink("../outside/d", out)
		}
	}
	f.onGet = func(store.Digest) error { swap(); return nil }
	f.onOpen = f.onGet
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				swap()
			}
		}
	})
	good := 0
	for i := range 400 {
		if i == 200 { // from here on only where the store is asked
			close(done)
			wg.Wait()
		}
		o := Options{Overwrite: true, Delete: i%2 == 0}
		if _, err := Dir(t.Context(), f.store(), roots[i/2%2], filepath.Join(dir, "out"), o); err == nil {
			good++
		}
	}
	t.Logf("%d of 400 exports succeeded", good)
	if d := cmp.Diff(any(outside), read(t, filepath.Join(dir, "outside"))); d != "" {
		t.Error(d)
	}
}

// TestDeep writes, compares, interrupts and removes a tree that is too deep for one path or for open descriptors.
func TestDeep(t *testing.T) {
	storetest.NotUnderRace(t)
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	low := limit
	low.Cur = 8 * keepOpen
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)

	const depth = 1000 // of names of 4 bytes: PATH_MAX is 4096
	f := newFake()
	chain := func(bottom store.Node) store.Node {
		n := bottom
		for i := range depth {
			n.Name = "dddd"
			dir := store.Directory{n}
			if i%10 == 0 {
				dir = store.Directory{f.file("a", "a"), n, f.file("e", "e")}
			}
			n = f.dir(t, "", dir)
		}
		return n
	}
	root := chain(f.file("", "bottom"))
	dest := filepath.Join(t.TempDir(), "out")
	entries := uint64(depth + depth/10*2 + 1)
	if r, err := Dir(t.Context(), f.store(), root, dest, Options{}); err != nil || r.Written != entries {
		t.Fatalf("%+v, %v", r, err)
	}
	o := Options{Overwrite: true, Delete: true}
	if r, err := Dir(t.Context(), f.store(), root, dest, o); err != nil || r.Unchanged != entries {
		t.Fatalf("%+v, %v", r, err)
	}
	wrong := chain(store.Node{Kind: store.KindFile, Digest: store.Sum([]byte("no")), Size: 2})
	if _, err := Dir(t.Context(), f.store(), wrong, dest+"2", Options{}); !store.IsNotFound(err) {
		t.Errorf("error %.100v", err)
	}
	only(t, filepath.Dir(dest), 1)
	for _, o.DryRun = range []bool{true, false} {
		if r, err := Dir(t.Context(), f.store(), f.put(t, "", tree{}), dest, o); err != nil || r.Deleted != entries-1 {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if d := cmp.Diff(any(tree{}), read(t, dest)); d != "" {
		t.Error(d)
	}
}

// TestTooDeep exports from a store that makes up directories without end.
func TestTooDeep(t *testing.T) {
	storetest.NotUnderRace(t)
	f := newFake()
	next := store.Node{Name: "d", Kind: store.KindDirectory, Size: 1 << 40}
	made := uint64(0)
	f.onGet = func(d store.Digest) error {
		f.mu.Lock()
		made++
		n := next
		n.Digest, n.Size = store.Sum(d[:]), next.Size-made
		f.dirs[d] = store.Directory{n}
		f.mu.Unlock()
		return nil
	}
	dir := t.TempDir()
	_, err := Dir(t.Context(), f.store(), next, filepath.Join(dir, "out"), Options{DryRun: true}) // the real one takes long
	if err == nil || !strings.HasSuffix(err.Error(), "more than 8192 directories deep") {
		t.Errorf("error %.200v", err)
	}
	only(t, dir, 0)
}

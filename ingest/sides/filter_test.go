package sides

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"castar/ingest"
	"castar/ingest/ignore"
	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// randomTree fills a directory with files, directories, rules, caches and repositories.
func randomTree(t *testing.T, rnd *rand.Rand, dir string, depth int) {
	t.Helper()
	pick := func(from ...string) string { return from[rnd.IntN(len(from))] }
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if rnd.IntN(3) == 0 {
		write(dir+"/.gitignore", pick("a*\n", "b/\n!c\n", "/c\n", "*\n!*/\n!a\n", "*.o\n.git\n"))
	}
	if depth < 3 && rnd.IntN(6) == 0 {
		write(dir+"/CACHEDIR.TAG", ignore.CacheDirSignature)
	}
	_, err := os.Lstat(dir + "/.git")
	switch n := rnd.IntN(10); {
	case err == nil:
	case n == 0:
		write(dir+"/.git", "gitdir: elsewhere\n")
	case n == 1:
		write(dir+"/.git/HEAD", "ref: refs/heads/x\n")
		write(dir+"/.git/objects/a", "")
		write(dir+"/.git/refs/b/c", "")
	}
	for range 6 {
		path := dir + "/" + pick("a", "b", "c", "ab", "a.o", "b.o", "d")
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		if depth > 0 && rnd.IntN(2) == 0 {
			if err := os.Mkdir(path, 0o755); err != nil {
				t.Fatal(err)
			}
			randomTree(t, rnd, path, depth-1)
		} else {
			write(path, pick("", "x", "y"))
		}
	}
}

// What is stored is filtered as it would have been stored with the same options; and where only what differs is
// filtered, the comparison is the same.
func TestStoredFilter(t *testing.T) {
	ctx := t.Context()
	smaller := 0
	for seed := range uint64(24) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		lists := [][]string{{"a*"}, {"b/", "!b"}, {"/a", "/c/b"}, {"*", "!*/", "!a"}, {"*.o", "!a.o"}, {"**/b/*"}, {"a/b"}, nil}
		o := ingest.Options{Jobs: 1, SizeRule: store.SizeRule(seed % 2), GitIgnore: seed%3 == 0, ExcludeCaches: seed%4 < 2}
		if list := lists[seed%8]; list != nil {
			o.Excludes = []*ignore.Patterns{ignore.New(list...)}
		}
		st := memory.New()
		dir := t.TempDir()
		randomTree(t, rnd, dir, 3)
		var whole, part [2]*Side
		for i := range whole {
			randomTree(t, rnd, dir, i) // the second has a little more
			all, err := ingest.FS(ctx, st, dir, ingest.Options{Jobs: 1, SizeRule: o.SizeRule})
			if err != nil {
				t.Fatal(err)
			}
			want, err := ingest.FS(ctx, st, dir, o)
			if err != nil {
				t.Fatal(err)
			}
			if want.Root != all.Root {
				smaller++
			}
			sides := [2]*Side{}
			for j := range sides {
				sides[j] = &Side{Side: tree.Side{Directories: st.Directories, Root: all.Root}, st: st}
			}
			whole[i], part[i] = sides[0], sides[1]
			alone := [2]*Side{{Side: whole[i].Side, st: st}, {Side: whole[i].Side, st: st}}
			if err := Filter(ctx, alone, o, true); err != nil {
				t.Fatal(err)
			}
			if got := alone[0].Root.Digest; got != want.Root.Digest {
				t.Errorf("seed %d, side %d: root %s, ingest has %s", seed, i, got, want.Root.Digest)
				for c, err := range tree.Diff(ctx, tree.Side{Directories: st.Directories, Root: want.Root}, alone[0].Side, tree.DiffOptions{Recursive: true}) {
					t.Log(string(c.Op), c.Path, err)
				}
			}
		}
		changes := func(sides [2]*Side, whole bool) (all []tree.Change) {
			if err := Filter(ctx, sides, o, whole); err != nil {
				t.Fatal(err)
			}
			for c, err := range tree.Diff(ctx, sides[0].Side, sides[1].Side, tree.DiffOptions{}) {
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, c)
			}
			return all
		}
		if want, got := changes(whole, true), changes(part, false); !slices.Equal(want, got) {
			t.Errorf("seed %d: %v, and where all is filtered %v", seed, got, want)
		}
	}
	if smaller < 24 {
		t.Errorf("only %d trees from which anything was left out", smaller)
	}
}

// reads counts how many directories are read.
type reads struct {
	store.Directories
	n int
}

func (r *reads) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	r.n++
	return r.Directories.Get(ctx, d)
}

// TestFilterShared filters a tree of few directories and 2^30 paths, with patterns in each directory.
func TestFilterShared(t *testing.T) {
	const levels = 30
	ctx, st := t.Context(), memory.New()
	counted := &reads{Directories: st.Directories}
	st.Directories = counted
	blob := func(name, text string) store.Node {
		d, err := st.Blobs.Put(ctx, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return store.Node{Name: name, Kind: store.KindFile, Digest: d, Size: uint64(len(text))}
	}
	dir := store.Directory{blob("c", "c"), blob("f", "f")}
	var root store.Node
	for range levels {
		d, err := st.Directories.Put(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		size, err := dir.Size(store.SizeDocumented)
		if err != nil {
			t.Fatal(err)
		}
		root = store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
		a, b := root, root
		a.Name, b.Name = "a", "b"
		dir = store.Directory{blob(".gitignore", "/c\n*.o\n"), a, b, blob("c", "c"), blob("d.o", "")}
	}
	for _, o := range []ingest.Options{
		{Excludes: []*ignore.Patterns{ignore.New("c")}},
		{Excludes: []*ignore.Patterns{ignore.New("/a/c", "b/*/c")}},
		{Excludes: []*ignore.Patterns{ignore.New("a/**/b/**/c", "**/b/a/d.o")}},
		{GitIgnore: true},
		{GitIgnore: true, Excludes: []*ignore.Patterns{ignore.New("**/a/**/b/d.o", "a/b/**")}},
	} {
		counted.n = 0
		sides := [2]*Side{}
		for i := range sides {
			sides[i] = &Side{Side: tree.Side{Directories: st.Directories, Root: root}, st: st}
		}
		if err := Filter(ctx, sides, o, true); err != nil {
			t.Fatal(err)
		}
		if sides[0].Root.Digest == root.Digest {
			t.Errorf("%+v: nothing is left out", o)
		}
		if counted.n > 20*levels {
			t.Errorf("%+v: %d directories read", o, counted.n)
		}
	}
}

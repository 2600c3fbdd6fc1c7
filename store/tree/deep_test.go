package tree

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
)

// nest stores so many levels of directories above dir, each with the one below under all of names, and returns the
// root.
func nest(t *testing.T, st *store.Store, levels int, dir store.Directory, rule store.SizeRule, names ...string) store.Node {
	t.Helper()
	for {
		d, err := st.Directories.Put(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		size, err := dir.Size(rule)
		if err != nil {
			t.Fatal(err)
		}
		n := store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
		if levels--; levels <= 0 {
			return n
		}
		dir = nil
		for _, name := range names {
			n.Name = name
			dir = append(dir, n)
		}
	}
}

// leaf stores a file and returns a directory of it.
func leaf(t *testing.T, st *store.Store, name, text string) store.Directory {
	t.Helper()
	d, err := st.Blobs.Put(t.Context(), []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return store.Directory{{Name: name, Kind: store.KindFile, Digest: d, Size: uint64(len(text))}}
}

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// walkers are the questions about one tree, or two, that go down all of it and print no paths.
func walkers(st *store.Store) map[string]func(ctx context.Context, root, other store.Node) error {
	side := func(n store.Node) Side { return Side{st.Directories, n} }
	return map[string]func(ctx context.Context, root, other store.Node) error{
		"usage": func(ctx context.Context, root, _ store.Node) error {
			u := NewUsage(st)
			_, err := u.Add(ctx, root)
			return errors.Join(err, u.Own(ctx, root))
		},
		"finder": func(ctx context.Context, root, _ store.Node) error {
			_, err := NewFinder(st, store.Node{Kind: store.KindFile}).In(ctx, root)
			return err
		},
		"search": func(ctx context.Context, root, _ store.Node) (failed error) {
			for _, err := range Search(ctx, st.Directories, root, byNode(func(*store.Node) bool { return false })) {
				failed = err
			}
			return failed
		},
		"versions": func(ctx context.Context, root, _ store.Node) (failed error) {
			for _, err := range Versions(ctx, st.Directories, []store.Node{root}, byNode(func(*store.Node) bool { return false })) {
				failed = err
			}
			return failed
		},
		"count": func(ctx context.Context, root, other store.Node) error {
			_, err := CountDiff(ctx, side(root), side(other), DiffOptions{})
			return err
		},
		"diff": func(ctx context.Context, root, other store.Node) (failed error) {
			for _, err := range Diff(ctx, side(root), side(other), DiffOptions{NoRenames: true}) {
				failed = err
			}
			return failed
		},
		"copy": func(ctx context.Context, root, _ store.Node) (failed error) {
			o := CopyOptions{Jobs: 1, Problem: func(path string, err error) { failed = fmt.Errorf("%s: %w", path, err) }}
			err := NewCopier(st, memory.New(), o).Copy(ctx, Root{Name: "root", Node: root})
			if failed != nil && errors.Is(err, ErrIncomplete) {
				return failed
			}
			return err
		},
	}
}

func TestTooDeep(t *testing.T) {
	st := memory.New()
	levels := storetest.Sample(30_000, 10_000)
	deep := nest(t, st, levels, leaf(t, st, "f", "old"), store.SizeDocumented, "directory")
	other := nest(t, st, levels, leaf(t, st, "f", "new"), store.SizeDocumented, "directory")
	for name, walk := range walkers(st) {
		var err error
		bytes := allocated(func() { err = walk(t.Context(), deep, other) })
		if !errors.Is(err, store.ErrTooDeep) || len(err.Error()) > 1000 {
			t.Errorf("%s: got %.300v", name, err)
		}
		if bytes > 64<<20 {
			t.Errorf("%s allocates %d MB", name, bytes>>20)
		}
	}
	last := 0
	for e, err := range Walk(t.Context(), st.Directories, deep, -1) {
		if last = e.Depth; err != nil && (!errors.Is(err, store.ErrTooDeep) || len(err.Error()) > 1000) {
			t.Errorf("walk: got %.300v", err)
		}
	}
	if last != store.MaxDepth {
		t.Errorf("walk ends at depth %d, want %d", last, store.MaxDepth)
	}
}

// TestDeepIsLinear goes down trees that are as deep as they may be. Twice the depth must not take much more than twice
// the memory.
func TestDeepIsLinear(t *testing.T) {
	storetest.NotUnderRace(t)
	st := memory.New()
	name := strings.Repeat("n", 200)
	var roots [2][2]store.Node
	for i, levels := range []int{store.MaxDepth / 2, store.MaxDepth} {
		for j, text := range []string{"old", "new"} {
			roots[i][j] = nest(t, st, levels, leaf(t, st, "f", text), store.SizeDocumented, name)
		}
	}
	for name, walk := range walkers(st) {
		var bytes [2]uint64
		for i := range roots {
			bytes[i] = allocated(func() {
				if err := walk(t.Context(), roots[i][0], roots[i][1]); err != nil {
					t.Errorf("%s: %.300v", name, err)
				}
			})
		}
		if bytes[1] > 3*bytes[0]+1<<20 {
			t.Errorf("%s: %d bytes, and %d at twice the depth", name, bytes[0], bytes[1])
		}
	}
}

// TestAnyDepth marks and verifies trees of any depth: gc must not remove what other commands do not reach.
func TestAnyDepth(t *testing.T) {
	levels := storetest.Sample(50_000, 12_000)
	st := memory.New()
	var bytes [2]uint64
	for i, n := range []int{levels, 2 * levels} {
		root := nest(t, st, n, leaf(t, st, "f", "text"), store.SizeDocumented, "d")
		bytes[i] = allocated(func() {
			set := NewSet(st)
			if err := Mark(t.Context(), st, []Root{{"root", root}}, set); err != nil {
				t.Error(err)
			}
			if !set.Has(store.KindFile, store.Sum([]byte("text"))) {
				t.Error("the file at the bottom is not marked")
			}
			var found []Finding
			r, err := Verify(t.Context(), st, VerifyOptions{Roots: []Root{{"root", root}}}, func(f Finding) { found = append(found, f) })
			if err != nil || r.Directories != uint64(n) || r.Files != 1 {
				t.Errorf("verify: %+v, %v", r, err)
			}
			if len(found) != 1 || found[0].What != store.DamageDepth || len(found[0].Hits) != 1 || len(found[0].Hits[0].Paths[0]) > 1000 {
				t.Errorf("found %.1000v", found)
			}
		})
	}
	if bytes[1] > 3*bytes[0] {
		t.Errorf("%d bytes, and %d at twice the depth", bytes[0], bytes[1])
	}
}

// TestShared asks about trees of 40 directories and 2^40 paths.
func TestShared(t *testing.T) {
	storetest.NotUnderRace(t)
	const levels = 40
	st := memory.New()
	old := nest(t, st, levels, leaf(t, st, "f", "old"), store.SizeDocumented, "a", "b")
	new := nest(t, st, levels, leaf(t, st, "f", "newer"), store.SizeDocumented, "a", "b")
	snix := nest(t, st, levels, leaf(t, st, "f", "old"), store.SizeSnix, "a", "b")
	fewer := nest(t, st, levels-2, leaf(t, st, "g", "other"), store.SizeDocumented, "a", "b")
	empty := nest(t, st, 1, nil, store.SizeDocumented)
	const paths = 1 << (levels - 1)
	for _, tt := range []struct {
		a, b store.Node
		want DiffStat
	}{
		{old, new, DiffStat{Changed: paths, BytesOld: 3 * paths, BytesNew: 5 * paths}},
		{old, snix, DiffStat{}},
		{empty, old, DiffStat{Added: 2*paths - 2 + paths, BytesAdded: 3 * paths}},
		{old, empty, DiffStat{Removed: 2*paths - 2 + paths, BytesRemoved: 3 * paths}},
		{fewer, old, DiffStat{Added: paths + paths + paths/2, BytesAdded: 3 * paths, Removed: paths / 4, BytesRemoved: 5 * paths / 4}},
	} {
		a, b := Side{st.Directories, tt.a}, Side{st.Directories, tt.b}
		got, err := CountDiff(t.Context(), a, b, DiffOptions{})
		if err != nil || got != tt.want {
			t.Errorf("got %+v, %v, want %+v", got, err, tt.want)
		}
	}
	for e, err := range Search(t.Context(), st.Directories, old, byNode(func(n *store.Node) bool { return n.Name == "nothing" })) {
		t.Fatalf("found %v, %v", e, err)
	}
	for v, err := range Versions(t.Context(), st.Directories, []store.Node{old, new}, byNode(func(n *store.Node) bool { return n.Name == "nothing" })) {
		t.Fatalf("found %v, %v", v, err)
	}
}

// Renames are not searched for among too many paths, and what changed is told before all of it is known.
func TestSharedStreams(t *testing.T) {
	storetest.NotUnderRace(t)
	st := memory.New()
	old := nest(t, st, 40, leaf(t, st, "f", "old"), store.SizeDocumented, "a", "b")
	snix := nest(t, st, 40, leaf(t, st, "f", "old"), store.SizeSnix, "a", "b")
	fewer := nest(t, st, 38, leaf(t, st, "g", "other"), store.SizeDocumented, "a", "b")
	for c, err := range Diff(t.Context(), Side{st.Directories, old}, Side{st.Directories, snix}, DiffOptions{}) {
		t.Fatalf("trees that differ in their size rule only: got %v, %v", c, err)
	}
	n, tooMany := 0, false
	for range Diff(t.Context(), Side{st.Directories, fewer}, Side{st.Directories, old}, DiffOptions{TooMany: func() { tooMany = true }}) {
		if n++; n == 10 {
			break // it streams
		}
	}
	if !tooMany {
		t.Error("2^40 renames were searched for, or TooMany was not called")
	}
}

// TestSaturated adds up sizes that are larger than any file.
func TestSaturated(t *testing.T) {
	st := memory.New()
	huge := store.Directory{
		{Name: "a", Kind: store.KindFile, Digest: store.Sum([]byte("a")), Size: 1 << 63},
		{Name: "b", Kind: store.KindFile, Digest: store.Sum([]byte("b")), Size: 1 << 63},
	}
	root, empty := nest(t, st, 3, huge, store.SizeDocumented, "x", "y"), nest(t, st, 1, nil, store.SizeDocumented)
	got, err := CountDiff(t.Context(), Side{st.Directories, empty}, Side{st.Directories, root}, DiffOptions{})
	if want := (DiffStat{Added: 14, BytesAdded: 1<<64 - 1}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

// TestCountDiff compares CountDiff with what Diff yields, on random trees that have directories in common.
func TestCountDiff(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	st := memory.New()
	for range 300 {
		a, b := randomTree(t, st, rnd), randomTree(t, st, rnd)
		for _, o := range []DiffOptions{{}, {NoRenames: true}, {Paths: []string{"a"}}, {Paths: []string{"a/b", "c"}}} {
			var want DiffStat
			o.Recursive = true
			for c, err := range Diff(t.Context(), a, b, o) {
				if err != nil {
					t.Fatal(err)
				}
				want.tally(&c)
			}
			got, err := CountDiff(t.Context(), a, b, o)
			if err != nil || got != want {
				t.Fatalf("%+v: got %+v, %v, want %+v", o, got, err, want)
			}
		}
	}
}

// randomTree stores a small tree of few different nodes.
func randomTree(t *testing.T, st *store.Store, rnd *rand.Rand) Side {
	t.Helper()
	pool := []store.Node{{Kind: store.KindSymlink, Target: "x"}, {Kind: store.KindSymlink, Target: "y"}}
	for _, text := range []string{"1", "22", "333"} {
		n := leaf(t, st, "", text)[0]
		pool = append(pool, n)
		n.Executable = true
		pool = append(pool, n)
	}
	var last store.Node
	for range 5 {
		var dir store.Directory
		for _, name := range []string{"a", "b", "c"} {
			if n := pool[rnd.IntN(len(pool))]; rnd.IntN(4) > 0 {
				n.Name = name
				dir = append(dir, n)
			}
		}
		last = nest(t, st, 1, slices.Clip(dir), store.SizeDocumented)
		pool = append(pool, last, last)
	}
	return Side{st.Directories, last}
}

// byNode matches nodes wherever they are.
func byNode(match func(n *store.Node) bool) Matcher {
	return Matcher{
		Match: func(_ func() string, n *store.Node) bool { return match(n) },
		State: func(func() string) string { return "" },
	}
}

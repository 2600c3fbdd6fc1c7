package tree_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// files is a tree by the paths of its leaves, and of directories with nothing in them, which end in a slash. What
// stands for a leaf begins with "@" for a symlink and its target, and otherwise is the contents, after "!" if they may
// be run.
type files map[string]string

// put stores the tree, and returns its root.
func (f files) put(st *store.Store) store.Node {
	var dir store.Directory
	below := map[string]files{}
	for path, what := range f {
		name, rest, isDir := strings.Cut(path, "/")
		if isDir {
			if below[name] == nil {
				below[name] = files{}
			}
			if rest != "" {
				below[name][rest] = what
			}
			continue
		}
		dir = append(dir, leaf(st, name, what))
	}
	for name, f := range below {
		dir = append(dir, named(name, f.put(st)))
	}
	slices.SortFunc(dir, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
	d, err := st.Directories.Put(context.Background(), dir)
	if err != nil {
		panic(err)
	}
	size, _ := dir.Size(store.SizeDocumented)
	return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
}

func leaf(st *store.Store, name, what string) store.Node {
	if target, ok := strings.CutPrefix(what, "@"); ok {
		return store.Node{Name: name, Kind: store.KindSymlink, Target: target}
	}
	what, executable := strings.CutPrefix(what, "!")
	d, err := st.Blobs.Put(context.Background(), []byte(what))
	if err != nil {
		panic(err)
	}
	return store.Node{Name: name, Kind: store.KindFile, Digest: d, Size: uint64(len(what)), Executable: executable}
}

// lines returns changes as castar diff prints them, one string.
func lines(t testing.TB, st *store.Store, a, b store.Node, o tree.DiffOptions) string {
	t.Helper()
	var all []string
	for c, err := range tree.Diff(t.Context(), tree.Side{Directories: st.Directories, Root: a}, tree.Side{Directories: st.Directories, Root: b}, o) {
		if err != nil {
			t.Fatal(err)
		}
		slash := ""
		if c.IsDirectory() {
			slash = "/"
		}
		line := fmt.Sprintf("%c %s%s", c.Op, c.Path, slash)
		if c.Op == tree.Renamed {
			line = fmt.Sprintf("%c %s%s>%s%s", c.Op, c.From, slash, c.Path, slash)
		}
		all = append(all, line)
	}
	return strings.Join(all, " ")
}

func TestDiff(t *testing.T) {
	tests := []struct {
		name string
		a, b files
		o    tree.DiffOptions
		want string
	}{
		{"nothing", files{"a": "1"}, files{"a": "1"}, tree.DiffOptions{}, ""},
		{"each kind", files{"a": "1", "c": "1", "d": "1", "e": "1", "f": "@1", "g": "1"},
			files{"b": "2", "c": "2", "d": "!1", "e": "@1", "f": "@2", "g": "!2"}, tree.DiffOptions{},
			"- a + b M c X d T e L f M g"},
		{"deep", files{"a/b/c/d": "1", "a/b/e": "1"}, files{"a/b/c/d": "2", "a/b/e": "1"}, tree.DiffOptions{}, "M a/b/c/d"},
		{"directories", files{"a/b/c": "1"}, files{"d/e/f": "2"}, tree.DiffOptions{}, "- a/ + d/"},
		{"recursive", files{"a/b/c": "1"}, files{"d/e/f": "2"}, tree.DiffOptions{Recursive: true},
			"- a/ - a/b/ - a/b/c + d/ + d/e/ + d/e/f"},
		{"kind to directory", files{"a": "1"}, files{"a/b/c": "1", "a-": "2"}, tree.DiffOptions{Recursive: true, NoRenames: true},
			"+ a- T a/ + a/b/ + a/b/c"},
		{"kind from directory", files{"a/b/c": "1"}, files{"a": "1", "a-": "2"}, tree.DiffOptions{Recursive: true},
			"+ a- T a/ - a/b/ - a/b/c"},
		{"order", files{"a/x": "1"}, files{"a-b": "1", "a.c/x": "1", "a/x": "2", "a0": "1", "\xff": "1"}, tree.DiffOptions{NoRenames: true},
			"+ a-b + a.c/ M a/x + a0 + \xff"},

		{"rename", files{"old": "1", "z": "3"}, files{"new": "1", "z": "3"}, tree.DiffOptions{}, "R old>new"},
		{"rename off", files{"old": "1"}, files{"new": "1"}, tree.DiffOptions{NoRenames: true}, "+ new - old"},
		{"executable since", files{"old": "1"}, files{"new": "!1"}, tree.DiffOptions{}, "+ new - old"},
		{"symlink", files{"old": "@1"}, files{"new": "@1"}, tree.DiffOptions{}, "R old>new"},
		{"empty files", files{"old": "", "olddir/": ""}, files{"new": "", "newdir/": ""}, tree.DiffOptions{}, "+ new + newdir/ - old - olddir/"},
		{"directory", files{"old/a": "1", "old/b": "2"}, files{"sub/new/a": "1", "sub/new/b": "2", "sub/c": "3"}, tree.DiffOptions{},
			"+ sub/ R old/>sub/new/"},
		{"directory, edited", files{"old/a": "1", "old/b": "2", "old/c": "5"}, files{"new/a": "1", "new/b": "3", "new/d": "5"}, tree.DiffOptions{},
			"+ new/ R old/a>new/a R old/c>new/d - old/"},
		{"and all lines", files{"old/a": "1", "old/b": "2"}, files{"new/a": "1", "new/b": "3"}, tree.DiffOptions{Recursive: true},
			"+ new/ R old/a>new/a + new/b - old/ - old/b"},
		{"same name first", files{"x/a": "1", "x/b": "1"}, files{"y/b": "1"}, tree.DiffOptions{}, "- x/ + y/ R x/b>y/b"},
		{"directories first", files{"p/license": "1", "p/a": "2"}, files{"n/license": "1", "n/b": "3", "q/license": "1", "q/a": "2"}, tree.DiffOptions{},
			"+ n/ R p/>q/"},
		{"copies are none", files{"a": "1"}, files{"a": "1", "b": "1"}, tree.DiffOptions{}, "+ b"},
		{"one source for two", files{"a": "1"}, files{"b": "1", "c": "1"}, tree.DiffOptions{}, "R a>b + c"},
		{"out of what became a file", files{"d/a": "1"}, files{"d": "2", "e": "1"}, tree.DiffOptions{Recursive: true}, "T d/ R d/a>e"},
		{"into what was a file", files{"d": "2", "e": "1"}, files{"d/a": "1"}, tree.DiffOptions{}, "T d/ R e>d/a"},

		{"path", files{"a/b": "1", "c": "1"}, files{"a/b": "2", "c": "2"}, tree.DiffOptions{Paths: []string{"a"}}, "M a/b"},
		{"paths", files{"a/b": "1", "c": "1", "ca": "1"}, files{"a/b": "2", "c": "2", "ca": "2"}, tree.DiffOptions{Paths: []string{"c", "./a//b"}}, "M a/b M c"},
		{"path below what was added", files{}, files{"a/b/c": "1", "a/d": "2"}, tree.DiffOptions{Paths: []string{"a/b"}}, "+ a/b/"},
		{"path below what became a directory", files{"a": "1"}, files{"a/b/c": "1", "a/d": "2"}, tree.DiffOptions{Paths: []string{"a/b"}}, "+ a/b/"},
		{"renamed from outside", files{"a/b": "1"}, files{"c/b": "1"}, tree.DiffOptions{Paths: []string{"c"}}, "+ c/"},
	}
	for _, tt := range tests {
		st := memory.New()
		if got := lines(t, st, tt.a.put(st), tt.b.put(st), tt.o); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestDiffRoots(t *testing.T) {
	st := memory.New()
	a, b, link := leaf(st, "", "1"), leaf(st, "", "2"), leaf(st, "", "@1")
	dir := files{"a/b": "1"}.put(st)
	tests := []struct {
		a, b store.Node
		want string
	}{
		{a, a, ""}, {a, b, "M "}, {a, link, "T "}, {link, link, ""}, {a, dir, "T / + a/ + a/b"}, {dir, b, "T / - a/ - a/b"},
		{named("x", a), named("y", a), ""}, {named("x", dir), named("y", dir), ""},
	}
	for _, tt := range tests {
		if got := lines(t, st, tt.a, tt.b, tree.DiffOptions{Recursive: true}); got != tt.want {
			t.Errorf("%v %v: got %q, want %q", tt.a, tt.b, got, tt.want)
		}
	}
}

// TestDiffSizeRules compares trees that hold the same and have no directory in common.
func TestDiffSizeRules(t *testing.T) {
	st := memory.New()
	below := files{"x": "1", "y": "2"}.put(st)
	var roots []store.Node
	for _, size := range []uint64{2, 4} {
		below.Size = size
		roots = append(roots, putDir(t, st, store.Directory{named("d", below), leaf(st, "f", "1")}))
	}
	if roots[0].Digest == roots[1].Digest {
		t.Fatal("equal digests")
	}
	if got := lines(t, st, roots[0], roots[1], tree.DiffOptions{}); got != "" {
		t.Errorf("got %q", got)
	}
}

// counting counts the directories that are read.
type counting struct {
	store.Directories
	mu    sync.Mutex
	reads map[store.Digest]int
}

func (c *counting) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	c.mu.Lock()
	c.reads[d]++
	c.mu.Unlock()
	return c.Directories.Get(ctx, d)
}

// TestDiffReads asserts that a comparison reads what changed, and no more.
func TestDiffReads(t *testing.T) {
	a := files{}
	for i := range 20 {
		for j := range 20 {
			a[fmt.Sprintf("dir%d/sub%d/file", i, j)] = fmt.Sprint(i, j)
		}
	}
	edit := func(change func(f files)) files {
		b := files{}
		for k, v := range a {
			b[k] = v
		}
		change(b)
		return b
	}
	tests := []struct {
		name  string
		b     files
		reads int // of one side
	}{
		{"nothing", a, 0},
		{"a file", edit(func(f files) { f["dir3/sub4/file"] = "new" }), 3},
		{"a file more", edit(func(f files) { f["dir3/sub4/more"] = "new" }), 3},
		{"a directory moved", edit(func(f files) {
			delete(f, "dir3/sub4/file")
			f["dir5/moved/file"] = a["dir3/sub4/file"]
		}), 3},
	}
	for _, tt := range tests {
		st := memory.New()
		old, new := a.put(st), tt.b.put(st)
		for _, noRenames := range []bool{true, false} {
			sides := [2]tree.Side{{Root: old}, {Root: new}}
			var counts [2]*counting
			for i := range sides {
				counts[i] = &counting{Directories: st.Directories, reads: map[store.Digest]int{}}
				sides[i].Directories = counts[i]
			}
			for _, err := range tree.Diff(t.Context(), sides[0], sides[1], tree.DiffOptions{NoRenames: noRenames}) {
				if err != nil {
					t.Fatal(err)
				}
			}
			for i, c := range counts {
				if len(c.reads) > tt.reads {
					t.Errorf("%s, side %d: %d directories read, want %d", tt.name, i, len(c.reads), tt.reads)
				}
				for d, n := range c.reads {
					if n > 2 || n > 1 && noRenames {
						t.Errorf("%s, side %d: %s read %d times", tt.name, i, d, n)
					}
				}
			}
		}
	}
}

func TestDiffErrors(t *testing.T) {
	st := memory.New()
	gone := store.Node{Kind: store.KindDirectory, Digest: store.Sum([]byte("gone")), Size: 1}
	a := putDir(t, st, store.Directory{named("d", gone)})
	b := files{"d/x": "1", "e": "2"}.put(st)
	side := func(n store.Node) tree.Side { return tree.Side{Directories: st.Directories, Root: n} }
	last := func(a, b tree.Side, o tree.DiffOptions) (err error) {
		for _, e := range tree.Diff(t.Context(), a, b, o) {
			if err != nil {
				t.Error("something follows an error")
			}
			err = e
		}
		return err
	}
	for _, o := range []tree.DiffOptions{{}, {NoRenames: true}, {Recursive: true}} {
		err := last(side(a), side(b), o)
		if !errors.Is(err, store.ErrNotFound) || !strings.HasPrefix(err.Error(), "d: directory ") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := last(side(a), side(b), tree.DiffOptions{Paths: []string{"a/../b"}}); err == nil {
		t.Error(".. is taken")
	}
	if err := last(side(a), side(a), tree.DiffOptions{}); err != nil {
		t.Error(err)
	}
	if err := last(tree.Side{Root: a}, side(b), tree.DiffOptions{}); !errors.Is(err, store.ErrUnsupported) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range tree.Diff(ctx, side(a), side(b), tree.DiffOptions{}) {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// genFiles draws a small tree in which names and contents often meet again.
func genFiles(rt *rapid.T, label string) files {
	name := rapid.SampledFrom([]string{"a", "a-", "b", "c", "\xff"})
	what := rapid.SampledFrom([]string{"", "1", "2", "3", "!1", "@1", "@2"})
	f := files{}
	for range rapid.IntRange(0, 12).Draw(rt, label) {
		path := name.Draw(rt, "name")
		for range rapid.IntRange(0, 3).Draw(rt, "depth") {
			path += "/" + name.Draw(rt, "name")
		}
		fits := true
		for other := range f {
			fits = fits && !strings.HasPrefix(other+"/", path+"/") && !strings.HasPrefix(path, other+"/")
		}
		if fits {
			f[path] = what.Draw(rt, "what")
		}
	}
	return f
}

// flat returns all entries of a tree below its root, without the digests and sizes of directories.
func flat(t testing.TB, st *store.Store, root store.Node) map[string]store.Node {
	t.Helper()
	all := map[string]store.Node{}
	for e, err := range tree.Walk(t.Context(), st.Directories, root, -1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Depth > 0 {
			all[e.Path] = plain(e.Node)
		}
	}
	return all
}

func plain(n store.Node) store.Node {
	if n.Kind == store.KindDirectory {
		return store.Node{Kind: n.Kind}
	}
	n.Name = ""
	return n
}

// TestDiffApplies does to a what Diff says, and must come to b.
func TestDiffApplies(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		st := memory.New()
		a, b := genFiles(rt, "a").put(st), genFiles(rt, "b").put(st)
		o := tree.DiffOptions{Recursive: rapid.Bool().Draw(rt, "recursive"), NoRenames: rapid.Bool().Draw(rt, "no renames")}
		side := func(n store.Node) tree.Side { return tree.Side{Directories: st.Directories, Root: n} }
		before, after := flat(t, st, a), flat(t, st, b)
		got := flat(t, st, a)
		under := func(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
		remove := func(path string, all bool) {
			for p := range got {
				if p == path || all && under(p, path) {
					delete(got, p)
				}
			}
		}
		copyFrom := func(from map[string]store.Node, path, to string, all bool) {
			for p, n := range from {
				if p == path || all && under(p, path) {
					got[to+p[len(path):]] = n
				}
			}
		}
		var changes []tree.Change
		previous := ""
		for c, err := range tree.Diff(t.Context(), side(a), side(b), o) {
			if err != nil {
				rt.Fatal(err)
			}
			line := c.Path
			if c.IsDirectory() {
				line += "/"
			}
			if line < previous {
				rt.Fatalf("%q after %q", line, previous)
			}
			previous = line
			changes = append(changes, c)
		}
		for _, c := range changes {
			switch c.Op {
			case tree.Removed, tree.Retyped:
				remove(c.Path, !o.Recursive)
			case tree.Renamed:
				remove(c.From, true)
				if plain(c.Old) != plain(c.New) || before[c.From] != plain(c.Old) {
					rt.Fatalf("%+v", c)
				}
			}
		}
		for _, c := range changes {
			switch c.Op {
			case tree.Renamed:
				copyFrom(before, c.From, c.Path, true)
			case tree.Added, tree.Retyped:
				copyFrom(after, c.Path, c.Path, !o.Recursive)
			case tree.Modified, tree.Executable, tree.Retargeted:
				if got[c.Path] != plain(c.Old) {
					rt.Fatalf("%+v", c)
				}
				got[c.Path] = plain(c.New)
			}
		}
		if d := cmp.Diff(after, got); d != "" {
			rt.Errorf("%v\n%s", changes, d)
		}
		for c := range tree.Diff(t.Context(), side(b), side(b), o) {
			rt.Errorf("a tree and itself: %+v", c)
		}
	})
}

// TestDiffBoth asks about what both sides have, also where nothing changed, and yields the answers in the order of paths.
func TestDiffBoth(t *testing.T) {
	st := memory.New()
	old := files{"a/b/c": "1", "a/d": "2", "e": "3", "f": "4", "g": "5", "h/i": "6"}.put(st)
	new := files{"a/b/c": "1", "a/d": "2", "e": "changed", "f/x": "4", "h/i": "6", "h/j": "5"}.put(st)
	sides := [2]tree.Side{{Directories: st.Directories, Root: old}, {Directories: st.Directories, Root: new}}
	for _, test := range []struct {
		paths []string
		want  string
	}{
		{nil, "p:. p:a/ p:a/b/ p:a/b/c p:a/d M:e p:e T:f p:h/ p:h/i R:h/j"},
		{[]string{"a/b", "e"}, "p:a/b/ p:a/b/c M:e p:e"},
	} {
		o := tree.DiffOptions{Paths: test.paths, Both: func(path string, old, new *store.Node) []tree.Op {
			if old.Kind != new.Kind || old.Kind == 0 {
				t.Errorf("%s: %v and %v", path, old.Kind, new.Kind)
			}
			return []tree.Op{'p'}
		}}
		var got []string
		for c, err := range tree.Diff(context.Background(), sides[0], sides[1], o) {
			if err != nil {
				t.Fatal(err)
			}
			path := c.Path
			if c.Op == 'p' && c.IsDirectory() {
				path = strings.TrimPrefix(path+"/", "/")
			}
			if path == "" {
				path = "."
			}
			got = append(got, string(c.Op)+":"+path)
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%q: got  %s\nwant %s", test.paths, got, test.want)
		}
	}
}

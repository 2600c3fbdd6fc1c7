package tree_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// versionsOf lists what Versions yields, as path, digest or target, and places.
func versionsOf(t testing.TB, ds store.Directories, roots []store.Node, byName bool, match func(string, *store.Node) bool) (all []string) {
	m := tree.Matcher{
		Match: func(path func() string, n *store.Node) bool { return match(path(), n) },
		State: func(dir func() string) string { return dir() },
	}
	if byName {
		m.Match = func(_ func() string, n *store.Node) bool { return match(n.Name, n) }
		m.State = func(func() string) string { return "" }
	}
	for v, err := range tree.Versions(t.Context(), ds, roots, m) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, versionLine(v.Path, v.Node, v.In))
	}
	return all
}

func versionLine(path string, n store.Node, in []int) string {
	if n.Kind == store.KindDirectory {
		path += "/"
	}
	return fmt.Sprint(path, " ", n.Digest.String()[:4], n.Target, n.Executable, in)
}

// TestVersions compares with a walk through each tree by itself.
func TestVersions(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		st := memory.New()
		var roots []store.Node
		in := map[string]map[store.Node][]int{}
		letter := rapid.SampledFrom([]string{"a", "b", "-", ""}).Draw(rt, "letter")
		byName := rapid.Bool().Draw(rt, "by name")
		match := func(path string, n *store.Node) bool {
			if byName && path != n.Name {
				rt.Errorf("path %q of %q", path, n.Name)
			}
			return strings.Contains(path, letter)
		}
		for i := range rapid.IntRange(0, 5).Draw(rt, "roots") {
			root := genFiles(rt, fmt.Sprint(i)).put(st)
			roots = append(roots, root)
			for e := range tree.Walk(t.Context(), st.Directories, root, -1) {
				path := e.Path
				if byName {
					path = e.Node.Name
				}
				if e.Depth == 0 || !strings.Contains(path, letter) {
					continue
				}
				if e.Node.Kind == store.KindDirectory {
					e.Path += "/"
				}
				if in[e.Path] == nil {
					in[e.Path] = map[store.Node][]int{}
				}
				in[e.Path][e.Node] = append(in[e.Path][e.Node], i)
			}
		}
		var want []string
		for path, nodes := range in {
			for n, places := range nodes {
				want = append(want, fmt.Sprintf("%s\x00%03d", path, places[0])+versionLine(strings.TrimSuffix(path, "/"), n, places))
			}
		}
		slices.Sort(want)
		for i, line := range want {
			_, line, _ = strings.Cut(line, "\x00")
			want[i] = line[3:]
		}
		if diff := cmp.Diff(want, versionsOf(t, st.Directories, roots, byName, match)); diff != "" {
			rt.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// TestVersionsReads asserts that a directory of many trees is read once, and an error hides nothing else.
func TestVersionsReads(t *testing.T) {
	st := memory.New()
	c := &counting{Directories: st.Directories, reads: map[store.Digest]int{}}
	var roots []store.Node
	for i := range 30 {
		f := files{"news": fmt.Sprint(i), "deep/changes/x": fmt.Sprint(i / 10)}
		for j := range 20 {
			f[fmt.Sprintf("d%02d/sub/f", j)] = fmt.Sprint(j % 5) // of 20 directories, 5 are different
		}
		roots = append(roots, f.put(st))
	}
	roots = append(roots, named("alone", putFile(t, st, "1")))
	got := versionsOf(t, c, roots, true, func(path string, _ *store.Node) bool { return path == "x" || path == "alone" })
	if len(got) != 4 || !strings.Contains(got[3], "[20 21 22 23 24 25 26 27 28 29]") || !strings.HasPrefix(got[0], "alone") {
		t.Errorf("got %q", got)
	}
	for d, n := range c.reads {
		if n != 1 {
			t.Errorf("directory %s was read %d times", d, n)
		}
	}
	if want := 30 + 2*3 + 2*5; len(c.reads) != want {
		t.Errorf("%d directories were read, want %d", len(c.reads), want)
	}
	f := newFixture(t)
	var seen []string
	for v, err := range tree.Versions(t.Context(), f.Directories, []store.Node{f.top}, tree.Matcher{
		Match: func(func() string, *store.Node) bool { return true }, State: func(func() string) string { return "" },
	}) {
		if err != nil {
			v.Path += "?"
		}
		seen = append(seen, v.Path)
	}
	if got := strings.Join(seen, " "); got != "a:b link usr usr/gone usr/gone? usr/lib usr/lib/x usr/lib/\xff" {
		t.Errorf("got %q", got)
	}
}

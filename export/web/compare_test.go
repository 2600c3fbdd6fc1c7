package web

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/storetest"
)

// TestDiff shows what changed between two trees, and in a file.
func TestDiff(t *testing.T) {
	s := newSite(t, Options{})
	a := put(t, s.st, folder{"gone": "1", "same": "2", "text": "one\ntwo\n", "moved": "some contents", "d": folder{"\xff": "1"}, "x": "prog", "l": pointer("a"), "k": "file"})
	b := put(t, s.st, folder{"<i>new": "1", "same": "2", "text": "one\n<b>2\x1b\u202e\n", "to": "some contents", "d": folder{"\xff": "2"}, "x": program("prog"), "l": pointer("b"), "k": folder{"f": "1"}})
	putTag(t, s.st, "a", a)
	putTag(t, s.st, "b", b)
	var got struct {
		Stat    struct{ Added, Removed, Changed, Renamed int }
		Changes []struct {
			Op, Path, From string
			PathBase64     string `json:"path_base64"`
		}
	}
	r := s.get("/diff?from=a&to=b", "Accept", "application/json")
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatalf("%v\n%s", err, r.body)
	}
	all := ""
	for _, c := range got.Changes {
		all += c.Op + c.Path + c.From + c.PathBase64 + " "
	}
	if want := "R<i>newgone Md/\ufffdZC// Tk Ll Mtext Rtomoved Xx "; all != want {
		t.Errorf("changes: %q", all)
	}
	page := s.get("/diff?from=a&to=b")
	checkPage(t, "/diff", page.body)
	for _, want := range []string{"renamed", "&lt;i&gt;new", "other kind", "other target", "executable bit", `d/\xff`} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	lines := s.get("/diff?from=a:text&to=b:text")
	checkPage(t, "/diff lines", lines.body)
	for _, want := range []string{`<span class="minus">-two</span>`, `<span class="plus">&#43;&lt;b&gt;2\x1b\u202e</span>`} {
		if !strings.Contains(lines.body, want) {
			t.Errorf("the lines lack %s:\n%s", want, lines.body)
		}
	}
	odd := "/diff?" + url.Values{"from": {"a:d/\xff"}, "to": {"b:d/\xff"}}.Encode()
	if r := s.get(odd); r.StatusCode != 200 || !strings.Contains(r.body, "&#43;2") {
		t.Errorf("a name that is not UTF-8: %s", r.Status)
	}
	for path, want := range map[string]string{
		"/diff?from=a&to=a": "Nothing changed", "/diff?from=a:same&to=b:same": "contents are the same", "/diff?from=a:text&to=b": "other kind", "/diff?from=a": "Compare",
	} {
		if r := s.get(path); r.StatusCode != http.StatusOK || !strings.Contains(r.body, want) {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
}

// TestDiffPages pages through many changes, and says where it stops.
func TestDiffPages(t *testing.T) {
	s := newSite(t, Options{})
	one, none := put(t, s.st, "1"), put(t, s.st, folder{})
	dir := func(n int) store.Digest {
		d := make(store.Directory, n)
		for i := range d {
			d[i] = one
			d[i].Name = fmt.Sprintf("%06d", i)
		}
		return putDirectory(t, s.st, d).Digest
	}
	const some = 2*pageRows + 5
	seen := 0
	for path := "/diff?from=" + none.Digest.String() + "&to=" + dir(some).String(); path != ""; {
		var got struct {
			Next    string
			Changes []struct{ Path string }
		}
		if err := json.Unmarshal([]byte(s.get(path, "Accept", "application/json").body), &got); err != nil {
			t.Fatal(err)
		}
		for _, c := range got.Changes {
			if c.Path != fmt.Sprintf("%06d", seen) {
				t.Fatalf("%s after %d", c.Path, seen)
			}
			seen++
		}
		path = got.Next
	}
	if seen != some {
		t.Errorf("%d changes, want %d", seen, some)
	}
	if storetest.UnderRace {
		return // the rest is slow, and races are in what is above
	}
	many := "/diff?from=" + none.Digest.String() + "&to=" + dir(maxChanges+1).String() + "&page="
	if r := s.get(many + "100"); r.StatusCode != 200 || !strings.Contains(r.body, "more changes than pages show") {
		t.Errorf("the last page: %s", r.Status)
	}
	if r := s.get(many + "101"); r.StatusCode != http.StatusNotFound {
		t.Errorf("after the last page: %s", r.Status)
	}
}

// TestDiffBounds compares files that are too long for a page.
func TestDiffBounds(t *testing.T) {
	s := newSite(t, Options{})
	putTag(t, s.st, "long", put(t, s.st, strings.Repeat("x\n", maxText)))
	putTag(t, s.st, "empty", put(t, s.st, ""))
	putTag(t, s.st, "lines", put(t, s.st, strings.Repeat("y\n", maxLines*2)))
	putTag(t, s.st, "binary", put(t, s.st, "\x00"))
	for path, want := range map[string]string{
		"/diff?from=empty&to=long": "too long", "/diff?from=empty&to=lines": "too long", "/diff?from=empty&to=binary": "Binary files",
	} {
		if r := s.get(path); r.StatusCode != 200 || !strings.Contains(r.body, want) || len(r.body) > 1<<20 {
			t.Errorf("%s: %s, %d bytes", path, r.Status, len(r.body))
		}
	}
}

// TestTreemap adds up what directories hold, also where a few of them stand for more than can be counted.
func TestTreemap(t *testing.T) {
	s := newSite(t, Options{})
	root := put(t, s.st, folder{"d": folder{"a": "12345", "b": "123", "e": folder{"c": "12"}}, "e": folder{"c": "12"}, "f": "1234", "l": pointer("x"), "<g>": ""})
	var got struct {
		Counts  store.Counts
		Entries []struct {
			Name        string
			Bytes, More uint64
		}
	}
	r := s.get(treeURL(root.Digest)+"?map", "Accept", "application/json")
	if err := json.Unmarshal([]byte(r.body), &got); err != nil {
		t.Fatal(err)
	}
	if want := (store.Counts{Files: 6, Directories: 4, Symlinks: 1, Bytes: 16}); got.Counts != want {
		t.Errorf("%+v", got.Counts)
	}
	if e := got.Entries; len(e) != 5 || e[0].Name != "d" || e[0].Bytes != 10 || e[1].Name != "f" || e[2].Bytes != 2 {
		t.Errorf("%+v", e)
	}
	page := s.get(treeURL(root.Digest) + "?map").body
	checkPage(t, "?map", page)
	if !strings.Contains(page, "<svg") || !strings.Contains(page, `href="`+treeURL(root.Digest, "d")+`?map"`) {
		t.Errorf("no picture:\n%s", page)
	}

	n := put(t, s.st, "12345678") // a tree of 2^200 files
	for range 200 {
		a, b := n, n
		a.Name, b.Name = "a", "b"
		n = putDirectory(t, s.st, store.Directory{a, b})
		n.Size = 0
	}
	if r := s.get(treeURL(n.Digest) + "?map"); r.StatusCode != 200 || !strings.Contains(r.body, "16 EiB or more") {
		t.Errorf("a tree of endless paths: %s", r.Status)
	}
	deep := putDirectory(t, s.st, nil)
	for range store.MaxDepth {
		deep.Name = "d"
		deep = putDirectory(t, s.st, store.Directory{deep})
	}
	if r := s.get(treeURL(deep.Digest) + "?map"); r.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("a tree that is too deep: %s", r.Status)
	}
	many := make(store.Directory, 1000)
	for i := range many {
		many[i] = put(t, s.st, strings.Repeat("x", i))
		many[i].Name = fmt.Sprintf("%04d", i)
	}
	if r := s.get(treeURL(putDirectory(t, s.st, many).Digest) + "?map"); !strings.Contains(r.body, "920 more") {
		t.Errorf("many entries: %s", r.Status)
	}
}

// TestLayoutRest divides an area among small entries and many together, which come last. No box is a mere line.
func TestLayoutRest(t *testing.T) {
	for small := 2; small < 40; small++ {
		entries := make([]weighed, small+1)
		for i := range entries {
			entries[i].Counts.Bytes = 10_000
		}
		entries[small].Counts.Bytes = 100_000
		for i, b := range layout(largestFirst(entries), box{W: 200, H: 190}) {
			if r := max(b.W/b.H, b.H/b.W); r > 4 {
				t.Errorf("box %d of %d is %.1f times as long as wide", i, small+1, r)
			}
		}
	}
}

// TestLayout divides areas among random sizes: in proportion, inside, and without overlap.
func TestLayout(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		entries := make([]weighed, rnd.IntN(60))
		total := 0.0
		for i := range entries {
			entries[i].Counts.Bytes = uint64(math.Exp(rnd.Float64()*20)) * uint64(rnd.IntN(5))
			total += entries[i].bytes()
		}
		slices.SortFunc(entries, func(a, b weighed) int { return int(b.Counts.Bytes) - int(a.Counts.Bytes) })
		area := box{X: 3, Y: 5, W: 100 + 900*rnd.Float64(), H: 100 + 500*rnd.Float64()}
		boxes := layout(entries, area)
		if len(boxes) != len(entries) {
			t.Fatalf("%d boxes of %d entries", len(boxes), len(entries))
		}
		const slack = 1e-6
		for i, b := range boxes {
			want := 0.0
			if total > 0 {
				want = area.W * area.H * entries[i].bytes() / total
			}
			if math.Abs(b.W*b.H-want) > slack*area.W*area.H {
				t.Fatalf("box %d has an area of %g, want %g", i, b.W*b.H, want)
			}
			if b.X < area.X-slack || b.Y < area.Y-slack || b.X+b.W > area.X+area.W+slack || b.Y+b.H > area.Y+area.H+slack {
				t.Fatalf("box %d is outside: %+v of %+v", i, b, area)
			}
			for _, o := range boxes[:i] {
				if min(b.X+b.W, o.X+o.W)-max(b.X, o.X) > slack && min(b.Y+b.H, o.Y+o.H)-max(b.Y, o.Y) > slack {
					t.Fatalf("boxes overlap: %+v and %+v", b, o)
				}
			}
		}
	}
}

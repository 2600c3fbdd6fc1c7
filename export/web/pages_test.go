package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"castar/store"
	"castar/store/storetest"
)

func sortByName(dir store.Directory) {
	slices.SortFunc(dir, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
}

// TestCrawl follows every link from the first page, through a tree that attacks it. Every page must exist, allow no
// script, and have what people need who do not see it or have no mouse.
func TestCrawl(t *testing.T) {
	s := newSite(t, Options{})
	root := put(t, s.st, hostile())
	putTag(t, s.st, "release/1.0", root)
	putTag(t, s.st, "<i>", put(t, s.st, folder{"<b>": "1"}))
	seen, queue := map[string]bool{}, []string{"/", "/diff?from=release/1.0&to=" + url.QueryEscape("<i>")}
	kinds := map[string]int{}
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		if seen[path] {
			continue
		}
		seen[path] = true
		r := s.get(path)
		checkSafe(t, path, r)
		switch kind, _, _ := strings.Cut(r.header("Content-Type"), ";"); {
		case r.err != nil:
			t.Errorf("%s: %v", path, r.err)
		case r.StatusCode == http.StatusFound:
			queue = append(queue, r.header("Location"))
		case r.StatusCode == http.StatusNotFound && strings.Contains(path, "alert%282%29"): // where a symlink leads
		case r.StatusCode != http.StatusOK:
			t.Errorf("%s: %s", path, r.Status)
		case kind == "text/html":
			queue = append(queue, checkPage(t, path, r.body)...)
			kinds[kind]++
		default:
			kinds[kind]++
		}
	}
	for kind, least := range map[string]int{"text/html": 15, "text/plain": 20, "image/png": 1, "application/octet-stream": 3, "application/x-tar": 3} {
		if kinds[kind] < least {
			t.Errorf("%d answers are %s, want %d", kinds[kind], kind, least)
		}
	}
}

// checkSafe checks the headers of any answer.
func checkSafe(t *testing.T, path string, r reply) {
	t.Helper()
	csp := r.header("Content-Security-Policy")
	if !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") || strings.Contains(csp, "script-src") {
		t.Errorf("%s: policy %q", path, csp)
	}
	for name, want := range map[string]string{
		"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin",
	} {
		if got := r.header(name); got != want {
			t.Errorf("%s: %s: %q", path, name, got)
		}
	}
	kind := r.header("Content-Type")
	if strings.HasPrefix(path, "/roots/") && !strings.HasPrefix(kind, "text/html") && kind != "application/json" {
		if r.StatusCode == http.StatusOK && !strings.HasSuffix(csp, "sandbox") {
			t.Errorf("%s: policy of a file: %q", path, csp)
		}
	}
	if path != "/icon.svg" && strings.Contains(kind, "svg") || strings.Contains(kind, "/xml") || strings.Contains(kind, "javascript") {
		t.Errorf("%s: sent as %s", path, kind)
	}
}

// checkPage checks a page and returns where it leads on this server.
func checkPage(t *testing.T, path, body string) (links []string) {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Errorf("%s: %v", path, err)
	}
	count, ids := map[string]int{}, map[string]bool{}
	for n := range doc.Descendants() {
		if n.Type != html.ElementNode {
			continue
		}
		count[n.Data]++
		attr := map[string]string{}
		for _, a := range n.Attr {
			attr[a.Key] = a.Val
			if strings.HasPrefix(a.Key, "on") || a.Key == "style" {
				t.Errorf("%s: <%s %s=%q>", path, n.Data, a.Key, a.Val)
			}
		}
		if id := attr["id"]; id != "" && ids[id] {
			t.Errorf("%s: id %s twice", path, id)
		}
		ids[attr["id"]] = true
		switch n.Data {
		case "script", "iframe", "object", "embed", "base", "style", "img", "b", "i":
			t.Errorf("%s: has <%s>", path, n.Data)
		case "th":
			if attr["scope"] == "" {
				t.Errorf("%s: a header of a table without scope", path)
			}
		case "html":
			if attr["lang"] != "en" {
				t.Errorf("%s: no language", path)
			}
		case "input":
			if attr["type"] != "hidden" && n.Parent.Data != "label" {
				t.Errorf("%s: an input without label", path)
			}
		}
		for _, key := range []string{"href", "action", "src"} {
			switch to := attr[key]; {
			case to == "" || strings.HasPrefix(to, "#"):
			case !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//"):
				t.Errorf("%s: leads to %q", path, to)
			case key == "href":
				links = append(links, to)
			}
		}
	}
	for _, name := range []string{"title", "h1", "main", "header"} {
		if count[name] == 0 || name != "title" && count[name] != 1 {
			t.Errorf("%s: %d <%s>", path, count[name], name)
		}
	}
	if !ids["main"] || !strings.Contains(body, `href="#main"`) {
		t.Errorf("%s: no link past the header", path)
	}
	return links
}

// TestNotOutside tries addresses that lead out of a root, or nowhere.
func TestNotOutside(t *testing.T) {
	s := newSite(t, Options{})
	root := put(t, s.st, folder{"a": folder{"f": "inside"}, "l": pointer("a"), "f": "x"})
	in := treeURL(root.Digest)
	for _, path := range []string{
		in + "/..", in + "/../..", in + "/a/../../../etc/passwd", in + "/%2e%2e/x", in + "/%2E", in + "/a%2Ff", in + "/a//f", in + "//", in + "/a/%00",
		in + "/l/f", in + "/f/x", in + "/nothing", "/roots/", "/roots/zz", "/roots/0123", "/roots/" + strings.Repeat("0", 64),
		"/tags/none", "/tags/..", "/tags/-x", "/tags/%00", "/nothing", "/log/x", "/style.css", "/roots/" + root.Digest.String()[:8] + "x",
		"/pages/home.html", "/etc/passwd", in + "?page=2", in + "?page=0", in + "?page=x", in + "?page=99999999999999999999", in + "/f?map",
		in + "?archive=exe", "/log?page=7", "/?page=9", "/" + strings.Repeat("a/", 10000),
	} {
		r := s.get(path)
		if r.StatusCode != http.StatusNotFound || strings.Contains(r.body, "inside") {
			t.Errorf("%.80s: %s", path, r.Status)
		}
		checkSafe(t, path, r)
		if got := r.header("Cache-Control"); got != "no-store" {
			t.Errorf("%.80s: %s", path, got)
		}
	}
	for _, path := range []string{"/open?ref=", "/open?ref=0123456", "/open?ref=a%20b", "/diff?from=.&to=.", "/open?ref=" + strings.Repeat("%00", 3)} {
		if r := s.get(path); r.StatusCode != http.StatusBadRequest && r.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PROPFIND"} {
		if r := s.do(method, "/"); r.StatusCode != http.StatusMethodNotAllowed || r.header("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s", method, r.Status)
		}
	}
	if log := s.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "panic") {
		t.Errorf("log: %s", log)
	}
}

// TestPaging pages through the beginning and the end of a directory of 100,000 entries.
func TestPaging(t *testing.T) {
	s := newSite(t, Options{})
	one := put(t, s.st, "1")
	pages := 200
	if storetest.UnderRace {
		pages = 8 // it is slow
	}
	dir := make(store.Directory, pages*pageRows)
	for i := range dir {
		dir[i] = one
		dir[i].Name = fmt.Sprintf("file-%06d", i)
	}
	path, seen := treeURL(putDirectory(t, s.st, dir).Digest), 0
	first := s.get(path)
	if len(first.body) > 1<<20 || !strings.Contains(first.body, fmt.Sprintf("Page 1 of %d<", pages)) {
		t.Errorf("the first page has %d bytes", len(first.body))
	}
	checkPage(t, path, first.body)
	for path != "" {
		var got struct {
			Total   int
			Next    string
			Entries []struct{ Name, URL string }
		}
		r := s.get(path, "Accept", "application/json")
		if err := json.Unmarshal([]byte(r.body), &got); err != nil || got.Total != len(dir) {
			t.Fatalf("%s: %v, %d entries", path, err, got.Total)
		}
		for _, e := range got.Entries {
			if want := fmt.Sprintf("file-%06d", seen); e.Name != want {
				t.Fatalf("%s: %s, want %s", path, e.Name, want)
			}
			seen++
		}
		if path = got.Next; seen == 3*pageRows {
			seen, path = len(dir)-2*pageRows, strings.Replace(path, "page=4", fmt.Sprintf("page=%d", pages-1), 1)
		}
	}
	if seen != len(dir) {
		t.Errorf("%d entries", seen)
	}
}

// TestLog pages through a log, newest first, and names what cannot be read.
func TestLog(t *testing.T) {
	s := newSite(t, Options{})
	root := put(t, s.st, "x")
	const ingests = pageRows + 7
	for i := range ingests {
		if err := s.st.Tags.Record(t.Context(), store.Tag{Name: fmt.Sprintf("t%d", i), Root: root}); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for path := "/log"; path != ""; {
		var got struct {
			Total int
			Next  string
			Log   []struct{ Name, Root string }
		}
		if err := json.Unmarshal([]byte(s.get(path, "Accept", "application/json").body), &got); err != nil || got.Total != ingests {
			t.Fatalf("%d, %v", got.Total, err)
		}
		for _, e := range got.Log {
			names = append(names, e.Name)
		}
		path = got.Next
	}
	for i, name := range names {
		if want := fmt.Sprintf("t%d", ingests-1-i); name != want {
			t.Fatalf("row %d: %s, want %s", i, name, want)
		}
	}
	if len(names) != ingests {
		t.Errorf("%d rows", len(names))
	}
}

// TestNoTags shows a store without tags.
func TestNoTags(t *testing.T) {
	s := newSite(t, Options{})
	s.st.Tags = nil
	root := put(t, s.st, folder{"f": "1"})
	if r := s.get("/"); r.StatusCode != http.StatusOK || !strings.Contains(r.body, "keeps no tags") {
		t.Errorf("%s", r.Status)
	}
	for path, want := range map[string]int{"/log": 404, "/tags/x": 404, treeURL(root.Digest): 200, "/open?ref=x": 404} {
		if r := s.get(path); r.StatusCode != want {
			t.Errorf("%s: %s", path, r.Status)
		}
	}
}

// TestParts shows stores that keep only blobs or only directories.
func TestParts(t *testing.T) {
	for _, without := range []string{"blobs", "directories"} {
		s := newSite(t, Options{})
		root := put(t, s.st, folder{"f": "1"})
		putTag(t, s.st, "t", root)
		if without == "blobs" {
			s.st.Blobs = nil
		} else {
			s.st.Directories = nil
		}
		in := treeURL(root.Digest)
		for _, path := range []string{"/", "/log", "/tags/t", "/tags/t/f", in, in + "/f", in + "?map", in + "?archive=tar", in + "/f?archive=zip", "/diff?from=t&to=t", "/diff?from=t:f&to=t:f", "/roots/" + store.Sum([]byte("1")).String()} {
			if r := s.get(path); r.StatusCode >= 500 && !strings.Contains(path, "archive") || r.StatusCode == 0 {
				t.Errorf("without %s: %s: %s %v", without, path, r.Status, r.err)
			}
		}
		if log := s.log.String(); strings.Contains(log, "panic") {
			t.Errorf("without %s: %s", without, log)
		}
	}
}

// TestRoots shows roots that are no directories.
func TestRoots(t *testing.T) {
	s := newSite(t, Options{})
	for name, v := range map[string]any{"link": pointer("a/b"), "prog": program("#!/bin/sh\n"), "file": "text"} {
		putTag(t, s.st, name, put(t, s.st, v))
		r := s.get("/tags/" + name)
		r = s.get(r.header("Location"))
		if want := map[string]string{"link": "symbolic link to a/b", "prog": "#!/bin/sh\n", "file": "text"}[name]; r.StatusCode != 200 || !strings.Contains(r.body, want) {
			t.Errorf("%s: %s, %s", name, r.Status, r.body)
		}
	}
	if r := s.get("/diff?from=prog&to=link"); r.StatusCode != 200 || !strings.Contains(r.body, "other kind") {
		t.Errorf("%s", r.Status)
	}
}

// TestRedirects leads from tags, shortened digests and other spellings to the one address of a root.
func TestRedirects(t *testing.T) {
	s := newSite(t, Options{})
	root := put(t, s.st, hostile())
	putTag(t, s.st, "release/1.0", root)
	hex, at := root.Digest.String(), treeURL(root.Digest)
	for path, want := range map[string]string{
		"/tags/release%2F1.0":                          at,
		"/tags/release%2F1.0/":                         at,
		"/tags/release%2F1.0/sub/deep":                 at + "/sub/deep",
		"/tags/release%2F1.0/a%ff%FE.txt?download":     at + "/a%FF%FE.txt?download",
		"/tags/release%2F1.0?archive=tar":              at + "?archive=tar",
		"/roots/" + hex[:12] + "/sub":                  at + "/sub",
		"/roots/" + strings.ToUpper(hex):               at,
		"/roots/" + url.PathEscape(root.Digest.Snix()): at,
		"/open?ref=release/1.0:sub//deep/":             at + "/sub/deep",
		"/open?ref=+" + hex + "+":                      at,
	} {
		if r := s.get(path); r.StatusCode != http.StatusFound || r.header("Location") != want || r.header("Cache-Control") != "no-store" {
			t.Errorf("%s: %s to %s", path, r.Status, r.header("Location"))
		}
	}
}

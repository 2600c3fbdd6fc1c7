package web

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestAccept tells who gets JSON.
func TestAccept(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/json": true, "application/json, */*": true, "text/html, application/json;q=0.9": false,
		"text/html;q=0.5, application/json": true, "application/json;q=0": false, "application/json;q=x": false, ";;;": false,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": false,
	} {
		r := &http.Request{Header: http.Header{"Accept": {accept}}}
		if got := wantsJSON(r); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
	s := newSite(t, Options{})
	root := put(t, s.st, hostile())
	putTag(t, s.st, "t", root)
	in := treeURL(root.Digest)
	for _, path := range []string{"/", "/log", "/diff", in, in + "/sub", in + "/out", in + "?map", "/diff?from=t&to=t", "/nothing", in + "/nothing"} {
		r := s.get(path, "Accept", "application/json")
		if r.header("Content-Type") != "application/json" || !json.Valid([]byte(r.body)) || !strings.Contains(r.header("Vary"), "Accept") {
			t.Errorf("%s: %s, %.100s", path, r.header("Content-Type"), r.body)
		}
	}
	if r := s.get(in, "Accept", "application/json"); !strings.Contains(r.body, `"name_base64":"Yf/+LnR4dA=="`) {
		t.Errorf("a name that is not UTF-8: %s", r.body)
	}
}

// TestCaching revalidates pages by their ETag. What depends on digests only never changes.
func TestCaching(t *testing.T) {
	for _, token := range []string{"", "t0ken"} {
		o := Options{}
		if token != "" {
			o.IsToken = func(shown string) bool { return shown == token }
		}
		s := newSite(t, o)
		root := put(t, s.st, hostile())
		putTag(t, s.st, "t", root)
		in, scope := treeURL(root.Digest), "public"
		if token != "" {
			scope = "private"
		}
		forever := scope + ", max-age=31536000, immutable"
		for path, want := range map[string]string{
			"/": "no-cache", "/log": "no-cache", "/diff?from=t&to=t": "no-cache", in: forever, in + "?map": forever, in + "/sub": forever,
			in + "/evil.html": forever, in + "/picture.png": forever, in + "/out": forever,
			"/diff?from=" + root.Digest.String() + "&to=" + root.Digest.String(): forever,
		} {
			r := s.get(path, "Authorization", "Bearer "+token)
			etag := r.header("Etag")
			if r.StatusCode != http.StatusOK || r.header("Cache-Control") != want || len(etag) != 66 {
				t.Errorf("%s: %s, %s, %s", path, r.Status, r.header("Cache-Control"), etag)
			}
			if r := s.get(path, "If-None-Match", etag, "Authorization", "bearer "+token); r.StatusCode != http.StatusNotModified || r.body != "" {
				t.Errorf("%s again: %s", path, r.Status)
			}
		}
	}
}

// TestConcurrent asks for everything at once, so that the race detector sees it.
func TestConcurrent(t *testing.T) {
	s := newSite(t, Options{})
	root := put(t, s.st, hostile())
	putTag(t, s.st, "t", root)
	in := treeURL(root.Digest)
	var all sync.WaitGroup
	for range 4 {
		for _, path := range []string{"/", "/log", in, in + "?map", in + "/evil.html", in + "?archive=zip", "/diff?from=t&to=t", "/tags/t", "/nothing"} {
			all.Go(func() {
				if r := s.get(path); r.err != nil || r.StatusCode >= 500 {
					t.Errorf("%s: %s, %v", path, r.Status, r.err)
				}
			})
		}
	}
	all.Wait()
}

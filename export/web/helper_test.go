package web

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"
)

// folder is a directory to store: names and what they stand for.
type folder map[string]any

// What names stand for in a folder, besides a folder and a string, which is the contents of a file.
type (
	program string // the contents of an executable file
	pointer string // the target of a symlink
)

// png is an image of one pixel.
const png = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde\x00\x00\x00\fIDATx\x9cc\xf8\xcf\xc0\x00\x00\x03\x01\x01\x00\xc9\xfe\x92\xef\x00\x00\x00\x00IEND\xaeB`\x82"

// hostile is a tree whose names and contents attack pages.
func hostile() folder {
	return folder{
		"<script>document.title='PWNED'<script>": "x", `"><img src=x onerror=alert(1)>`: "x", "javascript:alert(1)": "x",
		"evil.html": "<script>document.title='PWNED'</script><h1>evil</h1>",
		"evil.svg":  `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>`,
		"evil.xml":  `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"><script>alert(1)</script></html>`,
		"evil.pdf":  "%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "evil.js": "alert(1)", "evil.css": "body { display: none }",
		"a\xff\xfe.txt": "not UTF-8", "new\nline": "x", "bidi\u202etxt.exe": "x", " lead": "x", "trail ": "x", "%2e%2e": "x", "%2F": "x",
		"back\\slash": "x", "?query#frag": "x", "ünï cödé": "x", "semi;colon=1&b": "x", "a+b": "x", "{{.}}": "x", "...": "x",
		strings.Repeat("y", 255): "x", "binary": "\x00\x01\x02", "empty": "", "picture.png": png, "latin": "caf\xe9\n",
		"to-sub": pointer("sub/deep"), "out": pointer("../../etc/passwd"), "abs": pointer("/etc/passwd"), "script-link": pointer("<script>alert(2)</script>"),
		"self": pointer("."), "sub": folder{"deep": folder{"file": "deep\n"}, "prog": program("#!/bin/sh\n"), "up": pointer("../empty")}, "none": folder{},
	}
}

// put stores what v stands for, and returns it as a root.
func put(t testing.TB, st *store.Store, v any) store.Node {
	t.Helper()
	file := func(text string, executable bool) store.Node {
		d, err := st.Blobs.Put(t.Context(), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return store.Node{Kind: store.KindFile, Digest: d, Size: uint64(len(text)), Executable: executable}
	}
	switch v := v.(type) {
	case string:
		return file(v, false)
	case program:
		return file(string(v), true)
	case pointer:
		return store.Node{Kind: store.KindSymlink, Target: string(v)}
	}
	var dir store.Directory
	for name, v := range v.(folder) {
		n := put(t, st, v)
		n.Name = name
		dir = append(dir, n)
	}
	return putDirectory(t, st, dir)
}

func putDirectory(t testing.TB, st *store.Store, dir store.Directory) store.Node {
	t.Helper()
	sortByName(dir)
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	size, err := dir.Size(store.SizeDocumented)
	if err != nil {
		t.Fatal(err)
	}
	return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
}

// putTag gives a root a name, and writes the log.
func putTag(t testing.TB, st *store.Store, name string, root store.Node) {
	t.Helper()
	tag := store.Tag{Name: name, Root: root, Time: time.Unix(1e9, 0), Source: "/home/<b>\xff", Counts: store.Counts{Files: 3}}
	if err := st.Tags.Set(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	if err := st.Tags.Record(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
}

// site is a server of a store in memory, and what it logs.
type site struct {
	t   testing.TB
	st  *store.Store
	h   *Handler
	srv *httptest.Server
	log logLines
}

// logLines is what was logged.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newSite(t testing.TB, o Options) *site {
	t.Helper()
	s := &site{t: t, st: memory.New()}
	o.Log = slog.New(slog.NewTextHandler(&s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s.h = New(s.st, o)
	s.srv = httptest.NewUnstartedServer(s.h)
	s.srv.Config = s.h.Server(nil)
	s.srv.Start()
	t.Cleanup(s.srv.Close)
	return s
}

// reply is an answer that was read to its end.
type reply struct {
	*http.Response
	body string
	err  error // of reading the body
}

// get sends a request with headers, which are names and values in turn. It follows no redirect. The path is sent as it is.
func (s *site) get(path string, headers ...string) reply {
	return s.do(http.MethodGet, path, headers...)
}

func (s *site) do(method, path string, headers ...string) reply {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.srv.URL+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := s.srv.Client().Transport.RoundTrip(req)
	if err != nil {
		return reply{&http.Response{Header: http.Header{}}, "", err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return reply{resp, string(b), err}
}

func (r reply) header(name string) string { return r.Header.Get(name) }

// contextWith returns the context of a request that came to an address.
func contextWith(r *http.Request, local net.Addr) context.Context {
	return context.WithValue(r.Context(), http.LocalAddrContextKey, local)
}

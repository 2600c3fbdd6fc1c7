package objects

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/retry"
	"castar/store/storetest"

	"golang.org/x/net/webdav"
)

// startHTTP starts an HTTP server on this machine and returns its URL.
func startHTTP(t *testing.T, h http.Handler) *url.URL {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// webDAV returns a server of an empty tree. It takes an object as a whole or not at all, as real servers do.
func webDAV() http.Handler {
	h := &webdav.Handler{FileSystem: webdav.NewMemFS(), LockSystem: webdav.NewMemLS()}
	var mu sync.RWMutex
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == "PROPFIND" {
			mu.RLock()
			defer mu.RUnlock()
			h.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || r.ContentLength != int64(len(body)) {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		mu.Lock()
		defer mu.Unlock()
		h.ServeHTTP(w, r)
	})
}

// openDAV opens a folder that does not exist yet.
func openDAV(t *testing.T, server *url.URL) Bucket {
	t.Helper()
	b, err := OpenHTTP(t.Context(), HTTPConfig{URL: server.JoinPath("a path", rand.Text())})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// httpOptions are the Options of OpenURL.
func httpOptions() Options { return Options{Concurrency: 32} }

func TestHTTP(t *testing.T) {
	t.Parallel()
	server := startHTTP(t, webDAV())
	t.Run("bucket", func(t *testing.T) { checkBucket(t, openDAV(t, server)) })
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, openDAV(t, server), httpOptions()) })
}

// The user in the URL is sent to the server, also after a redirect on the same host. No error shows the password.
func TestHTTPUser(t *testing.T) {
	t.Parallel()
	dav := webDAV()
	server := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, password, _ := r.BasicAuth(); {
		case user != "us" || password != "SECRET@":
			w.WriteHeader(http.StatusUnauthorized)
		case strings.HasPrefix(r.URL.Path, "/moved/"):
			http.Redirect(w, r, strings.TrimPrefix(r.URL.Path, "/moved"), http.StatusMovedPermanently)
		default:
			dav.ServeHTTP(w, r)
		}
	}))
	open := func(user *url.Userinfo, path string) (*store.Store, error) {
		u := server.JoinPath(path)
		u.User = user
		return OpenURL(t.Context(), "objectstore+"+u.String(), URLOptions{})
	}
	known := url.UserPassword("us", "SECRET@")
	st, err := open(known, "/x")
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := fill(t, st, [][]byte{[]byte("x")}); err != nil {
		t.Fatal(err)
	}
	moved, err := open(known, "/moved/x")
	if err != nil {
		t.Fatal(err)
	}
	defer moved.Close()
	if data, err := readAll(t, moved, store.Sum([]byte("x"))); string(data) != "x" || err != nil {
		t.Errorf("read where it was moved to: %q, %v", data, err)
	}
	if err := fill(t, moved, [][]byte{[]byte("y")}); err == nil || !strings.Contains(err.Error(), "301 Moved Permanently: redirect not followed") {
		t.Errorf("stored where it was moved to: %v", err)
	}
	for _, user := range []*url.Userinfo{nil, url.UserPassword("us", "SECRET")} {
		if _, err := open(user, "/x"); err == nil || !strings.Contains(err.Error(), "401 Unauthorized") || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("user %v: %v", user, err)
		}
	}
}

// Neither objects nor credentials go to other hosts.
func TestHTTPRedirect(t *testing.T) {
	t.Parallel()
	other := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.Error("the other host was asked") }))
	server := startHTTP(t, http.RedirectHandler(other.String(), http.StatusTemporaryRedirect))
	b := openDAV(t, server)
	defer b.Close()
	ctx := t.Context()
	for what, err := range map[string]error{
		"Get": second(b.Get(ctx, "x", 0, 1)), "Head": second(b.Head(ctx, "x")), "Put": b.Put(ctx, "x", nil),
		"Delete": b.Delete(ctx, "x"), "List": errorOf(b.List(ctx, "", "")),
	} {
		if err == nil || !strings.Contains(err.Error(), "307 Temporary Redirect: redirect not followed") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// checkStatic reads from a server that only serves files, and checks that everything else is an error.
func checkStatic(t *testing.T, server *url.URL) {
	t.Helper()
	ctx := t.Context()
	st, err := OpenURL(ctx, "objectstore+"+server.String(), URLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	dirs, _ := fixtures(t, store.SizeDocumented)
	root, err := store.EncodeDirectory(dirs[len(dirs)-1])
	if err != nil {
		t.Fatal(err)
	}
	if walked, err := walkDigests(ctx, st, store.Sum(root)); err != nil || len(walked) != 4 {
		t.Errorf("Walk: %d directories, %v", len(walked), err)
	}
	checkReads(t, st, [][]byte{nil, []byte("small"), inputs()["blob B"][:300_000]}, true)
	tag, err := st.Tags.Get(ctx, "tag")
	if err != nil || tag.Name != "tag" {
		t.Errorf("tag: %v, %v", tag, err)
	}
	absent := store.Sum([]byte("absent"))
	for what, err := range map[string]error{
		"Open": second(st.Blobs.Open(ctx, absent)), "Get": second(st.Directories.Get(ctx, absent)), "tag": second(st.Tags.Get(ctx, "absent")),
	} {
		if !store.IsNotFound(err) {
			t.Errorf("%s of something absent: %v", what, err)
		}
	}
	tag.Source = "changed"
	for what, err := range map[string]error{
		"All": errorOf(st.Tags.All(ctx)), "List": errorOf(st.Lister.List(ctx, absent, 0)), "Delete": st.Tags.Delete(ctx, "tag"),
		"Set": st.Tags.Set(ctx, tag), "Put": fill(t, st, [][]byte{[]byte("new")}),
	} {
		if !errors.Is(err, store.ErrUnsupported) || store.IsNotFound(err) || !strings.Contains(err.Error(), server.Host) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A file server can be read, whether it answers every request like a GET or refuses unknown methods, and with or without
// ranges. Listing and storing are errors, and never look like success.
func TestHTTPStatic(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := OpenURL(t.Context(), "objectstore+file:"+dir, URLOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tag := store.Tag{Name: "tag", Root: store.Node{Kind: store.KindFile, Digest: store.Sum(nil)}}
	if err := errors.Join(fill(t, st, [][]byte{nil, []byte("small"), inputs()["blob B"][:300_000]}), st.Tags.Set(t.Context(), tag), st.Close()); err != nil {
		t.Fatal(err)
	}
	files := http.FileServer(http.Dir(dir))
	for _, refusal := range []int{0, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		for _, ranges := range []bool{true, false} {
			t.Run(fmt.Sprintf("refusal %d, ranges %v", refusal, ranges), func(t *testing.T) {
				checkStatic(t, startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if refusal != 0 && r.Method != http.MethodGet && r.Method != http.MethodHead {
						w.WriteHeader(refusal)
						return
					}
					if !ranges {
						r.Header.Del("Range")
					}
					files.ServeHTTP(w, r)
				})))
			})
		}
	}
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, _ fs.DirEntry, err error) error {
		if strings.Contains(name, store.Sum([]byte("new")).String()) {
			t.Errorf("%s was stored", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// Listings of a folder are read in the forms that servers use. Others are errors.
func TestHTTPList(t *testing.T) {
	t.Parallel()
	const head, foot = `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">`, `</D:multistatus>`
	object := func(href string) string {
		return "<D:response><D:href>" + href + "</D:href><D:propstat><D:prop><D:resourcetype/></D:prop></D:propstat></D:response>"
	}
	folder := func(href string) string {
		return strings.Replace(object(href), "<D:resourcetype/>", "<D:resourcetype><D:collection/></D:resourcetype>", 1)
	}
	tests := []struct {
		answer  string
		want    []string
		wantErr string // part of the error; "" for none
	}{
		{head + foot, nil, ""},
		{head + folder("/b/") + object("/b/y") + object("/b/x") + foot, []string{"x", "y"}, ""},
		{head + folder("http://h/b") + object("http://h/b/%78%2e") + foot, []string{"x."}, ""},
		{strings.NewReplacer("D:", "", ":D=", "=").Replace(head + object("/b/x") + foot), []string{"x"}, ""},
		{head + folder("/b/") + folder("/b/c") + foot, nil, "not in the folder"}, // which it says of /b/c/ too
		{head + object("/elsewhere/x") + foot, nil, "not in the folder"},
		{head + object("/b/c/x") + foot, nil, "not in the folder"},
		{head + object("/b/..") + foot, nil, "not in the folder"},
		{head + object("/b/c%2f..%2fx") + foot, nil, "not in the folder"},
		{head + object("%zz") + foot, nil, "not a URL"},
		{head + object("/b/x"), nil, "EOF"},
		{head + object("/b/x") + "<D:response>", nil, "EOF"},
		{head, nil, "EOF"},
		{"", nil, "EOF"},
		{"<html></html>", nil, "multistatus"},
		{"text & no XML", nil, "XML"},
	}
	for _, tt := range tests {
		server := startHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Depth") != "1" {
				t.Errorf("Depth %q", r.Header.Get("Depth"))
			}
			w.WriteHeader(http.StatusMultiStatus)
			io.WriteString(w, tt.answer)
		}))
		b := newHTTP(HTTPConfig{URL: server.JoinPath("b")}, retry.Policy{Tries: 1, Timeout: remote().Timeout})
		var names []string
		var err error
		for name, e := range b.List(t.Context(), "", "") {
			if err = e; err == nil {
				names = append(names, name)
			}
		}
		if tt.wantErr == "" && err != nil || tt.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tt.wantErr)) || !slices.Equal(names, tt.want) {
			t.Errorf("%s: %q, %v, want %q, %q", tt.answer, names, err, tt.want, tt.wantErr)
		}
		b.Close()
	}
}

// A range that was not asked for is an error.
func TestHTTPRanges(t *testing.T) {
	t.Parallel()
	tests := []struct {
		header string
		want   int64 // -1: an error
	}{
		{"bytes 10-19/100", 10}, {"bytes 10-10/11", 1}, {"bytes 10-19/*", 10},
		{"", -1}, {"bytes */100", -1}, {"bytes 0-9/100", -1}, {"bytes 10-20/100", -1}, {"bytes 10-9/100", -1}, {"bytes 10-99999999999999999999/1", -1},
	}
	for _, tt := range tests {
		got, err := rangeLength(tt.header, 10, 10)
		if (err != nil) != (tt.want < 0) || err == nil && got != tt.want {
			t.Errorf("%q: %d, %v, want %d", tt.header, got, err, tt.want)
		}
	}
}

// davService starts the HTTP server of the tests with faults.
func davService(t *testing.T, wrap func(http.Handler) http.Handler) func(retry.Policy) Bucket {
	server := startHTTP(t, wrap(webDAV()))
	return func(again retry.Policy) Bucket {
		return stepwise{listing{retrying{newHTTP(HTTPConfig{URL: server.JoinPath("below")}, again), again}}}
	}
}

// A caller may cancel while it waits for a server.
func TestHTTPCancel(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u := &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/"}
	if _, err := OpenHTTP(ctx, HTTPConfig{URL: u}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

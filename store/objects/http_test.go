package objects

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/storetest"
)

// openDAV opens a folder that does not exist yet.
func openDAV(t *testing.T, server *url.URL) bucket.Bucket {
	t.Helper()
	b, err := service.OpenHTTP(t.Context(), service.HTTPConfig{URL: server.JoinPath("a path", rand.Text())})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// httpOptions are the Options of OpenURL.
func httpOptions() Options { return Options{Concurrency: 32} }

func TestHTTP(t *testing.T) {
	t.Parallel()
	server := buckettest.StartHTTP(t, buckettest.WebDAV())
	t.Run("bucket", func(t *testing.T) { buckettest.CheckPlain(t, openDAV(t, server)) })
	storetest.NotUnderRace(t) // TestS3 asks as many at once
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, openDAV(t, server), httpOptions()) })
}

// The user in the URL is sent to the server, also after a redirect on the same host. No error shows the password.
func TestHTTPUser(t *testing.T) {
	t.Parallel()
	dav := buckettest.WebDAV()
	server := buckettest.StartHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
				checkStatic(t, buckettest.StartHTTP(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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

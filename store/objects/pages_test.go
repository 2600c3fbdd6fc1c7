package objects

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"castar/store/retry"
)

// A server that answers everything with a page of HTML is not a store: it has nothing and stores nothing.
func TestPages(t *testing.T) {
	t.Parallel()
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
		w.Header().Set("ETag", `"etag"`)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte("<html><body>please log in</body></html>"))
	})
	s3, err := newS3(fakeS3(t, func(http.Handler) http.Handler { return page }))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(page)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL + "/x")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range []Bucket{s3, newHTTP(HTTPConfig{URL: u}, retry.Policy{Tries: 1, Timeout: time.Minute})} {
		if _, err := b.Head(t.Context(), "blobs/a"); !errors.Is(err, errPage) {
			t.Errorf("%s: Head: %v", b, err)
		}
		if err := b.Put(t.Context(), "blobs/a", []byte("a")); err == nil {
			t.Errorf("%s: Put says that it stored an object", b)
		}
		if err := listError(t, b); err == nil {
			t.Errorf("%s: List says that there is nothing", b)
		}
		b.Close()
	}
}

func listError(t *testing.T, b Bucket) (err error) {
	t.Helper()
	for _, err = range b.List(t.Context(), "blobs/", "") {
	}
	return err
}

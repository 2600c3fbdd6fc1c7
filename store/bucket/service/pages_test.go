package service_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/retry"
)

// A server that answers everything with a page of HTML is not a store: it has nothing and stores nothing.
func TestPages(t *testing.T) {
	t.Parallel()
	var pages atomic.Bool
	wrap := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !pages.Load() {
				h.ServeHTTP(w, r)
				return
			}
			w.Header().Set("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
			w.Header().Set("ETag", `"etag"`)
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			w.Write([]byte("<html><body>please log in</body></html>"))
		})
	}
	ctx, once := t.Context(), retry.Policy{Tries: 1}
	c := buckettest.FakeS3(t, wrap)
	c.Retry = once
	s3, err := service.OpenS3(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	dav, err := service.OpenHTTP(ctx, service.HTTPConfig{URL: buckettest.StartHTTP(t, wrap(buckettest.WebDAV())), Retry: once})
	if err != nil {
		t.Fatal(err)
	}
	pages.Store(true)
	for _, b := range []bucket.Bucket{s3, dav} {
		if _, err := b.Head(ctx, "blobs/a"); err == nil || !strings.Contains(err.Error(), "page of HTML") {
			t.Errorf("%s: Head: %v", b, err)
		}
		if err := b.Put(ctx, "blobs/a", []byte("a")); err == nil {
			t.Errorf("%s: Put says that it stored an object", b)
		}
		if _, err := b.PutIf(ctx, "blobs/a", []byte("a"), bucket.Absent); err == nil {
			t.Errorf("%s: PutIf says that it stored an object", b)
		}
		if _, _, err := b.Load(ctx, "blobs/a"); err == nil {
			t.Errorf("%s: Load says that there is an object", b)
		}
		if listError(b.List(ctx, "blobs/", "")) == nil {
			t.Errorf("%s: List says that there is nothing", b)
		}
		b.Close()
	}
}

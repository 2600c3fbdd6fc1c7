//go:build cloud

package service_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
)

// cloudServices start a server that speaks as a service does, behind wrap, and return the URL of a bucket of it.
var cloudServices = map[string]func(t *testing.T, wrap func(http.Handler) http.Handler) string{
	"google": func(t *testing.T, wrap func(http.Handler) http.Handler) string {
		server := buckettest.StartHTTP(t, wrap(&fakeGoogle{fakeObjects: newFakeObjects()}))
		t.Setenv("STORAGE_EMULATOR_HOST", server.Host)
		return "gs://b/a path?anonymous=true"
	},
	"azure": func(t *testing.T, wrap func(http.Handler) http.Handler) string {
		server := buckettest.StartHTTP(t, wrap(&fakeAzure{fakeObjects: newFakeObjects()}))
		t.Setenv("AZURE_STORAGE_ACCOUNT", "account")
		t.Setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
		return "az://b/a path?protocol=http&domain=" + server.Host
	},
}

func openCloud(t *testing.T, url string) bucket.Bucket {
	t.Helper()
	l, err := service.Locate(strings.ReplaceAll(url, " ", "%20"), nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Open(t.Context(), service.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func TestCloud(t *testing.T) {
	t.Run("memblob", func(t *testing.T) { buckettest.CheckPlain(t, service.OpenMemblob()) })
	for name, start := range cloudServices {
		t.Run(name, func(t *testing.T) {
			url := start(t, func(h http.Handler) http.Handler { return h })
			buckettest.Check(t, openCloud(t, url))
		})
	}
}

// The answer to a write is lost. The client repeats the write, which fails, because its condition does not hold any more:
// the object is the one that it has written.
func TestCloudLostAnswers(t *testing.T) {
	for name, start := range cloudServices {
		t.Run(name, func(t *testing.T) {
			var lose atomic.Bool
			b := openCloud(t, start(t, func(h http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.Method != http.MethodGet && r.Method != http.MethodHead && lose.CompareAndSwap(true, false) {
						h.ServeHTTP(httptest.NewRecorder(), r)
						panic(http.ErrAbortHandler)
					}
					h.ServeHTTP(w, r)
				})
			}))
			version := bucket.Absent
			for i := range 3 {
				lose.Store(true)
				next, err := b.PutIf(t.Context(), "head", fmt.Append(nil, "mine ", i), version)
				if err != nil || lose.Load() {
					t.Fatalf("write %d: %v, %v", i, err, lose.Load())
				}
				if _, err := b.PutIf(t.Context(), "head", []byte("another's"), version); !errors.Is(err, bucket.ErrChanged) {
					t.Errorf("write %d on the version before: %v, want ErrChanged", i, err)
				}
				version = next
			}
			if data, v, err := b.Load(t.Context(), "head"); string(data) != "mine 2" || v != version || err != nil {
				t.Errorf("%q, version %q, %v, want version %q", data, v, err, version)
			}
		})
	}
}

// A service that does not take the credentials is not asked again.
func TestCloudRefused(t *testing.T) {
	for name, start := range cloudServices {
		for status, code := range map[int]string{401: "InvalidAuthenticationInfo", 403: "AuthorizationFailure"} {
			t.Run(fmt.Sprint(name, status), func(t *testing.T) {
				var asked atomic.Int64
				b := openCloud(t, start(t, func(http.Handler) http.Handler {
					return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
						asked.Add(1)
						w.Header().Set("x-ms-error-code", code)
						w.WriteHeader(status)
					})
				}))
				asked.Store(0)
				_, _, err := b.Load(t.Context(), "head")
				if _, again := errors.AsType[*bucket.Unavailable](err); err == nil || again || asked.Load() > 1 {
					t.Errorf("%v, after %d requests", err, asked.Load())
				}
			})
		}
	}
}

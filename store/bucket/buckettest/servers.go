// Package buckettest has what tests of buckets and of stores in them share: servers, faults, and the contract of a Bucket.
package buckettest

import (
	"bytes"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"castar/store/bucket/service"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"golang.org/x/net/webdav"
)

// Name is the name of the bucket that the servers have.
const Name = "castar-test"

// FakeS3 starts an S3 server in this process. It does not look at signatures; versitygw does.
func FakeS3(t *testing.T, wrap func(http.Handler) http.Handler) service.S3Config {
	t.Helper()
	return SkewedS3(t, new(Clock), 0, wrap)
}

// Clock is a clock that is ahead of that of this machine.
type Clock struct{ ahead atomic.Int64 }

// Set sets by how much it is ahead.
func (c *Clock) Set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

// Now returns the time by the clock.
func (c *Clock) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

// Since returns how much time is gone by the clock.
func (c *Clock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// SkewedS3 is FakeS3 with a clock of its own. It refuses requests that are signed by a clock with another time, if they
// differ by more than limit, unless limit is 0.
func SkewedS3(t *testing.T, clock *Clock, limit time.Duration, wrap func(http.Handler) http.Handler) service.S3Config {
	t.Helper()
	backend := s3mem.New(s3mem.WithTimeSource(clock))
	if err := backend.CreateBucket(Name); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog()), gofakes3.WithTimeSource(clock),
		gofakes3.WithTimeSkewLimit(limit)).Server()
	var h http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", clock.Now().UTC().Format(http.TimeFormat))
		fake.ServeHTTP(w, r)
	})
	if wrap != nil {
		h = wrap(h)
	}
	return service.S3Config{
		Bucket: Name, Endpoint: StartHTTP(t, h).String(), AllowHTTP: true, KeyID: "testkey", Secret: "testsecret12",
	}
}

// Before starts a server before that of c, which it asks for all that it answers, unless wrap does something else. It
// returns where that is.
func Before(t *testing.T, c service.S3Config, wrap func(http.Handler) http.Handler) service.S3Config {
	t.Helper()
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression, transport.MaxIdleConnsPerHost = true, 64
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host // which is signed
		},
	}
	c.Endpoint = StartHTTP(t, wrap(proxy)).String()
	return c
}

// Versitygw starts a real S3 server. The program is in the folder CASTAR_TEST_BIN, in the PATH, or where go install puts
// programs. .ci/run provides it.
func Versitygw(t *testing.T) service.S3Config {
	t.Helper()
	program := findProgram("versitygw")
	if program == "" && os.Getenv("CASTAR_TEST_BIN") != "" {
		t.Fatal("no versitygw in the folder that CASTAR_TEST_BIN names")
	}
	if program == "" {
		t.Skip("NOT TESTED WITH A REAL S3 SERVER: no versitygw; get it by " +
			"go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	}
	dir := t.TempDir()
	for _, name := range []string{"data", "data/" + Name, "sidecar"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	cmd := exec.Command(program, "--quiet", "--port", addr, "posix", "--sidecar", filepath.Join(dir, "sidecar"), filepath.Join(dir, "data"))
	cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY=testkey", "ROOT_SECRET_KEY=testsecret12")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("versitygw: %s", log.String())
		}
	})
	for range 1200 { // a minute, for a busy machine
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return service.S3Config{
				Bucket: Name, Endpoint: "http://" + addr, AllowHTTP: true, KeyID: "testkey", Secret: "testsecret12",
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("versitygw does not listen: %s", log.String())
	return service.S3Config{}
}

func findProgram(name string) string {
	dirs := []string{os.Getenv("CASTAR_TEST_BIN"), os.Getenv("GOBIN"), filepath.Join(os.Getenv("GOPATH"), "bin")}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, "go", "bin"))
	}
	for _, dir := range append(dirs, filepath.SplitList(os.Getenv("PATH"))...) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(dir) {
			return path
		}
	}
	return ""
}

// StartHTTP starts an HTTP server on this machine and returns its URL.
func StartHTTP(t *testing.T, h http.Handler) *url.URL {
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

// WebDAV returns a server of an empty tree. It takes an object as a whole or not at all, as real servers do.
func WebDAV() http.Handler {
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

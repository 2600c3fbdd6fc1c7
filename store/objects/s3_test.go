package objects

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/storetest"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
)

const testBucket = "castar-test"

// fakeS3 starts an S3 server in this process. It does not look at signatures; versitygw does.
func fakeS3(t *testing.T, wrap func(http.Handler) http.Handler) S3Config {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(testBucket); err != nil {
		t.Fatal(err)
	}
	var h http.Handler = gofakes3.New(backend, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	if wrap != nil {
		h = wrap(h)
	}
	server := httptest.NewUnstartedServer(h)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return S3Config{
		Bucket: testBucket, Endpoint: server.URL, AllowHTTP: true, KeyID: "testkey", Secret: "testsecret12",
	}
}

// versitygw starts a real S3 server. The program is in the folder CASTAR_TEST_BIN, in the PATH, or where go install puts
// programs. .ci/run provides it.
func versitygw(t *testing.T) S3Config {
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
	for _, name := range []string{"data", "data/" + testBucket, "sidecar"} {
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
			return S3Config{
				Bucket: testBucket, Endpoint: "http://" + addr, AllowHTTP: true, KeyID: "testkey", Secret: "testsecret12",
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("versitygw does not listen: %s", log.String())
	return S3Config{}
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

// openS3 opens a new part of a bucket.
func openS3(t *testing.T, c S3Config) Bucket {
	t.Helper()
	c.Path = "a path/" + rand.Text()
	b, err := OpenS3(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// s3Options are the Options of OpenURL.
func s3Options() Options { return Options{Concurrency: 32, ListPage: listPage} }

func TestS3(t *testing.T) {
	t.Parallel()
	servers := []struct {
		name  string
		start func(*testing.T) S3Config
	}{
		{"gofakes3", func(t *testing.T) S3Config { return fakeS3(t, nil) }},
		{"versitygw", versitygw},
	}
	for _, s := range servers {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := s.start(t)
			t.Run("bucket", func(t *testing.T) { checkBucket(t, openS3(t, c)) })
			t.Run("absent", func(t *testing.T) { absentBucket(t, c) })
			storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, openS3(t, c), s3Options()) })
		})
	}
}

func TestBuckets(t *testing.T) {
	t.Parallel()
	t.Run("memory", func(t *testing.T) { checkBucket(t, NewMemory()) })
	t.Run("file", func(t *testing.T) {
		b := openFolder(t, t.TempDir())
		defer b.Close()
		checkBucket(t, b)
	})
}

// checkBucket checks the contract of Bucket on an empty one.
func checkBucket(t *testing.T, b Bucket) {
	ctx := t.Context()
	if _, err := b.Get(ctx, "a/x", 0, 10); !store.IsNotFound(err) {
		t.Errorf("Get of nothing: %v", err)
	}
	if _, err := b.Head(ctx, "a/x"); !store.IsNotFound(err) {
		t.Errorf("Head of nothing: %v", err)
	}
	if err := b.Delete(ctx, "a/x"); err != nil && !store.IsNotFound(err) {
		t.Errorf("Delete of nothing: %v", err)
	}
	for range 2 { // the second time after Sync
		for _, data := range []string{"old and longer", "", "0123456789"} {
			checkObject(t, b, "a/b/x", data)
		}
		if err := b.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"a-/y", "a/b-c/y", "a/b/x", "a/b/y", "a/bc/y", "a/c", "a0/y", "b/y"}
	for _, name := range names {
		if err := b.Put(ctx, name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(ctx, "a0/y"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Head(ctx, "a0/y"); !store.IsNotFound(err) {
		t.Errorf("Head of a deleted object: %v", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "a0/y" })
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b/x", "a/b/xx", "c", "a/c/"} {
		for _, after := range []string{"", "a", "a/b-c/y", "a/b/x", "a/b/xx", "c"} {
			var want []string
			for _, name := range names {
				if strings.HasPrefix(name, prefix) && name > after {
					want = append(want, name)
				}
			}
			if got := listAll(t, b, prefix, after); !slices.Equal(got, want) {
				t.Errorf("List(%q, %q) = %q, want %q", prefix, after, got, want)
			}
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.Get(cancelled, "a/b/x", 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled Get: %v", err)
	}
}

func checkObject(t *testing.T, b Bucket, name, data string) {
	t.Helper()
	ctx := t.Context()
	mine := []byte(data)
	if err := b.Put(ctx, name, mine); err != nil {
		t.Fatal(err)
	}
	clear(mine)
	if n, err := b.Head(ctx, name); n != int64(len(data)) || err != nil {
		t.Errorf("Head = %d, %v, want %d", n, err, len(data))
	}
	for offset := range int64(len(data) + 2) {
		for _, n := range []int64{1, 3, 1 << 30} {
			want := string(part([]byte(data), offset, n))
			if got, err := b.Get(ctx, name, offset, n); string(got) != want || err != nil {
				t.Errorf("Get(%d, %d) of %q = %q, %v", offset, n, data, got, err)
			}
		}
	}
}

func listAll(t *testing.T, b Bucket, prefix, after string) (names []string) {
	t.Helper()
	for name, err := range b.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	return names
}

func absentBucket(t *testing.T, c S3Config) {
	c.Bucket = "castar-absent"
	if _, err := OpenS3(t.Context(), c); !errors.Is(err, store.ErrNoStore) {
		t.Errorf("absent bucket: %v", err)
	}
	c.AllowHTTP = false
	if _, err := OpenS3(t.Context(), c); err == nil || !strings.Contains(err.Error(), "aws_allow_http") {
		t.Errorf("endpoint without TLS: %v", err)
	}
}

// A wrong secret is an error of OpenS3 or of the first call, and never looks like absence.
func TestS3Denied(t *testing.T) {
	t.Parallel()
	c := versitygw(t)
	c.Secret = "wrongsecret1"
	b, err := OpenS3(t.Context(), c)
	if err == nil {
		_, err = b.Head(t.Context(), "x")
	}
	var r minio.ErrorResponse
	if !errors.As(err, &r) || r.StatusCode != http.StatusForbidden || store.IsNotFound(err) || errors.Is(err, store.ErrNoStore) {
		t.Errorf("wrong secret: %v", err)
	}
}

// A listing may be longer than a page. Only the pages needed are asked for.
func TestS3Pages(t *testing.T) {
	t.Parallel()
	requests := 0
	c := fakeS3(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && r.URL.Query().Has("list-type") {
				requests++
			}
			h.ServeHTTP(w, r)
		})
	})
	b := openS3(t, c)
	pages := 3
	if storetest.UnderRace { // which makes each request slow
		pages = 2
	}
	var want []string
	for i := range (pages-1)*listPage + 1 {
		name := sharded(blobsPrefix, store.Sum([]byte{byte(i), byte(i >> 8)}))
		want = append(want, name)
		if err := b.Put(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(want)
	if got := listAll(t, b, blobsPrefix, ""); !slices.Equal(got, want) || requests != pages {
		t.Errorf("%d names in %d requests, want %d in %d", len(got), requests, len(want), pages)
	}
	requests = 0
	n := 0
	for range b.List(t.Context(), blobsPrefix, want[10]) {
		if n++; n == 5 {
			break
		}
	}
	if requests != 1 {
		t.Errorf("%d requests for the first names, want 1", requests)
	}
}

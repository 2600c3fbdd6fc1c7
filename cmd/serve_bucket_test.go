package cmd

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket/buckettest"
)

// A server of a store in a bucket that is told to end makes durable what its clients are told is.
func TestServeBucketEnds(t *testing.T) {
	var hold atomic.Bool
	held, release := make(chan bool), make(chan bool)
	c := buckettest.FakeS3(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, "/head") && hold.CompareAndSwap(true, false) {
				held <- true
				<-release
			}
			h.ServeHTTP(w, r)
		})
	})
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	url := "packed+s3://" + c.Bucket + "/p?allow_http=true&access_key_id=k&secret_access_key=s&endpoint=" + c.Endpoint
	sock := filepath.Join(shortDir(t), "s")
	s := startServe(t, exec.Command("castar", "-s", url, "serve", "--allow-put", "-l", sock))
	st := dial(t, s.url)
	data := []byte("told to be durable")
	d, err := st.Blobs.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	hold.Store(true)
	synced := make(chan error)
	go func() { synced <- st.Sync(t.Context()) }()
	<-held
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for err == nil { // until it takes no more clients
		var conn net.Conn
		if conn, err = net.DialTimeout("unix", sock, time.Second); err == nil {
			conn.Close()
		}
	}
	close(release)
	if err := <-synced; err != nil {
		t.Errorf("sync: %v", err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("serve: %v\n%s", err, &s.stderr)
	}
	again, err := (&env{}).open(t.Context(), url, forRead.options())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if has, err := again.Blobs.Has(t.Context(), store.Sum(data)); !has || err != nil {
		t.Errorf("%s: there is %v, %v", d, has, err)
	}
}

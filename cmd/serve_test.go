package cmd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"castar/store"
	"castar/store/packed"
	"castar/store/rpc"
	"castar/store/rpc/server"
	"castar/store/storetest"
)

// served is a running castar serve.
type served struct {
	cmd    *exec.Cmd
	url    string
	stderr lines
}

// lines is what a process has written. It may be read while the process runs.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// startServe starts the command c, which serves one address, and reads its URL.
func startServe(t *testing.T, c *exec.Cmd) *served {
	t.Helper()
	s := &served{cmd: c}
	c.Stderr = &s.stderr
	stdout, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	if s.url, err = bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("no address: %v\n%s", err, &s.stderr)
	}
	s.url = strings.TrimSpace(s.url)
	return s
}

// stop ends the server by a signal, after which its exit status must be 0.
func (s *served) stop(t *testing.T, sig os.Signal) {
	t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("after %v: %v\n%s", sig, err, &s.stderr)
	}
}

func dial(t *testing.T, url string) *store.Store {
	t.Helper()
	st, err := rpc.Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// shortDir returns a folder whose name leaves room for a socket (108 bytes, unix(7); 104 on darwin).
func shortDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "castar")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestServeSocket stores through a server and finds it in the store after, and through another server.
func TestServeSocket(t *testing.T) {
	useRace(t)
	dir := shortDir(t)
	sock, path := filepath.Join(dir, "s"), filepath.Join(dir, "store")
	s := startServe(t, exec.Command("castar", "-s", path, "serve", "--allow-put", "--listen", "unix:"+sock))
	if s.url != "grpc+unix:"+sock {
		t.Errorf("address %q", s.url)
	}
	st := dial(t, s.url)
	data := []byte("through the socket")
	d, err := st.Blobs.Put(t.Context(), data)
	if err == nil {
		err = st.Sync(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("castar", "serve", "-s", path, "-l", sock).CombinedOutput(); err == nil {
		t.Errorf("two servers at one socket: %s", out)
	}
	s.stop(t, syscall.SIGTERM)
	if _, err := os.Lstat(sock); err == nil {
		t.Error("the socket was left")
	}

	if l, err := net.Listen("unix", sock); err != nil { // as a crash leaves it
		t.Fatal(err)
	} else {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		l.Close()
	}
	s = startServe(t, exec.Command("castar", "-s", path, "serve", "--json", "--listen", sock))
	if s.url != `{"type":"address","url":"grpc+unix:`+sock+`"}` {
		t.Errorf("address %q", s.url)
	}
	st = dial(t, "grpc+unix:"+sock+"?wait-connect=1")
	wantServed(t, st, d, data)
	if _, err := st.Directories.Put(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("Put to a read-only server: %v", err)
	}
	s.stop(t, syscall.SIGINT)
	if !strings.Contains(s.stderr.String(), `"code":"PermissionDenied"`) {
		t.Errorf("log: %s", &s.stderr)
	}
}

func wantServed(t *testing.T, st *store.Store, d store.Digest, want []byte) {
	t.Helper()
	b, err := st.Blobs.Open(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestServeHost serves a port with a token, and metrics.
func TestServeHost(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServe(t, exec.Command("castar", "-s", filepath.Join(dir, "store"), "serve", "--allow-put",
		"--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--token-file", token))
	st := dial(t, s.url)
	if _, err := st.Blobs.Has(t.Context(), store.Sum(nil)); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("without a token: %v", err)
	}
	st = dial(t, s.url+"?token-path="+token)
	if has, err := st.Blobs.Has(t.Context(), store.Sum(nil)); has || err != nil {
		t.Errorf("with a token: %v, %v", has, err)
	}
	m := regexp.MustCompile(`url=(http://\S+)`).FindStringSubmatch(s.stderr.String())
	if m == nil {
		t.Fatalf("no address of the metrics: %s", &s.stderr)
	}
	resp, err := http.Get(m[1])
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	for _, want := range []string{`castar_rpc_calls_total{method="BulkService/Has",code="OK"} 1`, "\ncastar_rpc_put_serving 1\n"} {
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("metrics lack %s: %v\n%s", want, err, text)
		}
	}
	s.stop(t, syscall.SIGTERM)
}

// Without IPv6 the default is an address of IPv4.
func TestListenDefault(t *testing.T) {
	for errno, want := range map[error]string{
		nil: defaultListen, syscall.EADDRNOTAVAIL: defaultListen4, syscall.EAFNOSUPPORT: defaultListen4, syscall.EADDRINUSE: defaultListen,
	} {
		var asked []string
		_, address, err := listenDefault(func(address string) (net.Listener, error) {
			if asked = append(asked, address); len(asked) == 1 && errno != nil {
				return nil, &net.OpError{Op: "listen", Err: os.NewSyscallError("bind", errno)}
			}
			return nil, nil
		})
		if address != want || asked[len(asked)-1] != want || (err != nil) != (errno == syscall.EADDRINUSE) {
			t.Errorf("%v: %s, %v, asked for %v", errno, address, err, asked)
		}
	}
}

// TestServePassed serves a socket that the parent opened, and tells the parent how it is, as a service of systemd does.
func TestServePassed(t *testing.T) {
	dir := shortDir(t)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.UnixListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Close()
	wantTold := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		told.SetReadDeadline(time.Now().Add(time.Minute))
		if n, err := told.Read(b); err != nil || string(b[:n]) != want {
			t.Errorf("systemd was told %q, %v, want %q", b[:n], err, want)
		}
	}
	c := exec.Command("sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=1 NOTIFY_SOCKET=notify exec castar serve --allow-put -s store")
	c.Dir, c.ExtraFiles = dir, []*os.File{f}
	s := startServe(t, c)
	wantTold("READY=1")
	st := dial(t, s.url)
	if has, err := st.Blobs.Has(t.Context(), store.Sum(nil)); has || err != nil {
		t.Errorf("Has: %v, %v", has, err)
	}
	s.stop(t, syscall.SIGTERM)
	wantTold("STOPPING=1")
}

// TestServePacked runs the suite of stores through a server over a packed store.
func TestServePacked(t *testing.T) {
	if testing.Short() || storetest.UnderRace {
		t.Skip("NOT TESTED HERE: the same runs over a store in memory; .ci/run runs this without the race detector")
	}
	dir := shortDir(t)
	n := 0
	storetest.Run(t, func(t *testing.T) *store.Store {
		n++
		backend, err := packed.Open(t.Context(), filepath.Join(t.TempDir(), "store"), packed.Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		s, err := server.New(backend, server.Options{AllowPut: true, AllowDelete: true})
		if err != nil {
			t.Fatal(err)
		}
		sock := filepath.Join(dir, strconv.Itoa(n))
		l, err := net.Listen("unix", sock)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		t.Cleanup(func() {
			if err := errors.Join(s.Shutdown(context.Background()), <-done, backend.Close()); err != nil {
				t.Error(err)
			}
		})
		st, err := rpc.Dial(t.Context(), "grpc+unix:"+sock, nil)
		if err != nil {
			t.Fatal(err)
		}
		return st
	})
}

package cmd

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"castar/store/storetest"
)

// siege is a server that is killed while clients use it.
type siege struct {
	t   *testing.T
	dir string
	url string

	mu           sync.Mutex
	acknowledged []string // roots of ingests
}

func (g *siege) castar(args ...string) *exec.Cmd {
	c := exec.Command("castar", args...)
	c.Env, c.Dir = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(g.dir, "cache")), g.dir
	return c
}

func (g *siege) serve() *served {
	return startServe(g.t, g.castar("serve", "-q", "-s", "store", "--allow-put", "--allow-delete", "-l", "./s"))
}

// ingest stores a tree of a client. It may fail only because of the server.
func (g *siege) ingest(client, n int) {
	c := g.castar("ingest", "-q", "-s", g.url, "--tag", fmt.Sprintf("%d-%d", client, n), clientTree(g.t, g.dir, client, n))
	var stderr bytes.Buffer
	c.Stderr = &stderr
	out, err := c.Output()
	if err == nil {
		g.mu.Lock()
		g.acknowledged = append(g.acknowledged, strings.TrimSpace(string(out)))
		g.mu.Unlock()
	} else if c.ProcessState.ExitCode() != statusFailed || !strings.Contains(stderr.String(), g.url+": ") {
		g.t.Errorf("ingest: %v: %s", err, &stderr)
	}
}

// collect collects garbage, at the server or in the folder of the store. It may fail because of the server, or because of
// others that use the store.
func (g *siege) collect(st string) {
	c := g.castar("gc", "-q", "-s", st)
	out, err := c.CombinedOutput()
	code := c.ProcessState.ExitCode()
	if err != nil && code != statusLocked && (code != statusFailed || !strings.Contains(string(out), g.url+": ")) {
		g.t.Errorf("gc of %s: %v: %s", st, err, out)
	}
}

// until calls f with 0, 1 and so on until stop is closed.
func until(stop chan struct{}, f func(n int)) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		default:
			f(n)
		}
	}
}

// TestKillServer kills a server at random moments while ten clients store through it and one has it collect garbage. Two
// processes collect garbage whenever it is dead. Every ingest that was acknowledged is whole in the end, and so is the store.
func TestKillServer(t *testing.T) {
	t.Parallel() // beside tests that wait
	moments, clients := 50, 10
	if storetest.UnderRace || testing.Short() {
		moments, clients = 2, 3
	}
	g := &siege{t: t, dir: shortDir(t)}
	s := g.serve()
	g.url = s.url
	if g.ingest(clients, 0); len(g.acknowledged) == 0 { // gc refuses to remove everything
		t.Fatal("the first ingest failed")
	}
	stop := make(chan struct{})
	var working sync.WaitGroup
	for client := range clients {
		working.Go(func() { until(stop, func(n int) { g.ingest(client, n) }) })
	}
	working.Go(func() { until(stop, func(int) { g.collect(g.url) }) })
	for range moments {
		time.Sleep(rand.N(250 * time.Millisecond))
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		var collecting sync.WaitGroup
		for range 2 {
			collecting.Go(func() { g.collect("store") })
		}
		collecting.Wait()
		s = g.serve()
	}
	close(stop)
	working.Wait()
	s.stop(t, syscall.SIGTERM)
	t.Logf("%d ingests were acknowledged", len(g.acknowledged))
	for _, roots := range [][]string{nil, g.acknowledged} {
		if out, err := g.castar(append([]string{"verify", "-q", "-s", "store"}, roots...)...).CombinedOutput(); err != nil {
			t.Errorf("verify %v: %v: %s", roots, err, out)
		}
	}
}

// clientTree makes a tree of a client. Some of it is in all trees, some in those of the client, and some is new.
func clientTree(t *testing.T, dir string, client, n int) string {
	root := filepath.Join(dir, fmt.Sprintf("tree-%d", client))
	for i := range 30 {
		path := filepath.Join(root, fmt.Sprint(i%3), fmt.Sprint(i))
		of := [3]byte{byte(i)}
		if i%3 > 0 {
			of[1] = byte(client + 1)
		}
		if i%3 > 1 {
			of[2] = byte(n + 1)
		}
		data := make([]byte, 4000*i)
		_, _ = rand.NewChaCha8([32]byte{of[0], of[1], of[2]}).Read(data)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Error(err)
		}
	}
	return root
}

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

// TestKillServer kills a server at random moments while ten clients store through it, and two processes collect garbage
// whenever it is dead. Every ingest that was acknowledged is whole in the end, and so is the store.
func TestKillServer(t *testing.T) {
	moments, clients := 50, 10
	if storetest.UnderRace || testing.Short() {
		moments, clients = 2, 3
	}
	dir := shortDir(t)
	env := append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(dir, "cache"))
	castar := func(args ...string) *exec.Cmd {
		c := exec.Command("castar", args...)
		c.Env, c.Dir = env, dir
		return c
	}
	serve := func() *served {
		return startServe(t, castar("serve", "-q", "-s", "store", "--allow-put", "-l", "./s"))
	}
	s := serve()

	if out, err := castar("ingest", "-q", "-s", s.url, "--tag", "first", clientTree(t, dir, clients, 0)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out) // gc refuses to remove everything
	}

	stop := make(chan struct{})
	var mu sync.Mutex
	var acknowledged []string
	var working sync.WaitGroup
	for client := range clients {
		working.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c := castar("ingest", "-q", "-s", s.url, "--tag", fmt.Sprintf("%d-%d", client, n), clientTree(t, dir, client, n))
				var stderr bytes.Buffer
				c.Stderr = &stderr
				out, err := c.Output()
				if err == nil {
					mu.Lock()
					acknowledged = append(acknowledged, strings.TrimSpace(string(out)))
					mu.Unlock()
				} else if c.ProcessState.ExitCode() != 1 || !strings.Contains(stderr.String(), s.url+": ") {
					t.Errorf("ingest: %v: %s", err, &stderr)
				}
			}
		})
	}
	for range moments {
		time.Sleep(rand.N(400 * time.Millisecond))
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		var collecting sync.WaitGroup
		for range 2 {
			collecting.Go(func() {
				c := castar("gc", "-q", "-s", "store")
				if out, err := c.CombinedOutput(); err != nil && c.ProcessState.ExitCode() != statusLocked {
					t.Errorf("gc: %v: %s", err, out)
				}
			})
		}
		collecting.Wait()
		s.cmd = serve().cmd
	}
	close(stop)
	working.Wait()
	s.stop(t, syscall.SIGTERM)
	if len(acknowledged) == 0 {
		t.Fatal("no ingest was acknowledged")
	}
	t.Logf("%d ingests were acknowledged", len(acknowledged))
	for _, args := range [][]string{{"verify", "-q", "-s", "store"}, append([]string{"verify", "-q", "-s", "store"}, acknowledged...)} {
		if out, err := castar(args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %v: %s", args[:2], err, out)
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

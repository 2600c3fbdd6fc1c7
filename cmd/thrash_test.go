package cmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"castar/store/storetest"
)

// thrash is programs that use one store at once, and are killed at any moment.
type thrash struct {
	t     *testing.T
	dir   string
	ends  time.Time
	took  map[string]time.Duration // by command, the last time
	runs  map[string]int           // by command and how it ended
	mu    sync.Mutex
	roots map[string]string // acknowledged: the root by the tag
	using sync.RWMutex      // held for writing by who deletes tags
}

// thrashTime is how long TestThrash goes on at least, unless CASTAR_THRASH says another duration.
func thrashTime(t *testing.T) time.Duration {
	text, ok := os.LookupEnv("CASTAR_THRASH")
	if !ok {
		return time.Duration(storetest.Sample(2000, 200)) * time.Millisecond
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("CASTAR_THRASH: %v", err)
	}
	return d
}

// run runs castar, and sometimes kills it. It returns what was on stdout, and whether that was the end of it.
func (th *thrash) run(mayKill bool, args ...string) (string, bool) {
	th.t.Helper()
	ctx := context.Background()
	th.mu.Lock()
	if took := th.took[args[0]]; mayKill && took > 0 && rand.N(3) == 0 {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, rand.N(took*5/4))
		defer cancel()
	}
	th.mu.Unlock()
	c := exec.CommandContext(ctx, "castar", args...)
	c.Env = append(os.Environ(), "CASTAR_STORE="+filepath.Join(th.dir, "store"), "XDG_CACHE_HOME="+filepath.Join(th.dir, "cache"))
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	began := time.Now()
	err := c.Run()
	exit, ok := errors.AsType[*exec.ExitError](err)
	ended := "done"
	switch {
	case err == nil:
	case ctx.Err() != nil:
		ended = "killed"
	case ok && exit.ExitCode() == statusLocked:
		ended = "locked"
	default:
		ended = "failed"
		th.t.Errorf("castar %s: %v: %s", args, err, &stderr)
	}
	th.mu.Lock()
	defer th.mu.Unlock()
	th.runs[args[0]+" "+ended]++
	if err == nil {
		th.took[args[0]] = time.Since(began)
	}
	return strings.TrimSpace(stdout.String()), err == nil
}

// going reports whether to go on: for a time, and until enough was done.
func (th *thrash) going() bool {
	th.mu.Lock()
	defer th.mu.Unlock()
	enough := storetest.Sample(5, 2)
	few := th.runs["gc done"] < 2 || th.runs["ingest done"] < enough || th.runs["export done"] < enough
	return !th.t.Failed() && (few || time.Now().Before(th.ends))
}

// ingests stores a tree that keeps changing, each time under another tag, and drops most of them again.
func (th *thrash) ingests(worker int) {
	tree := filepath.Join(th.dir, fmt.Sprint("tree", worker))
	var mine []string
	for n := 0; th.going(); n++ {
		th.change(tree, n)
		tag := fmt.Sprintf("t%d-%d", worker, n)
		root, ok := th.run(true, "ingest", "--tag", tag, tree)
		if ok {
			th.mu.Lock()
			th.roots[tag] = root
			th.mu.Unlock()
			mine = append(mine, tag)
		}
		if len(mine) > 3 {
			th.drop(mine[0])
			mine = mine[1:]
		}
	}
}

// change writes some files of a tree anew: small ones, and one of several chunks.
func (th *thrash) change(tree string, n int) {
	for i := range 40 {
		if n > 0 && rand.N(4) > 0 {
			continue
		}
		data := make([]byte, rand.N(5000))
		if i == 0 {
			data = make([]byte, 1<<20)
		}
		_, _ = rand.NewChaCha8([32]byte{byte(i), byte(rand.N(30))}).Read(data)
		dir := filepath.Join(tree, fmt.Sprint(i%5))
		if err := errors.Join(os.MkdirAll(dir, 0o777), os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), data, 0o666)); err != nil {
			th.t.Error(err)
		}
	}
}

// drop deletes a tag. It is no longer promised, whatever comes of it.
func (th *thrash) drop(tag string) {
	th.using.Lock()
	defer th.using.Unlock()
	th.mu.Lock()
	delete(th.roots, tag)
	th.mu.Unlock()
	th.run(false, "tag", "-d", tag)
}

// exports exports what was acknowledged.
func (th *thrash) exports() {
	for n := 0; th.going(); n++ {
		th.mu.Lock()
		tags := slices.Collect(maps.Keys(th.roots))
		th.mu.Unlock()
		if len(tags) > 0 {
			th.export(true, tags[rand.N(len(tags))], fmt.Sprint("out", n))
		}
	}
}

// export exports a tag, unless it has been dropped, and checks what it got.
func (th *thrash) export(mayKill bool, tag, dest string) {
	th.using.RLock()
	defer th.using.RUnlock()
	th.mu.Lock()
	root, ok := th.roots[tag]
	th.mu.Unlock()
	if !ok {
		return
	}
	dest = filepath.Join(th.dir, dest)
	if _, ok := th.run(mayKill, "export", tag, dest); !ok {
		return
	}
	if got, ok := th.run(false, "ingest", "-n", dest); ok && got != root {
		th.t.Errorf("tag %s: exported %s, want %s", tag, got, root)
	}
	if err := os.RemoveAll(dest); err != nil {
		th.t.Error(err)
	}
}

// repeat runs a command again and again.
func (th *thrash) repeat(args ...string) {
	for th.going() {
		th.run(true, args...)
	}
}

// TestThrash has ingests, exports, gc and other commands at one store at once, kills some of them, and checks that every
// tag that was acknowledged can be exported all the while, and in the end.
func TestThrash(t *testing.T) {
	useRace(t)
	if testing.Short() {
		t.Skip("NOT TESTED: commands at once, in short tests")
	}
	th := &thrash{t: t, dir: t.TempDir(), took: map[string]time.Duration{}, runs: map[string]int{}, roots: map[string]string{}}
	th.ends = time.Now().Add(thrashTime(t))
	var working sync.WaitGroup
	for worker := range 2 {
		working.Go(func() { th.ingests(worker) })
	}
	working.Go(th.exports)
	working.Go(func() {
		th.run(false, "ingest", "--tag", "always", t.TempDir()) // so that there is a store, and a tag
		th.repeat("gc", "--wait", "3s")
	})
	if status, _, _ := castar("help", "verify"); status == 0 {
		working.Go(func() {
			th.run(false, "ingest", "--tag", "always", t.TempDir())
			th.repeat("verify")
		})
	}
	working.Wait()
	th.run(false, "gc")
	for tag := range th.roots {
		th.export(false, tag, "last")
	}
	th.run(false, "repair")
	t.Log(th.runs)
}

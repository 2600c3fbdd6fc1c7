package cmd

import (
	"bytes"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/storetest"
)

// moment says when a process is killed: at which of its requests to the bucket, counted from 0, and whether that is before
// the server has the request, in the middle of what it sends, before it has the answer, or soon after.
type moment struct{ request, stage int }

const (
	stages = 4
	never  = math.MaxInt // a request that does not come
)

// gate stands before the server of a bucket, and kills a process at a moment.
type gate struct {
	server http.Handler

	mu     sync.Mutex
	target *os.Process // nil: nobody is killed
	at     moment
	came   int // requests
}

// next counts a request. It returns the process that is to be killed at it, or nil.
func (g *gate) next() (target *os.Process, stage int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.came++
	if g.target != nil && g.came > g.at.request {
		target, g.target = g.target, nil
	}
	return target, g.at.stage
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	target, stage := g.next()
	if target == nil {
		g.server.ServeHTTP(w, r)
		return
	}
	switch stage {
	case 0:
		_ = target.Kill()
	case 1:
		half := io.LimitReader(r.Body, r.ContentLength/2)
		r.Body = io.NopCloser(io.MultiReader(half, killing{target}))
		g.server.ServeHTTP(httptest.NewRecorder(), r)
		_ = target.Kill()
	case 2:
		g.server.ServeHTTP(httptest.NewRecorder(), r)
		_ = target.Kill()
	default:
		g.server.ServeHTTP(w, r)
		time.AfterFunc(rand.N(4*time.Millisecond), func() { _ = target.Kill() })
	}
}

// killing is a reader that kills a process, after which nothing comes any more.
type killing struct{ *os.Process }

func (k killing) Read([]byte) (int, error) { _ = k.Kill(); return 0, io.ErrUnexpectedEOF }

// besieged is a store in a bucket whose users are killed.
type besieged struct {
	t    *testing.T
	dir  string
	url  string // behind the gate
	near string // before it
	gate gate

	roots   []string // acknowledged and not forgotten, the newest last
	trees   int      // that were ingested
	killed  int
	ingests int // acknowledged
}

// castar runs castar behind the gate, and kills it at a moment, if it is not done by then. It returns what was on stdout,
// and whether castar was killed.
func (b *besieged) castar(at moment, args ...string) (stdout string, dead bool) {
	b.t.Helper()
	c := exec.Command("castar", append(args, "-q", "-s", b.url)...)
	c.Env = append(os.Environ(), "XDG_CACHE_HOME="+filepath.Join(b.dir, "cache"))
	var out, stderr bytes.Buffer
	c.Stdout, c.Stderr = &out, &stderr
	b.gate.mu.Lock() // requests wait until it is known who makes them
	err := c.Start()
	b.gate.target, b.gate.at, b.gate.came = c.Process, at, 0
	b.gate.mu.Unlock()
	if err == nil {
		err = c.Wait()
	}
	b.gate.mu.Lock()
	b.gate.target = nil
	b.gate.mu.Unlock()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if dead = exit != nil && exit.ExitCode() < 0; dead {
		b.killed++
	} else if err != nil {
		b.t.Errorf("castar %s: %v: %s", args, err, &stderr)
	}
	return out.String(), dead
}

// free runs castar in this process, before the gate, and with no cache of the bucket. It must succeed.
func (b *besieged) free(args ...string) (stdout string) {
	b.t.Helper()
	status, stdout, stderr := run(b.t, args...)
	if status != statusDone {
		b.t.Errorf("castar %s: status %d: %s%s", args, status, stdout, stderr)
	}
	b.remove(os.Getenv("XDG_CACHE_HOME"))
	return strings.TrimSpace(stdout)
}

// tree makes another tree, of which parts were stored and perhaps collected before.
func (b *besieged) tree() string {
	b.trees++
	return clientTree(b.t, b.dir, b.trees%2, b.trees/2%3)
}

// acknowledged notes what an ingest has printed.
func (b *besieged) acknowledged(tree, stdout string) {
	root := strings.TrimSpace(stdout)
	b.roots = append(slices.DeleteFunc(b.roots, func(r string) bool { return r == root }), root)
	b.ingests++
	b.compare(tree, root)
}

// ingest stores another tree.
func (b *besieged) ingest(at moment) (dead bool) {
	tree := b.tree()
	out, dead := b.castar(at, "ingest", "--tag", "last", tree)
	if out != "" {
		b.acknowledged(tree, out)
	}
	return dead
}

// store stores another tree, and nobody is killed.
func (b *besieged) store() {
	tree := b.tree()
	b.acknowledged(tree, b.free("ingest", "-q", "-s", b.near, "--tag", "last", tree))
}

// collect stores another tree, forgets the oldest root, and collects garbage.
func (b *besieged) collect(at moment) (dead bool) {
	if b.store(); len(b.roots) > 2 {
		b.free("forget", "-q", "-s", b.near, b.roots[0])
		b.roots = b.roots[1:]
	}
	_, dead = b.castar(at, "gc", "--grace", "0s")
	return dead
}

// export writes the newest tree: as a whole, or not at all.
func (b *besieged) export(at moment) (dead bool) {
	dest := filepath.Join(b.dir, "dest")
	_, dead = b.castar(at, "export", b.roots[len(b.roots)-1], dest)
	if _, err := os.Lstat(dest); err == nil {
		b.compare(dest, b.roots[len(b.roots)-1])
	} else if !dead {
		b.t.Error(err)
	}
	b.remove(dest)
	return dead
}

// compare asserts what the root of a tree is.
func (b *besieged) compare(tree, root string) {
	b.t.Helper()
	if got := b.free("ingest", "-n", "-q", tree); got != root {
		b.t.Errorf("%s has the root %s, want %s", tree, got, root)
	}
}

// verify asserts that all is whole in the store.
func (b *besieged) verify() { b.t.Helper(); b.free("verify", "-q", "-s", b.near) }

// exports asserts that a root can be exported.
func (b *besieged) exports(root string) {
	b.t.Helper()
	dest := filepath.Join(b.dir, "checked")
	b.free("export", "-q", "-s", b.near, root, dest)
	b.compare(dest, root)
	b.remove(dest)
}

func (b *besieged) remove(tree string) {
	if err := os.RemoveAll(tree); err != nil {
		b.t.Error(err)
	}
}

// besiege starts a server with a gate before it.
func besiege(t *testing.T) *besieged {
	c := buckettest.Versitygw(t)
	b := &besieged{t: t, dir: t.TempDir()}
	at := func(c service.S3Config) string { return "packed+s3://" + c.Bucket + "/store?endpoint=" + c.Endpoint }
	b.near = at(c)
	b.url = at(buckettest.Before(t, c, func(h http.Handler) http.Handler { b.gate.server = h; return &b.gate }))
	for name, value := range map[string]string{
		"XDG_CACHE_HOME": filepath.Join(b.dir, "no-cache"), "AWS_ACCESS_KEY_ID": c.KeyID, "AWS_SECRET_ACCESS_KEY": c.Secret,
		"AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
	} {
		t.Setenv(name, value)
	}
	return b
}

// TestKillBucket kills ingests, gcs and exports of a store in a bucket of a real S3 server, in turn: each at its first
// request in every stage, then at its second, and so on. Whatever the moment, the store is whole, and all that was
// acknowledged is in it.
func TestKillBucket(t *testing.T) {
	moments := storetest.Sample(200, 6)
	if testing.Short() {
		moments = 6
	}
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // what the server syncs is the server's
	}
	b := besiege(t)
	b.store()
	commands := []func(moment) bool{b.ingest, b.collect, b.export}
	next := make([]moment, len(commands))
	for i := range moments {
		at := &next[i%len(commands)]
		dead := commands[i%len(commands)](*at)
		if b.verify(); i%10 == 9 {
			b.exports(b.roots[i%len(b.roots)])
		}
		if t.Failed() {
			t.Fatalf("moment %d: %+v", i, *at)
		}
		if at.stage++; !dead {
			*at = moment{} // the command makes no more requests than that
		} else if at.stage == stages {
			*at = moment{request: at.request + 1}
		}
	}
	for range 3 {
		b.collect(moment{request: never})
	}
	b.verify()
	for _, root := range b.roots {
		b.exports(root)
	}
	t.Logf("%d of %d commands were killed, and %d ingests acknowledged", b.killed, moments, b.ingests)
}

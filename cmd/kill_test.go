package cmd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"castar/store/storetest"
)

// kills is how often each test here kills castar: a few times, or as CASTAR_KILLS says.
func kills(t *testing.T) int {
	text, ok := os.LookupEnv("CASTAR_KILLS")
	if !ok {
		return storetest.Sample(6, 2)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("CASTAR_KILLS: %v", err)
	}
	return n
}

// killed runs castar and kills it after a time, if it is not done by then. It returns what was on stdout, and how long
// it ran.
func killed(t *testing.T, after time.Duration, env []string, args ...string) (string, time.Duration) {
	t.Helper()
	c := exec.Command("castar", args...)
	c.Env = append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	began := time.Now()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = c.Process.Kill() })
	err := c.Wait()
	timer.Stop()
	if stderr.Len() > 0 {
		t.Errorf("castar %s: %s", args, &stderr)
	}
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() > 0 {
		t.Errorf("castar %s: exit status %d", args, exit.ExitCode())
	}
	return stdout.String(), time.Since(began)
}

// writeTree makes a tree of files with contents of their own. Its second half is new in each generation.
func writeTree(t *testing.T, dir string, generation byte) {
	t.Helper()
	const files, size = 200, 30_000
	for i := range files {
		seed := [32]byte{byte(i), byte(i >> 8)}
		if i >= files/2 {
			seed[2] = generation
		}
		data := make([]byte, size*(i%7)/3)
		_, _ = rand.NewChaCha8(seed).Read(data[:len(data)/2]) // half of it compresses
		path := filepath.Join(dir, strconv.Itoa(i%10), fmt.Sprintf("file %d", i))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
}

// sameTree reports what differs between two trees of directories and files.
func sameTree(a, b string) error {
	count := func(dir string) (n int) {
		_ = filepath.WalkDir(dir, func(string, fs.DirEntry, error) error { n++; return nil })
		return n
	}
	if na, nb := count(a), count(b); na != nb {
		return fmt.Errorf("%s has %d entries, %s has %d", a, na, b, nb)
	}
	return filepath.WalkDir(a, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		other := filepath.Join(b, strings.TrimPrefix(path, a))
		want, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(other)
		if err == nil && !bytes.Equal(want, got) {
			err = fmt.Errorf("%s and %s differ", path, other)
		}
		return err
	})
}

const noKill = time.Hour

// TestKillIngest kills ingests at random moments. Whatever the moment, all that was acknowledged can be exported after,
// and the same ingest works.
func TestKillIngest(t *testing.T) {
	useRace(t)
	dir := t.TempDir()
	env := []string{"XDG_CACHE_HOME=" + filepath.Join(dir, "cache"), "CASTAR_STORE=" + filepath.Join(dir, "store")}
	export := func(root, tree string) {
		t.Helper()
		dest := filepath.Join(dir, "dest")
		killed(t, noKill, env, "export", root, dest)
		if err := sameTree(tree, dest); err != nil {
			t.Fatalf("export %s: %v", root, err)
		}
		if err := os.RemoveAll(dest); err != nil {
			t.Fatal(err)
		}
	}
	tree := filepath.Join(dir, "tree")
	writeTree(t, tree, 0)
	_, whole := killed(t, noKill, env, "ingest", "-q", "--tag", "first", tree)
	first := filepath.Join(dir, "first")
	if err := os.CopyFS(first, os.DirFS(tree)); err != nil {
		t.Fatal(err)
	}
	for i := range kills(t) {
		writeTree(t, tree, byte(i+1))
		out, _ := killed(t, rand.N(whole*5/4), env, "ingest", "-q", "--tag", "last", tree)
		if out != "" {
			export(strings.TrimSpace(out), tree)
			export("last", tree)
		}
		export("first", first)
	}
	out, _ := killed(t, noKill, env, "ingest", "-q", tree)
	export(strings.TrimSpace(out), tree)
	if left, err := os.ReadDir(filepath.Join(dir, "store", "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestKillExport kills exports at random moments. Each time the tree is there, whole, or not at all.
func TestKillExport(t *testing.T) {
	dir := t.TempDir()
	env := []string{"XDG_CACHE_HOME=" + filepath.Join(dir, "cache"), "CASTAR_STORE=" + filepath.Join(dir, "store")}
	tree, dest := filepath.Join(dir, "tree"), filepath.Join(dir, "dest")
	writeTree(t, tree, 0)
	killed(t, noKill, env, "ingest", "-q", "--tag", "t", tree)
	_, whole := killed(t, noKill, env, "export", "t", dest)
	for i := 0; ; i++ {
		if _, err := os.Lstat(dest); err == nil {
			if err := sameTree(tree, dest); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(dest); err != nil {
				t.Fatal(err)
			}
		}
		if i == kills(t) {
			break
		}
		killed(t, rand.N(whole*5/4), env, "export", "t", dest)
	}
	killed(t, noKill, env, "export", "t", dest) // what the killed ones left is not in the way
	if err := sameTree(tree, dest); err != nil {
		t.Fatal(err)
	}
}

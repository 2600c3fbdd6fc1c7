package cmd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"castar/ingest/sides"
	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
	"castar/store/tree/patch"
)

// run runs castar, and returns its exit status and what it printed.
func run(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	status = Main(append([]string{"castar"}, args...), nil, &out, &err)
	return status, out.String(), err.String()
}

func TestPercent(t *testing.T) {
	tests := map[float64]string{
		0: "0 %", 1: "100 %", 0.5: "50 %", 0.1234: "12.34 %", 0.00001: "< 0.01 %", 0.999999: "> 99.99 %", 0.002: "0.20 %",
	}
	for share, want := range tests {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %s, want %s", share, got, want)
		}
	}
}

func TestDiffColors(t *testing.T) {
	var out bytes.Buffer
	e := &env{stdout: &output{w: &out}, stderr: &console{w: io.Discard}}
	p := e.newDiffPrinter(&diffFlags{}, [2]*sides.Side{{}, {}})
	if p.color {
		t.Error("colors, and no terminal")
	}
	p.color, p.terminal = true, true
	p.line(&tree.Change{Op: tree.Added, Path: "a"})
	p.line(&tree.Change{Op: tree.Removed, Path: "b", Old: store.Node{Kind: store.KindDirectory}})
	p.line(&tree.Change{Op: tree.Modified, Path: "c"})
	p.patchLine(patch.Head, []byte("+++ b"))
	p.patchLine(patch.Hunk, []byte("@@ -1 +1 @@"))
	p.patchLine(patch.Removed, []byte("--- a line"))
	p.patchLine(patch.Added, []byte("+new\x1b]0;title\a\r"))
	p.patchLine(patch.Text, []byte(" same"))
	p.out.Flush()
	want := "\x1b[32m+ a\x1b[m\n\x1b[31m- b/\x1b[m\nM c\n" +
		"\x1b[1m+++ b\x1b[m\n\x1b[36m@@ -1 +1 @@\x1b[m\n\x1b[31m--- a line\x1b[m\n\x1b[32m+new^[]0;title^G^M\x1b[m\n same\n"
	if out.String() != want {
		t.Errorf("got  %q\nwant %q", &out, want)
	}
}

func TestHistogram(t *testing.T) {
	var out strings.Builder
	printHistogram(&out, &[tree.SizeClasses]uint64{1, 80, 0, 41})
	want := "empty          1   █\n" +
		"below 1 KiB  80  " + strings.Repeat("█", 40) + "\n" +
		"below 4 KiB  0   \n" +
		"below 16 KiB 41  " + strings.Repeat("█", 21) + "\n"
	if strings.Join(strings.Fields(out.String()), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("got\n%s", &out)
	}
	out.Reset()
	printHistogram(&out, &[tree.SizeClasses]uint64{tree.SizeClasses - 1: 1})
	if !strings.Contains(out.String(), "more") || strings.Count(out.String(), "\n") != tree.SizeClasses {
		t.Errorf("got\n%s", &out)
	}
}

// TestMissingDirectory lists a tree with a missing directory, which is named; the rest is listed.
func TestMissingDirectory(t *testing.T) {
	st := memory.New()
	gone := store.Node{Name: "gone", Kind: store.KindDirectory, Digest: store.Sum([]byte("gone")), Size: 1}
	dir := store.Directory{gone, {Name: "here", Kind: store.KindSymlink, Target: "x"}}
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	root := store.Node{Kind: store.KindDirectory, Digest: d, Size: 3}
	if err := st.Tags.Set(t.Context(), store.Tag{Name: "t", Root: root}); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		do     func(e *env) error
		stdout string
	}{
		{"ls", func(e *env) error { return e.ls(t.Context(), &lsFlags{recursive: true}, st, tree.Ref{Node: root}, "t") }, "gone/\nhere\n"},
		{"find", func(e *env) error { return e.find(t.Context(), st, root, newMatcher([]string{"h*"}, ""), false) }, "here\n"},
	}
	for _, tt := range tests {
		var out, stderr bytes.Buffer
		e := &env{stdout: &output{w: &out}, stderr: &console{w: &stderr}}
		if err := tt.do(e); !errors.Is(err, errPartial) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if out.String() != tt.stdout || !strings.Contains(stderr.String(), "warning: gone: directory "+gone.Digest.String()+": not found") {
			t.Errorf("%s: stdout %q, stderr %q", tt.name, &out, &stderr)
		}
		out.Reset()
		lost := tree.Ref{Node: store.Node{Kind: store.KindDirectory, Digest: gone.Digest}}
		if err := e.ls(t.Context(), &lsFlags{}, st, lost, "t"); !store.IsNotFound(err) || out.Len() > 0 {
			t.Errorf("%v, %q", err, &out)
		}
		names, damaged, err := e.tagsTo(t.Context(), st, store.Node{Kind: store.KindFile})
		if !damaged || len(names) > 0 || err != nil {
			t.Errorf("tags %v, %v, %v", names, damaged, err)
		}
	}
}

// TestLookStdoutFull asserts that what could not be printed is no success.
// failing is the directories of a server that dies after it has sent some.
type failing struct {
	store.Directories
	left atomic.Int32
}

var errServer = &store.ServerError{Server: "far", Err: errors.New("gone")}

func (f *failing) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	if f.left.Add(-1) < 0 {
		return nil, errServer
	}
	return f.Directories.Get(ctx, d)
}

// failingTags is the tags of a server that dies.
type failingTags struct{ store.Tags }

func (t failingTags) All(context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) { yield(store.Tag{}, errServer) }
}

// TestServerFails asserts that no command takes a server that dies for damage: nothing is known of what is there.
func TestServerFails(t *testing.T) {
	st := memory.New()
	d, err := st.Directories.Put(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	sub := store.Node{Name: "sub", Kind: store.KindDirectory, Digest: d}
	if d, err = st.Directories.Put(t.Context(), store.Directory{sub}); err != nil {
		t.Fatal(err)
	}
	root := store.Node{Kind: store.KindDirectory, Digest: d, Size: 1}
	if err := st.Tags.Set(t.Context(), store.Tag{Name: "t", Root: root}); err != nil {
		t.Fatal(err)
	}
	ref, all := tree.Ref{Node: root}, newMatcher(nil, "")
	tests := map[string]func(e *env, st *store.Store) error{
		"ls":       func(e *env, st *store.Store) error { return e.ls(t.Context(), &lsFlags{recursive: true}, st, ref, "t") },
		"find":     func(e *env, st *store.Store) error { return e.find(t.Context(), st, root, all, false) },
		"find all": func(e *env, st *store.Store) error { return e.findAll(t.Context(), st, all) },
		"stat":     func(e *env, st *store.Store) error { return e.stat(t.Context(), st, ref, true, false) },
		"stats":    func(e *env, st *store.Store) error { return e.stats(t.Context(), st, nil) },
		"du":       func(e *env, st *store.Store) error { return e.du(t.Context(), st, ref, 1) },
		"tag":      func(e *env, st *store.Store) error { return e.listTags(t.Context(), st) },
	}
	for name, do := range tests {
		for reads := range 2 {
			var stderr bytes.Buffer
			e := &env{stdout: &output{w: io.Discard}, stderr: &console{w: &stderr}}
			dying := *st
			f := &failing{Directories: st.Directories}
			f.left.Store(int32(reads))
			if dying.Directories = f; reads == 0 || name == "tag" {
				dying.Tags = failingTags{st.Tags}
			}
			if err := do(e, &dying); !store.IsServerError(err) || statusOf(err) != statusFailed || stderr.Len() > 0 {
				t.Errorf("%s, after %d reads: %v, status %d, stderr %q", name, reads, err, statusOf(err), &stderr)
			}
		}
	}
}

func TestLookStdoutFull(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CASTAR_STORE", filepath.Join(dir, "store"))
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	src := filepath.Join(dir, "src")
	if err := os.MkdirAll(src, 0o777); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := run(t, "ingest", "-t", "empty", src); status != statusDone {
		t.Fatal(stderr)
	}
	if err := os.WriteFile(filepath.Join(src, "f"), []byte("contents"), 0o666); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := run(t, "ingest", "-t", "t", src); status != statusDone {
		t.Fatal(stderr)
	}
	for _, command := range []string{"ls t", "ls --json t", "ls --tree t", "find t", "cat t:f", "cat --length 1 t:f", "stat t", "stat --json t",
		"stats", "stats --json", "diff empty t", "diff -p empty t", "diff --stat empty t", "diff --json empty t", "diff --exit-code empty t"} {
		var stderr bytes.Buffer
		status := Main(append([]string{"castar"}, strings.Fields(command)...), nil, fullDisk{}, &stderr)
		if status != statusFailed || !strings.Contains(stderr.String(), "stdout: no space left on device") {
			t.Errorf("%s: status %d, stderr %s", command, status, &stderr)
		}
	}
}

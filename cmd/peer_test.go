package cmd

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"castar/store"
	"castar/store/storetest"
	"castar/store/storetest/peer"
)

// runCastar runs a command, and returns what it prints and its exit status.
func runCastar(t *testing.T, dir string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	c := exec.Command("castar", args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "HOME="+dir, "XDG_CACHE_HOME="+dir+"/cache", "CASTAR_STORE=")
	var errOut strings.Builder
	c.Stderr = &errOut
	out, err := c.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		status = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	return string(out), errOut.String(), status
}

// wantRun runs a command that must end with a status, and returns what it prints.
func wantRun(t *testing.T, dir string, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, status := runCastar(t, dir, args...)
	if status != want {
		t.Errorf("castar %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), status, want, stdout, stderr)
	}
	return stdout, stderr
}

// startPeer starts a server as those of tvix and snix are, and returns its address.
func startPeer(t *testing.T, s *peer.Server) string {
	t.Helper()
	sock := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", sock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Start(l))
	return "grpc+unix:" + sock
}

// readings returns command lines that read the golden root.
func readings() (all [][]string) {
	for _, command := range [][]string{
		{"ls", "-lR", "ROOT"}, {"ls", "-R", "--json", "ROOT"}, {"ls", "ROOT:nested/a"}, {"find", "ROOT"},
		{"cat", "ROOT:nested/a/b/c/leaf", "ROOT:hello.txt"}, {"stat", "--no-tags", "ROOT"}, {"stat", "--json", "ROOT:nested/a"}, {"stat", "--json", "--no-tags", "ROOT"},
		{"diff", "ROOT:twin1", "ROOT:nested"}, {"diff", "-p", "ROOT", "ROOT:nested"}, {"verify", "ROOT"}, {"stats", "ROOT"},
		{"export", "ROOT", "out"},
	} {
		all = append(all, strings.Split(strings.ReplaceAll(strings.Join(command, "\x00"), "ROOT", goldenRoot), "\x00"))
	}
	return all
}

// TestRootsOnly has every command read a server that finds directories only below the root of an upload. It must print
// what it prints for the objects that tvix and snix wrote.
func TestRootsOnly(t *testing.T) {
	storetest.NotUnderRace(t)
	objects, scratch := goldenStore(t), t.TempDir()
	var wants []string
	for _, args := range readings() {
		want, _ := wantRun(t, scratch, 0, append(args, "-s", objects)...)
		wants = append(wants, want)
	}
	for _, s := range []*peer.Server{{Package: peer.Tvix}, {Package: peer.Snix, Backward: true}} {
		t.Run(s.Package, func(t *testing.T) {
			dir, url := t.TempDir(), startPeer(t, s)
			wantRun(t, dir, 0, "copy", "--from", objects, "--to", url, goldenRoot)
			out, _ := wantRun(t, dir, 0, "ingest", "-s", url, "--size-rule=snix", mkTree(t, dir))
			other := strings.TrimSpace(out)
			for i, args := range readings() {
				for _, spec := range []string{url, "cache:?near=near&far=" + strings.ReplaceAll(url, "+", "%2B")} {
					os.RemoveAll(filepath.Join(dir, "out"))
					got, stderr := wantRun(t, dir, 0, append(slices.Clone(args), "-s", spec)...)
					if args[0] != "stats" && args[0] != "verify" && got != wants[i] {
						t.Errorf("castar %s from %s: %s\n%s", strings.Join(args, " "), spec, cmp.Diff(wants[i], got), stderr)
					}
				}
			}
			if out, _ := wantRun(t, dir, 0, "verify", "-s", url, goldenRoot, other); !strings.Contains(out, "4 files in chunks") {
				t.Errorf("verify: %s", out)
			}
			wantRun(t, dir, 0, "diff", "-s", url, goldenRoot, other)
			wantRun(t, dir, 0, "diff", "-s", url, goldenRoot, "out")
			wantRun(t, dir, 0, "copy", "--from", url, "--to", "packed", goldenRoot, other)
			wantRun(t, dir, 0, "verify", "-s", "packed")
			wantRun(t, dir, 0, "export", "-s", "packed", other, "other")
			wantRun(t, dir, 0, "copy", "--from", "packed", "--to", "objectstore+file:"+dir+"/objects", goldenRoot)
			wantGolden(t, dir+"/objects")
		})
	}
}

// mkTree makes a tree with directories in directories.
func mkTree(t *testing.T, dir string) string {
	t.Helper()
	for _, name := range []string{"tree/a/b/c/file", "tree/a/file", "tree/d/file"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return "tree"
}

// What such a server has lost is missing, and nothing else is.
func TestRootsOnlyMissing(t *testing.T) {
	s := &peer.Server{Package: peer.Snix}
	dir, url := t.TempDir(), startPeer(t, s)
	out, _ := wantRun(t, dir, 0, "ingest", "-s", url, "--size-rule=snix", mkTree(t, dir))
	root := strings.TrimSpace(out)
	digest := func(path string) store.Digest {
		t.Helper()
		out, _ := wantRun(t, dir, 0, "ls", "-l", "--full", "-s", url, root+":"+filepath.Dir(path))
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 4 && strings.TrimSuffix(f[3], "/") == filepath.Base(path) {
				d, err := store.ParseDigest(f[2])
				if err != nil {
					t.Fatal(err)
				}
				return d
			}
		}
		t.Fatalf("no %s in %s", path, out)
		return store.Digest{}
	}
	lost, blob := digest("a/b"), digest("d/file")
	s.Forget(lost)
	s.Forget(blob)
	out, _ = wantRun(t, dir, 3, "verify", "-s", url, root)
	if strings.Count(out, "missing ") != 2 || !strings.Contains(out, "missing directory "+lost.String()) ||
		!strings.Contains(out, ": a/b\n") || !strings.Contains(out, "missing blob "+blob.String()) || !strings.Contains(out, "2 found") {
		t.Errorf("verify: %s", out)
	}
	out, stderr := wantRun(t, dir, 3, "ls", "-R", "-s", url, root)
	if !strings.Contains(out, "d/file") || !strings.Contains(out, "a/file") || !strings.Contains(stderr, "a/b: directory "+lost.String()) {
		t.Errorf("ls: %s%s", out, stderr)
	}
	_, stderr = wantRun(t, dir, 3, "copy", "--from", url, "--to", "packed", root)
	if !strings.Contains(stderr, lost.String()) || !strings.Contains(stderr, blob.String()) {
		t.Errorf("copy: %s", stderr)
	}
}

// A server that counts sizes by another rule says so in its own words, and the hint tells what to do.
func TestOtherSizeRule(t *testing.T) {
	for _, pkg := range []string{peer.Tvix, peer.Snix} {
		dir, url := t.TempDir(), startPeer(t, &peer.Server{Package: pkg})
		source := mkTree(t, dir)
		out, _ := wantRun(t, dir, 0, "ingest", "-s", "packed", "--tag", "x", source)
		documented := strings.TrimSpace(out)
		out, _ = wantRun(t, dir, 0, "ingest", "-n", "--size-rule", "snix", source)
		snix := strings.TrimSpace(out)
		for _, args := range [][]string{
			{"ingest", "-s", url, source}, {"ingest", "-s", url, "--size-rule", "documented", source},
			{"copy", "--from", "packed", "--to", url, "x"},
		} {
			_, stderr := wantRun(t, dir, 1, args...)
			want := "castar: " + args[0] + ": the server counts the sizes of directories by another rule: wrong size 1 for digest blake3-"
			if !strings.HasPrefix(stderr, want) || !strings.HasSuffix(stderr, "\n--size-rule snix counts sizes of directories as tvix and snix do\n") {
				t.Errorf("castar %s: %s", strings.Join(args, " "), stderr)
			}
		}
		out, _ = wantRun(t, dir, 0, "copy", "--from", "packed", "--to", url, "--size-rule", "snix", "x")
		if !strings.HasPrefix(out, documented+" "+snix+"\ncopied ") {
			t.Errorf("copy: %s", out)
		}
		out, _ = wantRun(t, dir, 0, "ingest", "-s", url+"?size_rule=snix", source)
		if out != snix+"\n" {
			t.Errorf("ingest by the rule of the URL: %s, want %s", out, snix)
		}
		wantRun(t, dir, 0, "verify", "-s", url, snix)
	}
}

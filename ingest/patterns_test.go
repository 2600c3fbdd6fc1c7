package ingest

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"castar/ingest/ignore"
	"castar/store/memory"

	"golang.org/x/sys/unix"
)

func TestExcludes(t *testing.T) {
	dir := planted(t, tree{
		"a.o": "", "b.c": "", "sub": tree{"a.o": "", "c.c": "", "tmp": tree{"x": "", "y": ""}}, "tmp": "file", "keep.o": "",
	})
	patterns := ignore.New
	tests := []struct {
		name     string
		excludes []*ignore.Patterns
		want     tree
		excluded uint64
	}{
		{"one", []*ignore.Patterns{patterns("*.o")}, tree{"b.c": "", "sub": tree{"c.c": "", "tmp": tree{"x": "", "y": ""}}, "tmp": "file"}, 3},
		{"directories only", []*ignore.Patterns{patterns("tmp/")}, tree{"a.o": "", "b.c": "", "sub": tree{"a.o": "", "c.c": ""}, "tmp": "file", "keep.o": ""}, 1},
		{"from the root", []*ignore.Patterns{patterns("/sub/a.o", "/a.o", "/x")}, tree{"b.c": "", "sub": tree{"c.c": "", "tmp": tree{"x": "", "y": ""}}, "tmp": "file", "keep.o": ""}, 2},
		{"exception", []*ignore.Patterns{patterns("*.o"), patterns("!keep.o", "sub")}, tree{"b.c": "", "tmp": "file", "keep.o": ""}, 2},
		{"all", []*ignore.Patterns{patterns("*")}, tree{}, 5},
		{"the root's own name", []*ignore.Patterns{patterns("tree", "/", ".")}, tree{"a.o": "", "b.c": "", "sub": tree{"a.o": "", "c.c": "", "tmp": tree{"x": "", "y": ""}}, "tmp": "file", "keep.o": ""}, 0},
	}
	for _, tt := range tests {
		for _, path := range []string{dir, dir + "/", dir + "/sub/.."} {
			if r := want(t, path, Options{Excludes: tt.excludes}, tt.want); r.Excluded != tt.excluded {
				t.Errorf("%s: %d excluded, want %d", tt.name, r.Excluded, tt.excluded)
			}
		}
	}
	want(t, dir+"/a.o", Options{Excludes: tests[0].excludes}, "") // what was asked for is not left out
	// Excluded entries are not opened, and are never problems.
	try(t, mkfifo(dir+"/sub/tmp/pipe"))
	want(t, dir, Options{Excludes: tests[1].excludes}, tests[1].want)
}

func TestGitIgnore(t *testing.T) {
	dir := planted(t, tree{
		".gitignore": "*.o\n/sub/x\n", "a.o": "",
		"sub":  tree{".gitignore": "!a.o\n", "a.o": "", "b.o": "", "x": "", "deep": tree{".gitignore": "a.o", "a.o": "", "x": ""}},
		"link": tree{".gitignore": link("../.gitignore"), "b.o": "", "c": ""},
		"dir":  tree{".gitignore": tree{}, "c": ""},
	})
	want(t, dir, Options{GitIgnore: true}, tree{
		".gitignore": "*.o\n/sub/x\n",
		"sub":        tree{".gitignore": "!a.o\n", "a.o": "", "deep": tree{".gitignore": "a.o", "x": ""}},
		"link":       tree{".gitignore": link("../.gitignore"), "c": ""},
		"dir":        tree{".gitignore": tree{}, "c": ""},
	})
	want(t, dir, Options{GitIgnore: true, Excludes: []*ignore.Patterns{ignore.New("!a.o", ".gitignore")}}, tree{
		"a.o": "", "sub": tree{"a.o": "", "deep": tree{"a.o": "", "x": ""}}, "link": tree{"c": ""}, "dir": tree{"c": ""},
	})
	want(t, dir+"/sub", Options{GitIgnore: true}, tree{ // what is above the root does not count
		".gitignore": "!a.o\n", "a.o": "", "b.o": "", "x": "", "deep": tree{".gitignore": "a.o", "x": ""},
	})
}

func TestHugeGitIgnore(t *testing.T) {
	dir := planted(t, tree{"a.o": "", "sub": tree{".gitignore": strings.Repeat("#\n", ignore.MaxFileSize/2) + "*.o\n", "b.o": ""}})
	o := Options{GitIgnore: true}
	_, err := FS(context.Background(), nil, dir, o)
	if w := fmt.Sprintf("%s/sub/.gitignore: longer than %d bytes", dir, ignore.MaxFileSize); err == nil || !strings.HasPrefix(err.Error(), w) {
		t.Errorf("error %v, want %s", err, w)
	}
	o.IgnoreErrors = true
	want(t, dir, o, tree{"a.o": "", "sub": tree{"b.o": ""}})
}

// TestGit compares with the entries that git would add.
func TestGit(t *testing.T) {
	if _, err := osexec.LookPath("git"); err != nil {
		t.Skip("NOT TESTED: git is not installed, so nothing here was compared with it")
	}
	all, kept := 0, 0
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		dir := onTmpfs(t)
		git := func(args ...string) string {
			cmd := osexec.Command("git", append([]string{"-C", dir, "-c", "core.ignoreCase=false"}, args...)...)
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + dir}
			out, err := cmd.Output()
			try(t, err)
			return string(out)
		}
		git("init", "--quiet", "--template=")
		gitTree(t, rnd, dir, 3)
		theirs := strings.Split(strings.TrimSuffix(git("ls-files", "-co", "--exclude-standard", "-z"), "\x00"), "\x00")
		slices.Sort(theirs)

		st := memory.New()
		r, err := FS(context.Background(), st, dir, Options{GitIgnore: true, Excludes: []*ignore.Patterns{ignore.New("/.git")}})
		try(t, err)
		ours := stored(t, st, r.Root, "")
		slices.Sort(ours)
		if !slices.Equal(ours, theirs) {
			t.Errorf("seed %d:\nstored  %q\ngit has %q", seed, ours, theirs)
		}
		kept += len(ours)
		filepath.WalkDir(dir, func(_ string, d fs.DirEntry, _ error) error {
			if d.Name() == ".git" {
				return fs.SkipDir
			}
			if !d.IsDir() {
				all++
			}
			return nil
		})
	}
	if kept < 100 || all-kept < 100 {
		t.Errorf("%d of %d files stored: the patterns test little", kept, all)
	}
}

// gitTree fills a directory with files, directories and patterns.
func gitTree(t *testing.T, rnd *rand.Rand, dir string, depth int) {
	lines := []string{"a*", "!ab", "/b", "b/", "c/**", "**/d", "*.o", "!a.o", "?b", "[a-b]d", "!c/", "/c/a", "!/*/b", "ac/*", "!ac/a.o", "e"}
	pick := func(from []string) string { return from[rnd.IntN(len(from))] }
	if rnd.IntN(2) == 0 {
		var text string
		for range 1 + rnd.IntN(2) {
			text += pick(lines) + "\n"
		}
		plant(t, dir+"/.gitignore", text)
	}
	for range 12 {
		path := dir + "/" + pick([]string{"a", "b", "c", "d", "e", "ab", "ac", "bd", "cb", "a.o", "b.o", "x", "y", "f.o", "ef"})
		if _, err := os.Lstat(path); err == nil {
			continue
		}
		switch n := rnd.IntN(8); {
		case n < 4 && depth > 0:
			try(t, os.Mkdir(path, 0o755))
			gitTree(t, rnd, path, depth-1)
		case n == 7:
			plant(t, path, link("a"))
		default:
			plant(t, path, "")
		}
	}
}

func TestExcludeCaches(t *testing.T) {
	const tag = "Signature: 8a477f597d28d172789f06886806bc55"
	dir := planted(t, tree{
		"cache": tree{"CACHEDIR.TAG": tag + "\nmore", "a": "", "b": tree{"c": ""}},
		"short": tree{"CACHEDIR.TAG": tag[:40], "a": ""},
		"wrong": tree{"CACHEDIR.TAG": "x" + tag, "a": ""},
		"link":  tree{"CACHEDIR.TAG": link("../cache/CACHEDIR.TAG"), "a": ""},
		"dir":   tree{"CACHEDIR.TAG": tree{}, "a": ""},
		"sub":   tree{"cache": tree{"CACHEDIR.TAG": tag, "x": ""}},
	})
	r := want(t, dir, Options{ExcludeCaches: true}, tree{
		"cache": tree{"CACHEDIR.TAG": tag + "\nmore"},
		"short": tree{"CACHEDIR.TAG": tag[:40], "a": ""},
		"wrong": tree{"CACHEDIR.TAG": "x" + tag, "a": ""},
		"link":  tree{"CACHEDIR.TAG": link("../cache/CACHEDIR.TAG"), "a": ""},
		"dir":   tree{"CACHEDIR.TAG": tree{}, "a": ""},
		"sub":   tree{"cache": tree{"CACHEDIR.TAG": tag}},
	})
	if r.Excluded != 3 {
		t.Errorf("%d excluded, want 3", r.Excluded)
	}
	want(t, dir+"/cache", Options{ExcludeCaches: true}, tree{"CACHEDIR.TAG": tag + "\nmore"})
}

func TestOneFileSystem(t *testing.T) {
	v := tree{"a": "a", "mount": tree{}, "sub": tree{"b": "b"}}
	dir := planted(t, v)
	if err := mountTmpfs(dir + "/mount"); err != nil {
		t.Skipf("NOT TESTED: mounting a file system: %v", err)
	}
	t.Cleanup(func() { try(t, unix.Unmount(dir+"/mount", 0)) })
	want(t, dir, Options{OneFileSystem: true}, v)
	inner := tree{"c": "c", "d": tree{"e": ""}}
	plant(t, dir+"/mount", inner)
	want(t, dir, Options{OneFileSystem: true}, v)
	want(t, dir+"/mount", Options{OneFileSystem: true}, inner)
	v["mount"] = inner
	want(t, dir, Options{}, v)
	o := Options{OneFileSystem: true, Progress: new(Progress)}
	Scan(context.Background(), dir, o)
	if n := o.Progress.TotalFiles.Load(); n != 2 {
		t.Errorf("a scan of one file system counts %d files, want 2", n)
	}
}

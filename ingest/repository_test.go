package ingest

import (
	"context"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"castar/ingest/ignore"
	"castar/store/memory"
)

// TestNestedRepositories compares with the entries that git would add to each of several nested repositories: one made by
// init, one whose .git is a file, a linked worktree, one two levels deep, and directories that only look like one.
func TestNestedRepositories(t *testing.T) {
	if _, err := osexec.LookPath("git"); err != nil {
		t.Skip("NOT TESTED: git is not installed, so nothing here was compared with it")
	}
	dir := onTmpfs(t)
	git := func(at string, args ...string) string {
		cmd := osexec.Command("git", append([]string{"-C", filepath.Join(dir, at), "-c", "core.ignoreCase=false", "-c", "user.name=a", "-c", "user.email=a@b"}, args...)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME=" + dir}
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("git -C %s %v: %v", at, args, err)
		}
		return string(out)
	}
	some := func(more tree) tree {
		v := tree{"a.o": "", "a.c": "", "a.tmp": "", "build": tree{"x": ""}, "sub": tree{"a.o": "", "b": tree{"build": tree{"y": ""}, "a.tmp": ""}}}
		for name, kid := range more {
			v[name] = kid
		}
		return v
	}
	rules := "build/\n*.o\n/nested/a.c\nignored/\n"
	plant(t, dir, some(tree{
		".gitignore": rules,
		"nested":     some(tree{".gitignore": "*.tmp\n!a.o\n", "again": some(tree{".gitignore": "*.c\n"}), "bare": some(nil)}),
		"separate":   some(nil), "plain": some(tree{".gitignore": "!a.o\n"}), "ignored": some(nil),
		"empty": some(tree{".git": tree{}}), "text": some(tree{".git": "no repository"}), "half": some(tree{".git": tree{"HEAD": "ref: refs/heads/x\n"}}),
		"wrong": some(tree{".git": tree{"HEAD": "what?", "objects": tree{}, "refs": tree{}}}),
	}))
	git("", "init", "--quiet", "--template=")
	git("", "commit", "--quiet", "--allow-empty", "-m", "x")
	git("nested", "init", "--quiet", "--template=")
	git("nested/again", "init", "--quiet", "--template=")
	git("separate", "init", "--quiet", "--template=", "--separate-git-dir="+dir+"/.git/separate")
	git("ignored", "init", "--quiet", "--template=")
	git("", "worktree", "add", "--quiet", dir+"/plain/linked")
	plant(t, dir+"/plain/linked", some(nil))

	var theirs []string
	for _, repository := range []string{"", "nested/", "nested/again/", "separate/", "plain/linked/"} {
		for path := range strings.SplitSeq(strings.TrimSuffix(git(repository, "ls-files", "-co", "--exclude-standard", "-z"), "\x00"), "\x00") {
			if !strings.HasSuffix(path, "/") { // another repository
				theirs = append(theirs, repository+path)
			}
		}
	}
	slices.Sort(theirs)
	st := memory.New()
	r, err := FS(context.Background(), st, dir, Options{GitIgnore: true, Excludes: []*ignore.Patterns{ignore.New(".git")}})
	try(t, err)
	ours := stored(t, st, r.Root, "")
	slices.Sort(ours)
	if !slices.Equal(ours, theirs) {
		t.Errorf("stored  %q\ngit has %q", ours, theirs)
	}
	for _, path := range []string{"nested/build/x", "nested/again/build/x", "separate/a.o", "plain/linked/build/x", "empty/a.c"} {
		if !slices.Contains(ours, path) {
			t.Errorf("%s is left out", path)
		}
	}
}

// In a .git, only patterns of the command line hold.
func TestRepositoryItself(t *testing.T) {
	repository := tree{"HEAD": "ref: refs/heads/build/x\n", "objects": tree{"a.o": ""}, "refs": tree{"heads": tree{"build": tree{"x": ""}}}}
	inner := tree{".git": "gitdir: ../nowhere\n", "a.o": "", "b": ""} // moved away from its repository
	dir := planted(t, tree{".gitignore": "build/\n*.o\n", ".git": repository, "inner": inner, "a.o": "", "build": tree{"x": ""}})
	want(t, dir, Options{GitIgnore: true}, tree{".gitignore": "build/\n*.o\n", ".git": repository, "inner": inner})
	want(t, dir, Options{GitIgnore: true, Excludes: []*ignore.Patterns{ignore.New("*.o")}}, tree{
		".gitignore": "build/\n*.o\n", "inner": tree{".git": "gitdir: ../nowhere\n", "b": ""},
		".git": tree{"HEAD": "ref: refs/heads/build/x\n", "objects": tree{}, "refs": repository["refs"]},
	})
}

package ignore

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// repository is an empty git repository in a temporary directory.
type repository struct {
	t   *testing.T
	dir string
}

func newRepository(t *testing.T) repository {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("NOT TESTED: git is not installed, so nothing here was compared with it")
	}
	r := repository{t, t.TempDir()}
	r.git(nil, "init", "--quiet", "--template=")
	return r
}

func (r repository) git(stdin []byte, args ...string) []byte {
	r.t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command("git", append([]string{"-C", r.dir, "-c", "core.ignoreCase=false"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "HOME="+r.dir)
	// A test that runs from a hook finds the variables of another repository.
	cmd.Env = slices.DeleteFunc(cmd.Env, func(s string) bool {
		return strings.HasPrefix(s, "GIT_DIR=") || strings.HasPrefix(s, "GIT_WORK_TREE=") || strings.HasPrefix(s, "GIT_INDEX_FILE=")
	})
	cmd.Stdin, cmd.Stderr = bytes.NewReader(stdin), &errs
	out, err := cmd.Output()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 1 && args[0] == "check-ignore" {
		err = nil // nothing is ignored
	}
	if err != nil {
		r.t.Fatalf("git %v: %v: %s", args, err, errs.Bytes())
	}
	return out
}

func (r repository) write(path, content string) {
	r.t.Helper()
	path = filepath.Join(r.dir, path)
	err := os.MkdirAll(filepath.Dir(path), 0o777)
	if err == nil {
		err = os.WriteFile(path, []byte(content), 0o666)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// walk calls visit for every entry except .git, and says whether an ingest would ignore it.
func (r repository) walk(s Stack, visit func(path string, d fs.DirEntry, ignored bool)) {
	r.t.Helper()
	var enter func(dir string, s Stack, ignored bool)
	enter = func(dir string, s Stack, ignored bool) {
		if data, err := os.ReadFile(filepath.Join(r.dir, dir, ".gitignore")); err == nil {
			s = s.Push(dir, Parse(data))
		}
		entries, err := os.ReadDir(filepath.Join(r.dir, dir))
		if err != nil {
			r.t.Fatal(err)
		}
		for _, d := range entries {
			if d.Name() == ".git" {
				continue
			}
			path := strings.TrimPrefix(dir+"/"+d.Name(), "/")
			out := ignored || s.Match(path, d.IsDir())
			visit(path, d, out)
			if d.IsDir() {
				enter(path, s, out)
			}
		}
	}
	enter("", s, false)
}

// The parts of random names and patterns. They are few, so that many patterns match.
var (
	nameParts    = []string{"a", "b", "ab", "aab", "ba", ".o", "-", "[", "]", "\\", "!", "#", " ", "*", "\xff", "é", "^", "A", "1", "\t"}
	patternParts = []string{"a", "b", "ab", "ba", ".o", "*", "*", "*", "**", "?", "/", "/", "/", "**/", "/**", "/**/", "[a-b]", "[!a]", "[^a-]",
		"[]a]", "[a\\]]", "[[:alpha:]]", "[[:upper:]b]", "[![:punct:]]", "[[:space:]]", "[a", "[[:x:]]", "[[:a]", "[a-\\b-]", "\\", "\\ ", " ", "!", "#", "-", "\xff", "é", "^", "A", "1", "[\x80-\xff]"}
)

func joined(r *rand.Rand, parts []string, most int) string {
	var b strings.Builder
	for range 1 + r.IntN(most) {
		b.WriteString(parts[r.IntN(len(parts))])
	}
	return b.String()
}

// randomFile returns one or more lines of patterns.
func randomFile(r *rand.Rand) string {
	var b strings.Builder
	if r.IntN(20) == 0 {
		b.WriteString("\xef\xbb\xbf")
	}
	for range 1 + r.IntN(3) {
		if r.IntN(5) == 0 {
			b.WriteByte('!')
		}
		b.WriteString(joined(r, patternParts, 5))
		b.WriteString([]string{"\n", "\n", "\n", "/\n", " \n", "\r\n", ""}[r.IntN(7)])
	}
	return b.String()
}

// randomTree makes a few directories and files under dir, and patterns in some of the directories.
func (r repository) randomTree(rnd *rand.Rand, dir string) {
	r.write(dir+"/.gitignore", randomFile(rnd))
	for range 6 {
		path := dir
		for range 1 + rnd.IntN(3) {
			path += "/" + joined(rnd, nameParts, 2)
			if info, err := os.Lstat(filepath.Join(r.dir, path)); err == nil && !info.IsDir() {
				path += "~" // a file has this name: go on beside it
			}
		}
		r.write(path+"/"+joined(rnd, nameParts, 3)+"f", "")
		if rnd.IntN(6) == 0 {
			r.write(path+"/.gitignore", randomFile(rnd))
		}
	}
}

// TestGit compares with git check-ignore on many small trees with patterns, in one repository.
func TestGit(t *testing.T) {
	r := newRepository(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 80 {
		r.randomTree(rnd, fmt.Sprintf("tree%d", i))
	}
	var paths []byte
	got := map[string]bool{}
	r.walk(Root(), func(path string, d fs.DirEntry, ignored bool) {
		paths = append(append(paths, path...), 0)
		got[path] = ignored
	})
	want := map[string]bool{}
	for path := range bytes.SplitSeq(r.git(paths, "check-ignore", "--no-index", "--stdin", "-z"), []byte{0}) {
		want[string(path)] = true
	}
	if len(want) < 100 || len(want) > len(got)-100 {
		t.Errorf("%d of %d paths ignored: the patterns test little", len(want), len(got))
	}
	for path, ignored := range got {
		if ignored != want[path] {
			data, _ := os.ReadFile(filepath.Join(r.dir, strings.Split(path, "/")[0], ".gitignore"))
			t.Errorf("%q: ignored is %v, git says %v; .gitignore of the tree: %q", path, ignored, want[path], data)
		}
	}
}

// TestGitOnCases checks the examples with git, each in its own directory.
func TestGitOnCases(t *testing.T) {
	r := newRepository(t)
	type example struct {
		patternCase
		patternEntry
	}
	var paths []byte
	want := map[string]example{}
	for i, c := range patternCases() {
		for j, e := range c.entries() {
			dir := fmt.Sprintf("case%d/%d", i, j)
			r.write(dir+"/.gitignore", c.file)
			path := dir + "/" + e.path
			if e.isDir {
				r.write(path+"/file", "")
			} else {
				r.write(path, "")
			}
			paths = append(append(paths, path...), 0)
			want[path] = example{c, e}
		}
	}
	// With -v, git also prints paths that it does not ignore, each with four fields.
	fields := strings.Split(string(r.git(paths, "check-ignore", "--no-index", "--stdin", "-z", "-v", "-n")), "\x00")
	if len(fields) != 4*len(want)+1 {
		t.Fatalf("%d fields for %d paths", len(fields), len(want))
	}
	for ; len(fields) >= 4; fields = fields[4:] {
		e := want[fields[3]]
		pattern := fields[2]
		if ignored := pattern != "" && pattern[0] != '!'; ignored != e.patternEntry.ignored {
			t.Errorf("%s: %q: git says that ignored %q is %v, by %q", e.name, e.file, e.path, ignored, pattern)
		}
	}
}

// TestGitCommandLine compares patterns of the command line, which override those of files, with git ls-files.
func TestGitCommandLine(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	r := newRepository(t)
	for i := range 15 {
		r.randomTree(rnd, fmt.Sprintf("tree%d", i))
	}
	for range 15 {
		var patterns, args []string
		for range 1 + rnd.IntN(3) {
			p := []string{"", "", "!"}[rnd.IntN(3)] + joined(rnd, patternParts, 3)
			patterns, args = append(patterns, p), append(args, "--exclude="+p)
		}
		var got []string
		r.walk(Root(New(patterns...)), func(path string, d fs.DirEntry, ignored bool) {
			if !ignored && !d.IsDir() {
				got = append(got, path)
			}
		})
		out := r.git(nil, append([]string{"ls-files", "-z", "--others", "--exclude-per-directory=.gitignore"}, args...)...)
		want := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
		if len(out) == 0 {
			want = nil
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%q: left are\n%q, git says\n%q", patterns, got, want)
		}
	}
}

package ingest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"castar/store/memory"
)

func TestRoots(t *testing.T) {
	inner := tree{"f": "file", "x": exec("run"), "l": link("../nowhere"), "e": tree{}}
	outer := tree{"dir": inner, "file": "one", "run": exec("two"), "link": link("dir"), "flink": link("file"), "dangling": link("gone"), "empty": ""}
	base := planted(t, outer)
	t.Chdir(base)
	tests := []struct {
		path string
		want any
	}{
		{".", outer}, {"./", outer}, {"..//tree", outer}, {"dir/..", outer}, {"link/..", outer}, {base, outer}, {base + "///", outer},
		{"dir", inner}, {"dir/", inner}, {"dir/.", inner}, {"./dir", inner}, {"dir/e/..", inner}, {"link/", inner}, {"link/.", inner},
		{"dir/e", tree{}}, {"file", "one"}, {"run", exec("two")}, {"empty", ""}, {"link/f", "file"},
		{"link", link("dir")}, {"flink", link("file")}, {"dangling", link("gone")}, {"dir/l", link("../nowhere")},
	}
	for _, tt := range tests {
		want(t, tt.path, Options{}, tt.want)
	}
	t.Chdir("dir")
	want(t, "..", Options{}, outer)
	want(t, "../", Options{}, outer)
	want(t, "../dir/", Options{}, inner)
}

func TestBadRoots(t *testing.T) {
	t.Chdir(planted(t, tree{"file": "", "loop": link("loop"), "dangling": link("gone"), "flink": link("file")}))
	long := strings.Repeat("x", 256)
	tests := []struct{ path, want string }{
		{"", `"": no such file or directory`},
		{"gone", "gone: no such file or directory"},
		{"gone/x", "gone/x: no such file or directory"},
		{"file/", "file/: not a directory"},
		{"flink/", "flink/: not a directory"},
		{"dangling/", "dangling/: no such file or directory"},
		{"loop/", "loop/: too many levels of symbolic links"},
		{"a\x00b", `"a\x00b": invalid argument`},
		{"\xff\n", `"\xff\n": no such file or directory`},
		{long, long + ": file name too long"},
	}
	for _, tt := range tests {
		for _, o := range []Options{{}, {IgnoreErrors: true}} {
			r, err := FS(context.Background(), memory.New(), tt.path, o)
			var left *LeftOutError
			if !errors.As(err, &left) || err.Error() != tt.want {
				t.Errorf("%q: root %v, error %v, want %s", tt.path, r.Root, err, tt.want)
			}
		}
		o := Options{Progress: new(Progress)}
		Scan(context.Background(), tt.path, o)
		if o.Progress.Scanned.Load() {
			t.Errorf("%q: scanned", tt.path)
		}
	}
	if _, err := FS(context.Background(), nil, "gone", Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

// TestSizes ingests files near the sizes at which the way of reading changes.
func TestSizes(t *testing.T) {
	long := strings.Repeat("0123456789abcde", (mediumFile+1024)/15)
	v := tree{}
	for _, near := range []int{1, smallFile, mediumFile} {
		for n := near - 1; n <= near+2; n++ {
			v[fmt.Sprint(n)] = long[:n]
		}
	}
	dir := planted(t, v)
	for _, jobs := range []int{1, 8} {
		want(t, dir, Options{Jobs: jobs}, v)
	}
}

// TestProblemPath checks that problems have paths as they were given, without double slashes.
func TestProblemPath(t *testing.T) {
	dir := planted(t, tree{"a": tree{"b": tree{}}})
	try(t, mkfifo(filepath.Join(dir, "a/b/pipe")))
	t.Chdir(dir)
	for root, want := range map[string]string{
		".": "./a/b/pipe", "./": "./a/b/pipe", "a": "a/b/pipe", "a/": "a/b/pipe", "a/b/../b": "a/b/../b/pipe", "a/b/pipe": "a/b/pipe",
	} {
		_, err := FS(context.Background(), nil, root, Options{})
		if want += ": not a file, directory or symbolic link: it is a pipe"; err == nil || err.Error() != want {
			t.Errorf("root %s: error %v, want %s", root, err, want)
		}
	}
}

func TestNames(t *testing.T) {
	p := &place{parent: &place{parent: &place{name: "/"}, name: "a"}, name: "b"}
	if p.path() != "/a/b" || p.inside() != "a/b" || p.parent.path() != "/a" || p.parent.inside() != "a" ||
		p.parent.parent.path() != "/" || p.parent.parent.inside() != "" {
		t.Errorf("path %q, inside %q", p.path(), p.inside())
	}
}

// TestInvalidName checks that an entry with an invalid name is a problem.
func TestInvalidName(t *testing.T) {
	dir := planted(t, tree{"a": ""})
	long := strings.Repeat("x", 256)
	w, err := newWalker(context.Background(), memory.New(), Options{Jobs: 1, Progress: new(Progress)})
	try(t, err)
	defer w.close()
	on := w.firstWorker()
	d, err := os.Open(dir)
	try(t, err)
	defer d.Close()
	nodes, err := on.entries(&folder{fd: int(d.Fd()), at: &place{name: "tree"}, scratch: new(scratch)}, []string{"a", long})
	if err != nil || len(nodes) != 1 || nodes[0].Name != "a" {
		t.Errorf("nodes %v, error %v", nodes, err)
	}
	if all := w.problems.sorted(); len(all) != 1 || all[0].Path != "tree/"+long || !strings.Contains(all[0].Error(), "longer than 255 bytes") {
		t.Errorf("problems %v", all)
	}
}

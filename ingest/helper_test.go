package ingest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/memory"
)

// tree is a directory in memory. Its values are file contents (string), executable files (exec), symlinks (link) and
// directories (tree).
type (
	tree map[string]any
	exec string
	link string
)

func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plant writes v at path.
func plant(t testing.TB, path string, v any) {
	t.Helper()
	switch v := v.(type) {
	case string:
		try(t, os.WriteFile(path, []byte(v), 0o644))
	case exec:
		try(t, os.WriteFile(path, []byte(v), 0o755))
	case link:
		try(t, os.Symlink(string(v), path))
	case tree:
		if err := os.Mkdir(path, 0o755); !errors.Is(err, fs.ErrExist) {
			try(t, err)
		}
		for name, kid := range v {
			plant(t, path+"/"+name, kid)
		}
	default:
		t.Fatalf("%T in a tree", v)
	}
}

// planted makes a directory with the entries of v and returns its path.
func planted(t testing.TB, v tree) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	plant(t, dir, v)
	return dir
}

// plantedNative is planted on a native file system. In a container, the usual folder for temporary files is not on one.
func plantedNative(t testing.TB, v tree) string {
	t.Helper()
	dir := planted(t, v)
	if isNative(t, dir) {
		return dir
	}
	if dir = onTmpfs(t); !isNative(t, dir) {
		t.Skip("NOT TESTED: the cache: there is no native file system")
	}
	plant(t, dir+"/tree", v)
	return dir + "/tree"
}

// isNative reports whether files in dir may be remembered.
func isNative(t testing.TB, dir string) bool {
	t.Helper()
	f, err := os.Open(dir)
	try(t, err)
	defer f.Close()
	native, _, _ := identify(int(f.Fd()), 0)
	return native
}

// onTmpfs makes an empty directory, on a file system in memory if there is one. For large trees a disk takes seconds.
func onTmpfs(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "castar-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// rootOf returns the root of v, computed in memory.
func rootOf(t testing.TB, v any) store.Node {
	t.Helper()
	switch v := v.(type) {
	case string:
		return store.Node{Kind: store.KindFile, Digest: store.Sum([]byte(v)), Size: uint64(len(v))}
	case exec:
		return store.Node{Kind: store.KindFile, Digest: store.Sum([]byte(v)), Size: uint64(len(v)), Executable: true}
	case link:
		return store.Node{Kind: store.KindSymlink, Target: string(v)}
	}
	var dir store.Directory
	for name, kid := range v.(tree) {
		n := rootOf(t, kid)
		n.Name = name
		dir = append(dir, n)
	}
	slices.SortFunc(dir, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
	b, err := store.EncodeDirectory(dir)
	try(t, err)
	size, err := dir.Size(store.SizeDocumented)
	try(t, err)
	return store.Node{Kind: store.KindDirectory, Digest: store.Sum(b), Size: size}
}

// want ingests path into a new store and checks that the root is that of v, and that the store has all of it.
func want(t testing.TB, path string, o Options, v any) Result {
	t.Helper()
	st := memory.New()
	r, err := FS(context.Background(), st, path, o)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return r
	}
	if want := rootOf(t, v); r.Root != want {
		t.Errorf("%s: root %+v, want %+v", path, r.Root, want)
		return r
	}
	if r.Root.Kind == store.KindDirectory {
		for d, err := range st.Directories.Walk(context.Background(), r.Root.Digest) {
			try(t, err)
			for _, n := range d.Directory {
				if has, err := st.Blobs.Has(context.Background(), n.Digest); n.Kind == store.KindFile && (!has || err != nil) {
					t.Errorf("%s: the blob of %s is not in the store, error %v", path, n.Name, err)
				}
			}
		}
	}
	return r
}

// wantLeftOut ingests path and checks that it fails with problems at those names, relative to path, and that with
// IgnoreErrors it stores v.
func wantLeftOut(t *testing.T, path string, o Options, v any, names map[string]error) {
	t.Helper()
	check := func(what string, got []Problem) {
		t.Helper()
		if len(got) != len(names) {
			t.Errorf("%s: %d problems, want %d: %v", what, len(got), len(names), got)
		}
		for i, p := range got {
			name := strings.TrimPrefix(strings.TrimPrefix(p.Path, path), "/")
			reason, ok := names[name]
			if !ok || !errors.Is(p.Err, reason) {
				t.Errorf("%s: problem %v, want %v", what, p, reason)
			}
			if i > 0 && got[i-1].Path >= p.Path {
				t.Errorf("%s: problem %q after %q", what, p.Path, got[i-1].Path)
			}
		}
	}
	o.IgnoreErrors = false
	r, err := FS(context.Background(), memory.New(), path, o)
	var left *LeftOutError
	if !errors.As(err, &left) {
		t.Fatalf("root %v, error %v; want a LeftOutError", r.Root, err)
	}
	if r.Root != (store.Node{}) {
		t.Errorf("there is a root, %v, beside the error", r.Root)
	}
	check("LeftOutError", left.Problems)
	check("Result", r.LeftOut)
	o.IgnoreErrors = true
	check("IgnoreErrors", want(t, path, o, v).LeftOut)
}

// stored returns the paths of all files and symlinks of a tree.
func stored(t testing.TB, st *store.Store, dir store.Node, path string) (paths []string) {
	t.Helper()
	nodes, err := st.Directories.Get(context.Background(), dir.Digest)
	try(t, err)
	for _, n := range nodes {
		if n.Kind == store.KindDirectory {
			paths = append(paths, stored(t, st, n, path+n.Name+"/")...)
		} else {
			paths = append(paths, path+n.Name)
		}
	}
	return paths
}

package ingest_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"lukechampine.com/blake3"
	"pgregory.net/rapid"

	"castar/ingest"
	"castar/ingest/treetest"
	"castar/protos"
	"castar/store"
	"castar/store/memory"
	"castar/store/packed"
	"castar/store/storetest"
)

// reference computes the node of path in the slow and obvious way: generated messages, whole files, no descriptors.
func reference(t testing.TB, path string, rule store.SizeRule, counts *store.Counts) *protos.Node {
	t.Helper()
	try := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	sum := func(b []byte) []byte {
		d := blake3.Sum256(b)
		return d[:]
	}
	fi, err := os.Lstat(path)
	try(err)
	switch fi.Mode().Type() {
	case 0:
		data, err := os.ReadFile(path)
		try(err)
		counts.Files++
		counts.Bytes += uint64(len(data))
		return &protos.Node{Node: &protos.Node_File{File: &protos.FileNode{
			Digest: sum(data), Size: uint64(len(data)), Executable: fi.Mode()&0o100 != 0,
		}}}
	case fs.ModeSymlink:
		target, err := os.Readlink(path)
		try(err)
		counts.Symlinks++
		return &protos.Node{Node: &protos.Node_Symlink{Symlink: &protos.SymlinkNode{Target: []byte(target)}}}
	case fs.ModeDir:
	default:
		t.Fatalf("%s: %s", path, fi.Mode())
	}
	entries, err := os.ReadDir(path) // sorted by name
	try(err)
	counts.Directories++
	dir, size := new(protos.Directory), uint64(len(entries))
	if rule == store.SizeSnix {
		size *= 2
	}
	for _, e := range entries {
		switch n := reference(t, path+"/"+e.Name(), rule, counts).Node.(type) {
		case *protos.Node_Directory:
			n.Directory.Name = []byte(e.Name())
			size += n.Directory.Size
			dir.Directories = append(dir.Directories, n.Directory)
		case *protos.Node_File:
			n.File.Name = []byte(e.Name())
			dir.Files = append(dir.Files, n.File)
		case *protos.Node_Symlink:
			n.Symlink.Name = []byte(e.Name())
			dir.Symlinks = append(dir.Symlinks, n.Symlink)
		}
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(dir)
	try(err)
	return &protos.Node{Node: &protos.Node_Directory{Directory: &protos.DirectoryNode{Digest: sum(b), Size: size}}}
}

// referenceNode returns the reference as a root, and its counts.
func referenceNode(t testing.TB, path string, rule store.SizeRule) (store.Node, store.Counts) {
	t.Helper()
	var counts store.Counts
	b, err := proto.Marshal(reference(t, path, rule, &counts))
	if err != nil {
		t.Fatal(err)
	}
	n, err := store.DecodeNode(b)
	if err != nil {
		t.Fatal(err)
	}
	return n, counts
}

// pack returns an empty packed store.
func pack(t testing.TB) *store.Store {
	t.Helper()
	st, err := packed.Open(context.Background(), filepath.Join(directory(t), "store"), packed.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// directory makes an empty directory, in memory if possible.
func directory(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "castar-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestReference compares all ways to ingest, and Scan, with the reference.
func TestReference(t *testing.T) {
	ctx := context.Background()
	base, trees := directory(t), treetest.New()
	stores := []struct {
		name string
		st   *store.Store
	}{{"dry run", nil}, {"memory", memory.New()}, {"packed", pack(t)}}
	number := 0
	storetest.Check(t, func(rt *rapid.T) {
		number++
		path := filepath.Join(base, fmt.Sprint(number))
		trees.Tree(rt, path, 3)
		defer os.RemoveAll(path)
		rule := rapid.SampledFrom([]store.SizeRule{store.SizeDocumented, store.SizeSnix}).Draw(rt, "rule")
		want, counts := referenceNode(t, path, rule)
		for _, s := range stores {
			o := ingest.Options{
				Jobs: rapid.SampledFrom([]int{1, 2, 7, 64}).Draw(rt, "jobs"), SizeRule: rule, Progress: new(ingest.Progress),
			}
			r, err := ingest.FS(ctx, s.st, path, o)
			if err != nil {
				rt.Fatalf("%s, %+v: %v", s.name, o, err)
			}
			if diff := cmp.Diff(want, r.Root); diff != "" {
				rt.Errorf("%s, %d jobs, size rule %v: want -, got +:\n%s", s.name, o.Jobs, rule, diff)
			}
			if r.Counts != counts {
				rt.Errorf("%s: counted %+v, want %+v", s.name, r.Counts, counts)
			}
			p := o.Progress
			seen := store.Counts{
				Files: p.Files.Load(), Directories: p.Directories.Load(), Symlinks: p.Symlinks.Load(), Bytes: p.Bytes.Load(),
			}
			ingest.Scan(ctx, path, o)
			if seen != counts || p.TotalBytes.Load() != counts.Bytes || p.TotalFiles.Load() != counts.Files || !p.Scanned.Load() {
				rt.Errorf("%s: progress ended at %+v, totals %d files and %d bytes; want %+v",
					s.name, seen, p.TotalFiles.Load(), p.TotalBytes.Load(), counts)
			}
		}
	})
}

// TestGolden ingests the trees of castore's fixtures.
func TestGolden(t *testing.T) {
	html := "<!DOCTYPE html><html><body>Hello World!</body></html>"
	nested := map[string]string{
		"index.htm": html, "out_of_base_path_symlink": "->../index.htm", "nested/index.html": html, "nested/dot": "->.",
		"nested/symlink": "->index.html", "nested/dot_symlink": "->./index.html", "nested/dotdot_symlink": "->../index.htm",
		"nested/dotdot_same_symlink": "->../nested/index.html",
	}
	blob := make([]byte, 255*4096)
	for i := range blob {
		blob[i] = byte(i % 255)
	}
	const sum = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
	tests := []struct {
		name       string
		tree       map[string]string // paths with contents; of directories, which end in a slash, none; of symlinks ->target
		root       string
		size       uint64
		documented string
		snix       string
	}{
		{"empty file", map[string]string{"x": ""}, "x", 0, sum, sum},
		{"hello world", map[string]string{"x": "Hello World!"}, "x", 12, "5ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c", "5ca7815adcb484e9a136c11efe69c1d530176d549b5d18d038eb5280b4b3470c"},
		{"blob B", map[string]string{"x": string(blob)}, "x", 1044480, "a82c5154a7a0c262c6fdb929a317585646f8fbcf80326d0a7b8747edaf2d99d2", "a82c5154a7a0c262c6fdb929a317585646f8fbcf80326d0a7b8747edaf2d99d2"},
		{"A", map[string]string{"x/": ""}, "x", 0, sum, sum},
		{"with keep", map[string]string{".keep": ""}, ".", 1, "8b5b5d642b646bb8ed504b0862c39413e87e57491497de7bd075953f7b83810e", "8b5b5d642b646bb8ed504b0862c39413e87e57491497de7bd075953f7b83810e"},
		{"complicated", map[string]string{"keep/.keep": "", ".keep": "", "aa": "->/nix/store/somewhereelse"}, ".", 4, "3f951a15afd586fb3121ef4d13d582e811ce0e5a7f21c0497fd87490e9e2355a", "424a7f6ce08d805d15b428062faae96299a1675d708c3a39261afe38cdd04feb"},
		{"B", map[string]string{"a/": ""}, ".", 1, "8701f4722d8dae7f2c40fa003331b8437a3825f9e1bfd3a77998c64cc226b9cc", "8701f4722d8dae7f2c40fa003331b8437a3825f9e1bfd3a77998c64cc226b9cc"},
		{"C", map[string]string{"a/": "", "a'/": ""}, ".", 2, "78eb200ae0cc95d4ea954655fbcf91e285013a261310e161927f2401d2bca803", "78eb200ae0cc95d4ea954655fbcf91e285013a261310e161927f2401d2bca803"},
		{"D", map[string]string{"a/": "", "b/a/": ""}, ".", 3, "99922a5c1801805287a647af73bca0ed7352a5f7f373e54992795bcc4a235213", "76cd8b55b37333961c1778ba997e57df92e219926ae5a66c414b810331a77603"},
		{"E", map[string]string{"d/a/": "", "d/b/a/": ""}, ".", 4, "f71882b0f23c198c0fde9af0fb49d9cb797ce1db3a645fcf2760e955ab605d3e", "333c798237cae53a66655761fa232338cc20d1ac45a08e519204eec0bc739103"},
		{"nested", nested, ".", 9, "eb78e61c554edabe6e4475140f713744756055902648938cd164cf4e9922d660", "7763105d9dc4b39fac12feb4a9ee6284c2e5bffed48ba1f0ab7afd3f45e52ec9"},
		{"with symlink", nested, "nested", 6, "9ab0e05253167373594f33e63ea3ca46119d8dc9b1336b111aba20903ad7a8d5", "9ab0e05253167373594f33e63ea3ca46119d8dc9b1336b111aba20903ad7a8d5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			for path, content := range tt.tree {
				if err := plant(filepath.Join(dir, path), strings.HasSuffix(path, "/"), content); err != nil {
					t.Fatal(err)
				}
			}
			for rule, want := range map[store.SizeRule]string{store.SizeDocumented: tt.documented, store.SizeSnix: tt.snix} {
				r, err := ingest.FS(context.Background(), nil, filepath.Join(dir, tt.root), ingest.Options{SizeRule: rule})
				if err != nil || r.Root.Digest.String() != want {
					t.Errorf("size rule %v: digest %v, error %v; want %s", rule, r.Root.Digest, err, want)
				}
				if size := tt.size; rule == store.SizeDocumented && r.Root.Size != size {
					t.Errorf("size %d, want %d", r.Root.Size, size)
				}
			}
		})
	}
}

// plant makes an entry and the directories above it.
func plant(path string, isDir bool, content string) error {
	if isDir {
		return os.MkdirAll(path, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if target, ok := strings.CutPrefix(content, "->"); ok {
		return os.Symlink(target, path)
	}
	return os.WriteFile(path, []byte(content), 0o644)
}

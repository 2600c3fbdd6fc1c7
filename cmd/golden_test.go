package cmd

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"castar/export"
	"castar/ingest"
	"castar/store"
	"castar/store/config"
	"castar/store/memory"
	"castar/store/packed"
	"castar/store/rpc/server"
	"castar/store/storetest"
	"castar/store/tree"
)

const (
	goldenRoot       = "5db67f1c8d85f7493907e2b3013e2a42390c07b83d67f2896b4a26bda732d964"
	goldenDocumented = "76db52acb1d55465f2cc2c47301f45cff8c4c1962d7f867b04cc8d9357144d22"
	goldenSize       = 62
)

// goldenStore names the store that tvix and snix wrote.
func goldenStore(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../testdata/golden/store")
	if err != nil {
		t.Fatal(err)
	}
	return "objectstore+file:" + path
}

func openStore(t *testing.T, spec string, o config.Options) *store.Store {
	t.Helper()
	st, err := config.Open(t.Context(), spec, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// golden returns the store that tvix and snix wrote, and the root of its tree.
func golden(t *testing.T) (*store.Store, store.Node) {
	t.Helper()
	st := openStore(t, goldenStore(t), config.Options{ReadOnly: true})
	r, err := tree.Resolve(t.Context(), st, goldenRoot)
	if err != nil {
		t.Fatal(err)
	}
	return st, r.Root
}

// manifest describes a tree as testdata/golden/manifest.tsv does.
func manifest(t *testing.T, st *store.Store, root store.Node) string {
	t.Helper()
	type line struct{ path, text string }
	var lines []line
	for e, err := range tree.Walk(t.Context(), st.Directories, root, -1) {
		if err != nil {
			t.Fatal(err)
		}
		n := e.Node
		kind, x, size, name, chunks := "d", "-", fmt.Sprint(n.Size), n.Digest.String(), "-"
		switch n.Kind {
		case store.KindSymlink:
			kind, size, name = "l", "-", n.Target
		case store.KindFile:
			kind = "f"
			if n.Executable {
				x = "x"
			}
			list, err := st.Blobs.Chunks(t.Context(), n.Digest)
			if err != nil {
				t.Fatal(err)
			}
			chunks = fmt.Sprint(max(len(list), min(1, int(n.Size))))
		}
		if e.Depth > 0 {
			lines = append(lines, line{e.Path, strings.Join([]string{kind, x, size, name, chunks, printable(e.Path)}, "\t") + "\n"})
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.path, b.path) })
	var all strings.Builder
	for _, l := range lines {
		all.WriteString(l.text)
	}
	return all.String()
}

func printable(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// objectsIn returns what tvix and snix would find in a folder: the names of objects with their contents, which they compress
// as they like.
func objectsIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	all := map[string]string{}
	for _, part := range []string{"blobs", "chunks", "dirs"} {
		err := filepath.WalkDir(filepath.Join(dir, part), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err == nil && part != "blobs" {
				data, err = dec.DecodeAll(data, nil)
			}
			name, rerr := filepath.Rel(dir, path)
			if err != nil || rerr != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			all[filepath.ToSlash(name)] = store.Sum(data).String()
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func wantGolden(t *testing.T, dir string) {
	t.Helper()
	want := objectsIn(t, "../testdata/golden/store")
	if len(want) != 14+21+1 {
		t.Fatalf("%d golden objects", len(want))
	}
	if diff := cmp.Diff(want, objectsIn(t, dir)); diff != "" {
		t.Errorf("theirs -, ours +:\n%s", diff)
	}
}

// TestGolden reads what tvix and snix wrote, all of it, and writes the same.
func TestGolden(t *testing.T) {
	st, root := golden(t)
	if root.Size != goldenSize || st.SizeRule != store.SizeDocumented {
		t.Errorf("size %d, want %d", root.Size, goldenSize)
	}
	want, err := os.ReadFile("../testdata/golden/manifest.tsv")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), manifest(t, st, root)); diff != "" {
		t.Errorf("theirs -, ours +:\n%s", diff)
	}
	result, err := tree.Verify(t.Context(), st, tree.VerifyOptions{Roots: []tree.Root{{Name: "golden", Node: root}}}, func(f tree.Finding) {
		t.Errorf("finding: %s %s: %v", f.What, f.Digest, f.Err)
	})
	if err != nil || result.Directories != 10 || result.Files != 15 || result.Assembled != 4 {
		t.Errorf("verify: %+v, %v", result, err)
	}

	dir := t.TempDir()
	if _, err := export.Dir(t.Context(), st, root, filepath.Join(dir, "out"), export.Options{}); err != nil {
		t.Fatal(err)
	}
	to := openStore(t, "objectstore+file:"+filepath.Join(dir, "objects")+"?size_rule=snix", config.Options{Create: true})
	r, err := ingest.FS(t.Context(), to, filepath.Join(dir, "out"), ingest.Options{SizeRule: to.SizeRule})
	if err == nil {
		err = to.Sync(t.Context())
	}
	if err != nil || r.Root != root {
		t.Errorf("ingest: %v, %v", r.Root, err)
	}
	wantGolden(t, filepath.Join(dir, "objects"))
}

// goldenKinds are stores of every kind, by name.
func goldenKinds(t *testing.T) map[string]func(t *testing.T) *store.Store {
	at := func(spec string) func(t *testing.T) *store.Store {
		return func(t *testing.T) *store.Store {
			return openStore(t, strings.ReplaceAll(spec, "DIR", t.TempDir()), config.Options{Create: true})
		}
	}
	server := func(pkg string, st func(t *testing.T) *store.Store) func(t *testing.T) *store.Store {
		return func(t *testing.T) *store.Store {
			return openStore(t, "grpc+unix:"+startServer(t, st(t))+"?package="+pkg, config.Options{})
		}
	}
	return map[string]func(t *testing.T) *store.Store{
		"packed":         at("DIR/store"),
		"memory":         at("memory:"),
		"objects":        at("objectstore+file:DIR/objects"),
		"memory objects": at("objectstore+memory:"),
		"cache":          at("cache:?near=DIR/near&far=packed:DIR/far&write_through=true"),
		"cache objects":  at("cache:?near=memory:&far=objectstore%2Bfile:DIR/far&write_through=true"),
		"grpc tvix":      server("tvix", at("DIR/store")),
		"grpc snix":      server("snix", at("objectstore+file:DIR/objects")),
	}
}

// startServer serves st at a socket.
func startServer(t *testing.T, st *store.Store) (sock string) {
	t.Helper()
	sock = filepath.Join(shortDir(t), "s")
	s, err := server.New(st, server.Options{AllowPut: true})
	if err != nil {
		t.Fatal(err)
	}
	l, err := listen("unix:" + sock)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		<-done
	})
	return sock
}

// TestGoldenThroughStores copies what tvix and snix wrote into stores of every kind, and from there to a folder, where they
// find what they wrote; and back by the other size rule and by theirs again.
func TestGoldenThroughStores(t *testing.T) {
	from, root := golden(t)
	copyTo := func(t *testing.T, from, to *store.Store, root store.Node, rule *store.SizeRule) store.Node {
		t.Helper()
		c := tree.NewCopier(from, to, tree.CopyOptions{SizeRule: rule, Problem: func(path string, err error) {
			t.Errorf("%s: %v", path, err)
		}})
		err := c.Copy(t.Context(), tree.Root{Name: "golden", Node: root})
		if err == nil {
			err = to.Sync(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return c.As(root)
	}
	for name, open := range goldenKinds(t) {
		t.Run(name, func(t *testing.T) {
			if name != "cache objects" {
				storetest.NotUnderRace(t)
			}
			middle, dir := open(t), t.TempDir()
			if as := copyTo(t, from, middle, root, nil); as != root {
				t.Errorf("copied as %v", as)
			}
			r, err := tree.Resolve(t.Context(), middle, goldenRoot)
			if err != nil || r.Root != root {
				t.Errorf("found %v, %v", r.Root, err)
			}
			copyTo(t, middle, openStore(t, "objectstore+file:"+dir+"/1", config.Options{Create: true}), root, nil)
			wantGolden(t, dir+"/1")

			documented, snix := store.SizeDocumented, store.SizeSnix
			other := copyTo(t, from, middle, root, &documented)
			if other.Digest.String() != goldenDocumented || other.Size != goldenSize/2 {
				t.Errorf("by the documented rule it is %v", other)
			}
			back := copyTo(t, middle, openStore(t, "objectstore+file:"+dir+"/2", config.Options{Create: true}), other, &snix)
			if back != root {
				t.Errorf("and back %v", back)
			}
			wantGolden(t, dir+"/2")
		})
	}
}

// The size of a root that is found by its digest is counted by the rule that the tree follows, or that is known of it.
func TestGoldenSize(t *testing.T) {
	from, root := golden(t)
	flat := store.Directory{{Name: "a", Kind: store.KindSymlink, Target: "x"}}
	size := func(st *store.Store, d store.Digest) uint64 {
		t.Helper()
		r, err := tree.Resolve(t.Context(), st, d.String())
		if err != nil {
			t.Fatal(err)
		}
		return r.Root.Size
	}
	if n := size(from, root.Digest); n != goldenSize {
		t.Errorf("golden: %d", n)
	}
	for _, rule := range []store.SizeRule{store.SizeDocumented, store.SizeSnix} {
		st, err := packed.Open(t.Context(), t.TempDir(), packed.Options{Create: true, SizeRule: rule})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		d, err := st.Directories.Put(t.Context(), flat)
		if err != nil {
			t.Fatal(err)
		}
		want, _ := flat.Size(rule)
		if n := size(st, d); n != want {
			t.Errorf("of a store with rule %v: %d, want %d", rule, n, want)
		}
	}
	st := memory.New()
	d, err := st.Directories.Put(t.Context(), flat)
	if err != nil {
		t.Fatal(err)
	}
	for _, recorded := range []struct{ says, want uint64 }{{1, 1}, {2, 2}, {0, 1}, {7, 1}} {
		node := store.Node{Kind: store.KindDirectory, Digest: d, Size: recorded.says}
		if err := st.Tags.Set(t.Context(), store.Tag{Name: "x", Root: node}); err != nil {
			t.Fatal(err)
		}
		if n := size(st, d); n != recorded.want {
			t.Errorf("recorded with %d: %d, want %d", recorded.says, n, recorded.want)
		}
	}
}

package cmd

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"castar/store"
	"castar/store/packed"
)

// A tree of few directories may have more paths than anyone can walk. What matches in it is found all the same, also by a
// pattern that is matched with whole paths. Without that, this test does not end.
func TestFindShared(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "store")
	st, err := packed.Open(ctx, dir, packed.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	put := func(name string, entries ...store.Node) store.Node {
		t.Helper()
		d, err := st.Directories.Put(ctx, entries)
		if err != nil {
			t.Fatal(err)
		}
		size, err := store.Directory(entries).Size(store.SizeDocumented)
		if err != nil {
			t.Fatal(err)
		}
		return store.Node{Name: name, Kind: store.KindDirectory, Digest: d, Size: size}
	}
	d, err := st.Blobs.Put(ctx, []byte("text"))
	if err != nil {
		t.Fatal(err)
	}
	below := put("", store.Node{Name: "f", Kind: store.KindFile, Digest: d, Size: 4})
	for range 30 {
		a, b := below, below
		a.Name, b.Name = "a", "b"
		below = put("", a, b)
	}
	some := put("", store.Node{Name: "found", Kind: store.KindFile, Digest: d, Size: 4})
	deep := put("deep", store.Node{Name: "x", Kind: store.KindDirectory, Digest: some.Digest, Size: some.Size})
	a := below
	a.Name = "a"
	root := put("", a, deep)
	tag := store.Tag{Name: "t", Root: root}
	for _, err := range []error{st.Sync(ctx), st.Tags.Record(ctx, tag), st.Tags.Set(ctx, tag)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for pattern, want := range map[string]string{
		"a/**/nothing": "", "a/*/b/nothing": "", "/a/**/x/found": "", "**/x/found": "deep/x/found", "deep/**": "deep/x/ deep/x/found",
		"/a/b/a/b/**/c/*": "", "a/b/a": "a/b/a/",
	} {
		status, out, stderr := castar("-s", dir, "find", "t", pattern)
		if got := strings.Join(strings.Fields(out), " "); status != 0 || got != want {
			t.Errorf("%s: found %q, want %q; status %d %s", pattern, got, want, status, stderr)
		}
		status, out, stderr = castar("-s", dir, "find", "--all", pattern)
		if status != 0 || strings.Count(out, "\n") != len(strings.Fields(want)) {
			t.Errorf("--all %s: found %q, want %q; status %d %s", pattern, out, want, status, stderr)
		}
	}
}

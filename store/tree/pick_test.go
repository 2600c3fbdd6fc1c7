package tree

import (
	"path"
	"slices"
	"testing"

	"castar/store"
	"castar/store/memory"
)

// A directory stays if it is taken or something in it is; what is left has a digest and a size of its own.
func TestPick(t *testing.T) {
	ctx, st := t.Context(), memory.New()
	put := func(dir store.Directory) store.Node {
		message, err := store.EncodeDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := dir.Size(store.SizeDocumented)
		d, err := st.Directories.Put(ctx, dir)
		if err != nil || d != store.Sum(message) {
			t.Fatal(d, err)
		}
		return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
	}
	named := func(name string, n store.Node) store.Node { n.Name = name; return n }
	file := func(name string) store.Node {
		return store.Node{Kind: store.KindFile, Name: name, Digest: store.Sum(nil)}
	}
	empty := put(store.Directory{})
	sub := put(store.Directory{named("empty", empty), file("x"), file("y")})
	root := put(store.Directory{named("a", sub), named("b", sub), named("c", empty)})
	ds, got, err := Pick(ctx, st.Directories, root, func(p string, n *store.Node, taken bool) Choice {
		switch {
		case path.Base(p) == "y":
			return LeaveOut
		case taken || p == "a" || p == "c":
			return Take
		}
		return LookIn
	}, func(dir string) string { return dir })
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for e, err := range Walk(ctx, ds, got, -1) {
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, e.Path)
	}
	if want := []string{"", "a", "a/empty", "a/x", "c"}; !slices.Equal(paths, want) || got.Size != 4 {
		t.Errorf("%q of size %d, want %q", paths, got.Size, want)
	}
}

// A tree of a few directories that has more paths than anyone can walk takes the time of its directories.
func TestPickShared(t *testing.T) {
	ctx, st := t.Context(), memory.New()
	var n store.Node
	for level := range 50 {
		var dir store.Directory
		if level > 0 {
			a, b := n, n
			a.Name, b.Name = "a", "b"
			dir = store.Directory{a, b}
		}
		size, err := dir.Size(store.SizeDocumented)
		if err != nil {
			t.Fatal(err)
		}
		d, err := st.Directories.Put(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		n = store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
	}
	asked := 0
	_, _, err := Pick(ctx, st.Directories, n, func(string, *store.Node, bool) Choice {
		asked++
		return LookIn
	}, func(dir string) string { return path.Base(dir) })
	if err != nil || asked > 500 {
		t.Errorf("asked of %d entries, error %v", asked, err)
	}
}

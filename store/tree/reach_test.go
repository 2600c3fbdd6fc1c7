package tree_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// marks is a store.ObjectSet that takes everything but missing.
type marks struct {
	mu      sync.Mutex
	has     map[string]bool
	missing store.Digest
}

func (m *marks) Add(k store.Kind, d store.Digest) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d == m.missing {
		return false, fmt.Errorf("%s: %w", d, store.ErrNotFound)
	}
	key := fmt.Sprint(k, d)
	added := !m.has[key]
	m.has[key] = true
	return added, nil
}

func (m *marks) Has(k store.Kind, d store.Digest) bool { return m.has[fmt.Sprint(k, d)] }

// countedReads counts how often directories are read.
type countedReads struct {
	store.Directories
	mu      sync.Mutex
	reads   map[store.Digest]int
	chunked chunked
}

// chunked has one blob in chunks.
type chunked struct {
	store.Blobs
	whole store.Digest
	parts []store.Chunk
}

func (c *countedReads) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	c.mu.Lock()
	c.reads[d]++
	c.mu.Unlock()
	return c.Directories.Get(ctx, d)
}

func (c *chunked) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if d == c.whole {
		return c.parts, nil
	}
	return c.Blobs.Chunks(ctx, d)
}

// reachSample returns a store with a tree of five directories, one of them in two directories.
func reachSample(t *testing.T) (st *store.Store, c *countedReads, root store.Node) {
	t.Helper()
	ctx, st := t.Context(), memory.New()
	blob := func(text string) store.Digest {
		d, err := st.Blobs.Put(ctx, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	put := func(dir store.Directory) store.Node {
		d, err := st.Directories.Put(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		size, _ := dir.Size(store.SizeDocumented)
		return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
	}
	named := func(n store.Node, name string) store.Node { n.Name = name; return n }
	file := func(name, text string) store.Node {
		return store.Node{Kind: store.KindFile, Name: name, Digest: blob(text), Size: uint64(len(text))}
	}
	shared := put(store.Directory{file("f", "shared"), {Kind: store.KindSymlink, Name: "l", Target: "f"}})
	a := put(store.Directory{file("big", "big"), named(shared, "s")})
	root = put(store.Directory{named(a, "a"), named(put(store.Directory{named(shared, "s")}), "b"), named(put(nil), "empty")})
	c = &countedReads{Directories: st.Directories, reads: map[store.Digest]int{}, chunked: chunked{Blobs: st.Blobs, whole: blob("big")}}
	c.chunked.parts = []store.Chunk{{Digest: blob("b"), Size: 1}, {Digest: blob("ig"), Size: 2}}
	st.Directories, st.Blobs = c, &c.chunked
	return st, c, root
}

func TestMark(t *testing.T) {
	st, c, root := reachSample(t)
	d, err := st.Blobs.Put(t.Context(), []byte("lone"))
	if err != nil {
		t.Fatal(err)
	}
	link := store.Node{Kind: store.KindSymlink, Target: "nowhere"}
	set := &marks{has: map[string]bool{}}
	roots := []tree.Root{{"t", root}, {"u", root}, {"lone", store.Node{Kind: store.KindFile, Digest: d, Size: 4}}, {"link", link}}
	if err := tree.Mark(t.Context(), st, roots, set); err != nil {
		t.Fatal(err)
	}
	if len(set.has) != 5+3+2 { // directories; big, shared and lone; the chunks of big
		t.Errorf("%d objects are marked: %v", len(set.has), set.has)
	}
	if len(c.reads) != 5 {
		t.Errorf("%d directories were read", len(c.reads))
	}
	for d, n := range c.reads {
		if n != 1 {
			t.Errorf("directory %s was read %d times", d, n)
		}
	}
}

// TestMarkMissing asserts that an error names a path that leads to what is missing.
func TestMarkMissing(t *testing.T) {
	st, c, root := reachSample(t)
	dir, err := st.Directories.Get(t.Context(), root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		missing store.Digest
		want    string
	}{
		{root.Digest, "t: "},
		{dir[0].Digest, "t:a: "},
		{c.chunked.whole, "t:a/big: "},
		{c.chunked.parts[1].Digest, "t:a/big: chunk "},
	} {
		err := tree.Mark(t.Context(), st, []tree.Root{{"t", root}}, &marks{has: map[string]bool{}, missing: tt.missing})
		if !errors.Is(err, store.ErrNotFound) || !strings.HasPrefix(err.Error(), tt.want+tt.missing.String()) {
			t.Errorf("got %v, want %s...", err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.Mark(ctx, st, []tree.Root{{"t", root}}, &marks{has: map[string]bool{}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

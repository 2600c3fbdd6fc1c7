package tree

import (
	"context"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/memory"
)

// countedGets counts how many directories are read.
type countedGets struct {
	store.Directories
	mu sync.Mutex
	n  int
}

func (c *countedGets) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
	return c.Directories.Get(ctx, d)
}

// without leaves out entries by name.
type without string

func (w without) Key(Path) any { return w }

func (w without) Enter(_ context.Context, _ Path, dir store.Directory) (kept store.Directory, below Filter, err error) {
	for _, n := range dir {
		if n.Name != string(w) {
			kept = append(kept, n)
		}
	}
	return kept, w, nil
}

// atPath leaves out the entry at one path.
type atPath string

func (p atPath) Key(path Path) any {
	if strings.HasPrefix(string(p), path.String()) {
		return nil
	}
	return p
}

func (p atPath) Enter(_ context.Context, path Path, dir store.Directory) (kept store.Directory, below Filter, err error) {
	for _, n := range dir {
		if strings.TrimPrefix(path.String()+"/"+n.Name, "/") != string(p) {
			kept = append(kept, n)
		}
	}
	return kept, p, nil
}

// TestFilterShared filters trees of 40 directories and 2^40 paths. What is left has to be stored as a tree without the
// entry would be.
func TestFilterShared(t *testing.T) {
	const levels = 40
	st := memory.New()
	gets := &countedGets{Directories: st.Directories}
	put := func(names ...string) Side {
		var bottom store.Directory
		for _, name := range names {
			bottom = append(bottom, leaf(t, st, name, name)...)
		}
		return Side{gets, nest(t, st, levels, bottom, store.SizeDocumented, "a", "b")}
	}
	plain, more, other := put("f"), put("f", "left out"), put("f", "g", "left out")
	for _, o := range []FilterOptions{
		{Filters: [2]Filter{without("left out"), without("left out")}, Whole: true},
		{Filters: [2]Filter{without("left out"), without("left out")}},
		{Filters: [2]Filter{without("left out"), nil}},
	} {
		gets.n = 0
		got, err := FilterSides(t.Context(), [2]Side{more, other}, o)
		if err != nil || got[0].Root != plain.Root {
			t.Errorf("%+v: got %v, %v, want %v", o, got[0].Root, err, plain.Root)
		}
		if gets.n > 2*levels+4 {
			t.Errorf("%+v: %d directories read", o, gets.n)
		}
	}
	// A filter whose answers depend on the path is asked on the way there.
	gets.n = 0
	path := strings.Repeat("a/", levels-1) + "f"
	got, err := FilterSides(t.Context(), [2]Side{plain, plain}, FilterOptions{Filters: [2]Filter{atPath(path), nil}, Whole: true})
	if err != nil || gets.n > 2*levels+4 {
		t.Errorf("%d directories read, %v", gets.n, err)
	}
	var changes []string
	for c, err := range Diff(t.Context(), plain, got[0], DiffOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, string(c.Op)+c.Path)
	}
	if len(changes) != 1 || changes[0] != "-"+path {
		t.Errorf("changes %v, want one at %s", changes, path)
	}
}

// TestFilterDeep filters trees as deep as they may be. Twice the depth must not take much more than twice the memory.
func TestFilterDeep(t *testing.T) {
	st := memory.New()
	name := strings.Repeat("n", 200)
	bottom := append(leaf(t, st, "f", "f"), leaf(t, st, "left out", "x")...)
	var bytes [2]uint64
	for i, levels := range []int{store.MaxDepth / 2, store.MaxDepth} {
		gets := &countedGets{Directories: st.Directories}
		side := Side{gets, nest(t, st, levels, bottom, store.SizeDocumented, name)}
		want := nest(t, st, levels, leaf(t, st, "f", "f"), store.SizeDocumented, name)
		bytes[i] = allocated(func() {
			got, err := FilterSides(t.Context(), [2]Side{side, side}, FilterOptions{Filters: [2]Filter{without("left out"), nil}, Whole: true})
			if err != nil || got[0].Root != want {
				t.Errorf("%d levels: got %v, %.300v, want %v", levels, got[0].Root, err, want)
			}
		})
		if gets.n > levels+4 {
			t.Errorf("%d levels: %d directories read", levels, gets.n)
		}
	}
	if bytes[1] > 3*bytes[0] {
		t.Errorf("%d bytes, and %d at twice the depth", bytes[0], bytes[1])
	}
}

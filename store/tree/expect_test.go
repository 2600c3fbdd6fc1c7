package tree_test

import (
	"context"
	"iter"
	"slices"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// far is the parts of a remote store. It notes what will be read.
type far struct {
	blobs       store.Blobs
	files       [][]store.Digest
	directories []store.Digest
	groups      store.Grouper // nil: there are none
}

func (f *far) HasAll(ctx context.Context, ds []store.Digest) (has []bool, err error) {
	for _, d := range ds {
		is, err := f.blobs.Has(ctx, d)
		if err != nil {
			return nil, err
		}
		has = append(has, is)
	}
	return has, nil
}

func (f *far) Group(ctx context.Context, d store.Digest) (store.Group, error) {
	if f.groups == nil {
		return store.Group{}, store.ErrUnsupported
	}
	return f.groups.Group(ctx, d)
}

func (f *far) Expect(_ context.Context, ds iter.Seq[store.Digest]) {
	for range ds {
		break // whoever takes no more must be able to stop
	}
	f.files = append(f.files, slices.Collect(ds))
}

// farDirectories is the same for directories.
type farDirectories struct{ *far }

func (f farDirectories) Expect(_ context.Context, root store.Digest) {
	f.directories = append(f.directories, root)
}

func newFar() (*store.Store, *far) {
	st := memory.New()
	f := &far{blobs: st.Blobs}
	st.RemoteBlobs, st.RemoteDirectories = f, farDirectories{f}
	return st, f
}

// Commands that read a whole tree of a remote store say so, and name the files in the order of Walk.
func TestExpect(t *testing.T) {
	files := map[string]string{"a": "1", "b/c": "2", "b/d/e": "3", "b-": "4", "z": "5"}
	order := []string{"1", "4", "2", "3", "5"}
	for name, tt := range map[string]struct {
		read func(st *store.Store, root store.Node) error
		want []string
	}{
		"verify": {func(st *store.Store, root store.Node) error {
			_, err := tree.Verify(t.Context(), st, tree.VerifyOptions{Roots: []tree.Root{{Node: root}}}, func(f tree.Finding) { t.Error(f) })
			return err
		}, order},
		"copy": {func(st *store.Store, root store.Node) error {
			to := memory.New()
			if _, err := to.Blobs.Put(t.Context(), []byte("3")); err != nil {
				return err
			}
			return tree.NewCopier(st, to, tree.CopyOptions{}).Copy(t.Context(), tree.Root{Node: root})
		}, []string{"1", "4", "2", "5"}},
	} {
		st, f := newFar()
		root := putTree(t, st, files)
		if err := tt.read(st, root); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var want []store.Digest
		for _, data := range tt.want {
			want = append(want, store.Sum([]byte(data)))
		}
		if len(f.files) != 1 || !slices.Equal(f.files[0], want) || !slices.Contains(f.directories, root.Digest) {
			t.Errorf("%s: expects %v and %v", name, f.files, f.directories)
		}
	}
}

// What is read of a tree in part is not expected before much of it was read.
func TestDiffExpects(t *testing.T) {
	for _, n := range []int{3, 200} {
		st := memory.New()
		old, new := map[string]string{}, map[string]string{}
		for i := range n {
			dir := string(rune('a'+i%20)) + string(rune('a'+i/20)) + "/f"
			old[dir], new[dir] = "old "+dir, "new "+dir
		}
		var many []int
		o := tree.DiffOptions{NoRenames: true, Many: func(side int) { many = append(many, side) }}
		a := tree.Side{Directories: st.Directories, Root: putTree(t, st, old)}
		b := tree.Side{Directories: st.Directories, Root: putTree(t, st, new)}
		for _, err := range tree.Diff(t.Context(), a, b, o) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if slices.Sort(many); n < 10 && many != nil || n > 100 && !slices.Equal(many, []int{0, 1}) {
			t.Errorf("%d directories: many of %v", n, many)
		}
	}
}

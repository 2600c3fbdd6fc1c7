package tree_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// hiding is Blobs that lacks one.
type hiding struct {
	store.Blobs
	d store.Digest
}

func (h hiding) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	if d == h.d {
		return nil, store.ErrNotFound
	}
	return h.Blobs.Open(ctx, d)
}

// full is Blobs that takes only so many.
type full struct {
	store.Blobs
	left atomic.Int64
}

var errFull = errors.New("disk full")

func (f *full) Put(ctx context.Context, data []byte) (store.Digest, error) {
	if f.left.Add(-1) < 0 {
		return store.Digest{}, errFull
	}
	return f.Blobs.Put(ctx, data)
}

// complete returns an error if st lacks a part of a closure.
func complete(ctx context.Context, st *store.Store, root store.Node) error {
	for nd, err := range st.Directories.Walk(ctx, root.Digest) {
		if err != nil {
			return err
		}
		for _, n := range nd.Directory {
			if n.Kind != store.KindFile {
				continue
			}
			if has, err := st.Blobs.Has(ctx, n.Digest); err != nil || !has {
				return errors.Join(err, errors.New(n.Name+" is missing"))
			}
		}
	}
	return nil
}

func TestCopy(t *testing.T) {
	ctx := t.Context()
	from, _, root := reachSample(t)
	to := memory.New()
	var counts tree.CopyCounts
	for i := range 2 {
		c := tree.NewCopier(from, to, tree.CopyOptions{Progress: &counts, Jobs: 2})
		for range 2 {
			if err := c.Copy(ctx, tree.Root{Name: "t", Node: root}); err != nil {
				t.Fatal(err)
			}
		}
		if err := complete(ctx, to, root); err != nil {
			t.Fatal(err)
		}
		got := []uint64{counts.Directories.Load(), counts.Blobs.Load(), counts.NewDirectories.Load(), counts.NewBlobs.Load(), counts.NewBytes.Load()}
		if want := []uint64{uint64(i+1) * 5, uint64(i+1) * 2, 5, 2, 9}; !slices.Equal(got, want) {
			t.Errorf("counts %v, want %v", got, want)
		}
	}
}

// TestCopyDryRun asserts that a dry run counts the same and copies nothing.
func TestCopyDryRun(t *testing.T) {
	from, _, root := reachSample(t)
	to := memory.New()
	var counts tree.CopyCounts
	c := tree.NewCopier(from, to, tree.CopyOptions{DryRun: true, Progress: &counts})
	if err := c.Copy(t.Context(), tree.Root{Name: "t", Node: root}); err != nil {
		t.Fatal(err)
	}
	if counts.NewBlobs.Load() != 2 || counts.NewDirectories.Load() != 5 {
		t.Errorf("%d blobs, %d directories", counts.NewBlobs.Load(), counts.NewDirectories.Load())
	}
	for d := range to.Lister.List(t.Context(), store.Digest{}, 0) {
		t.Errorf("copied %s", d)
	}
}

// TestCopyDamagedSource asserts that Copy names what the source lacks, copies the rest, and does not call the root
// whole, nor another root that lacks the same.
func TestCopyDamagedSource(t *testing.T) {
	from, sample, root := reachSample(t)
	from.Blobs = hiding{from.Blobs, sample.chunked.whole}
	to := memory.New()
	var problems []string
	c := tree.NewCopier(from, to, tree.CopyOptions{Problem: func(path string, err error) {
		if !store.IsNotFound(err) {
			t.Error(err)
		}
		problems = append(problems, path)
	}})
	dir, err := from.Directories.Get(t.Context(), root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []store.Node{root, {Kind: store.KindDirectory, Digest: dir[0].Digest}} {
		if err := c.Copy(t.Context(), tree.Root{Name: "t", Node: n}); !errors.Is(err, tree.ErrIncomplete) {
			t.Errorf("got %v", err)
		}
	}
	if strings.Join(problems, " ") != "t:a/big" {
		t.Errorf("problems %q", problems)
	}
	if err := complete(t.Context(), to, dir[1]); err != nil {
		t.Errorf("the rest: %v", err)
	}
	if _, err := to.Directories.Get(t.Context(), root.Digest); !store.IsNotFound(err) {
		t.Errorf("root: %v", err)
	}
}

// TestCopyWrong asserts that a wrong size is damage even if the bytes are right, and so is a missing directory.
func TestCopyWrong(t *testing.T) {
	ctx, from := t.Context(), memory.New()
	d, err := from.Blobs.Put(ctx, bytes.Repeat([]byte("x"), 2<<20))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []store.Node{
		{Kind: store.KindFile, Digest: d, Size: 2<<20 + 1},
		{Kind: store.KindFile, Digest: d, Size: 5},
		{Kind: store.KindDirectory, Digest: d},
	} {
		to := memory.New()
		problems := 0
		c := tree.NewCopier(from, to, tree.CopyOptions{Problem: func(string, error) { problems++ }})
		if err := c.Copy(ctx, tree.Root{Name: "t", Node: n}); !errors.Is(err, tree.ErrIncomplete) || problems != 1 {
			t.Errorf("%v: %v, %d problems", n, err, problems)
		}
		if has, _ := to.Blobs.Has(ctx, d); has {
			t.Errorf("%v: copied", n)
		}
	}
}

// TestCopyGoesOn asserts that a destination that fails ends the copy with its error, and that the next copy goes on.
func TestCopyGoesOn(t *testing.T) {
	from, _, root := reachSample(t)
	to := memory.New()
	sound := to.Blobs
	limited := &full{Blobs: sound}
	limited.left.Store(1)
	to.Blobs = limited
	if err := tree.NewCopier(from, to, tree.CopyOptions{}).Copy(t.Context(), tree.Root{Name: "t", Node: root}); !errors.Is(err, errFull) {
		t.Fatalf("got %v", err)
	}
	to.Blobs = sound
	var counts tree.CopyCounts
	if err := tree.NewCopier(from, to, tree.CopyOptions{Progress: &counts}).Copy(t.Context(), tree.Root{Name: "t", Node: root}); err != nil {
		t.Fatal(err)
	}
	if counts.NewBlobs.Load() != 1 {
		t.Errorf("%d blobs were copied again", counts.NewBlobs.Load())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tree.NewCopier(from, memory.New(), tree.CopyOptions{}).Copy(ctx, tree.Root{Name: "t", Node: root}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCopyChecksSizes asserts that a wrong recorded size is damage, whichever store knows the right one.
func TestCopyChecksSizes(t *testing.T) {
	ctx := t.Context()
	knowing := func() *store.Store { // how long its blobs are
		st := memory.New()
		st.Scrubber = scrubber{st.Blobs}
		return st
	}
	for _, kinds := range []struct {
		name     string
		from, to func() *store.Store
	}{{"neither knows", memory.New, memory.New}, {"source knows", knowing, memory.New}, {"destination knows", memory.New, knowing}} {
		from := kinds.from()
		put := func(dir store.Directory) store.Digest {
			t.Helper()
			d, err := from.Directories.Put(ctx, dir)
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		blob, err := from.Blobs.Put(ctx, []byte("12345"))
		if err != nil {
			t.Fatal(err)
		}
		file := func(name string, size uint64) store.Node {
			return store.Node{Name: name, Kind: store.KindFile, Digest: blob, Size: size}
		}
		below := put(store.Directory{file("a", 5), file("b", 5)})
		dir := func(name string, size uint64) store.Node {
			return store.Node{Name: name, Kind: store.KindDirectory, Digest: below, Size: size}
		}
		for _, tt := range []struct {
			name     string
			root     store.Node
			problems []string
		}{
			{"a root", dir("", 1), []string{"t"}},
			{"an excess", dir("", 9), nil},
			{"a directory", store.Node{Kind: store.KindDirectory, Digest: put(store.Directory{dir("x", 2), dir("y", 1)}), Size: 9}, []string{"t:y"}},
			{"a file", store.Node{Kind: store.KindDirectory, Digest: put(store.Directory{file("x", 5), file("y", 6)}), Size: 2}, []string{"t:y"}},
		} {
			for _, rule := range []*store.SizeRule{nil, new(store.SizeRule)} {
				to := kinds.to()
				for range 2 { // the second time the destination has the blob
					var problems []string
					var counts tree.CopyCounts
					c := tree.NewCopier(from, to, tree.CopyOptions{Jobs: 1, SizeRule: rule, Progress: &counts, Problem: func(path string, err error) {
						problems = append(problems, path)
						if _, ok := errors.AsType[*store.CorruptError](err); !ok {
							t.Errorf("%s: %v", path, err)
						}
					}})
					err := c.Copy(ctx, tree.Root{Name: "t", Node: tt.root})
					if n := counts.Unchecked.Load(); n > 0 {
						if kinds.name != "neither knows" {
							t.Errorf("%s, %s: %d sizes were not checked", kinds.name, tt.name, n)
						}
						continue
					}
					if errors.Is(err, tree.ErrIncomplete) != (tt.problems != nil) || !slices.Equal(problems, tt.problems) {
						t.Errorf("%s, %s: %v, problems %q, want %q", kinds.name, tt.name, err, problems, tt.problems)
					}
				}
			}
		}
	}
}

// TestCopyCountsWithoutQuestions asserts that a remote destination is not asked for directories above something new.
func TestCopyCountsWithoutQuestions(t *testing.T) {
	from, _, root := reachSample(t)
	to := memory.New()
	asked := &countedReads{Directories: to.Directories, reads: map[store.Digest]int{}}
	to.Directories, to.Far = asked, true
	for round, want := range []struct{ asked, isNew int }{{1, 5}, {5, 0}} { // only the empty one has nothing new in it
		clear(asked.reads)
		var counts tree.CopyCounts
		c := tree.NewCopier(from, to, tree.CopyOptions{Progress: &counts})
		if err := c.Copy(t.Context(), tree.Root{Name: "t", Node: root}); err != nil {
			t.Fatal(err)
		}
		if n := counts.NewDirectories.Load(); len(asked.reads) != want.asked || n != uint64(want.isNew) {
			t.Errorf("round %d: asked for %d directories, %d new; want %d, %d", round, len(asked.reads), n, want.asked, want.isNew)
		}
	}
}

// fixedSet is a set of a store that has all objects or none.
type fixedSet struct{ err error }

func (s fixedSet) Add(store.Kind, store.Digest) (bool, error) { return s.err == nil, s.err }
func (s fixedSet) Has(store.Kind, store.Digest) bool          { return false }

// TestCopyAsksSetFirst asserts that a near destination is not asked for directories that a set of it lacks.
func TestCopyAsksSetFirst(t *testing.T) {
	from, _, root := reachSample(t)
	to := memory.New()
	asked := &countedReads{Directories: to.Directories, reads: map[store.Digest]int{}}
	to.Directories = asked
	for round, want := range []struct {
		set          error
		asked, isNew int
	}{{store.ErrNotFound, 0, 5}, {nil, 5, 0}} {
		clear(asked.reads)
		to.NewSet = func() store.ObjectSet { return fixedSet{want.set} }
		var counts tree.CopyCounts
		c := tree.NewCopier(from, to, tree.CopyOptions{Progress: &counts})
		if err := c.Copy(t.Context(), tree.Root{Name: "t", Node: root}); err != nil {
			t.Fatal(err)
		}
		if n := counts.NewDirectories.Load(); len(asked.reads) != want.asked || n != uint64(want.isNew) {
			t.Errorf("round %d: asked for %d directories, %d new; want %d, %d", round, len(asked.reads), n, want.asked, want.isNew)
		}
	}
}

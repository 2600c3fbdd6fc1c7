package tree_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

func TestSizeRule(t *testing.T) {
	st := memory.New()
	below := files{"x": "1", "y": "2"}.put(st)
	sized := func(size uint64) store.Node {
		n := below
		n.Size = size
		return n
	}
	gone := store.Node{Kind: store.KindDirectory, Digest: store.Sum([]byte("gone")), Size: 1}
	tests := []struct {
		name    string
		root    store.Node
		rule    store.SizeRule
		known   bool
		entries uint64
	}{
		{"documented", putDir(t, st, store.Directory{named("d", sized(2))}), store.SizeDocumented, true, 3},
		{"snix", putDir(t, st, store.Directory{named("d", sized(4))}), store.SizeSnix, true, 3},
		{"neither", putDir(t, st, store.Directory{named("d", sized(3))}), 0, false, 4},
		{"leaves", below, 0, false, 2},
		{"empty", files{"d/": ""}.put(st), 0, false, 1},
		{"file", leaf(st, "", "1"), 0, false, 0},
	}
	for _, tt := range tests {
		rule, known, err := tree.SizeRule(t.Context(), st.Directories, tt.root)
		if err != nil || rule != tt.rule || known != tt.known {
			t.Errorf("%s: got %v, %v, %v", tt.name, rule, known, err)
		}
		if n, err := tree.CountEntries(t.Context(), st.Directories, tt.root, rule); err != nil || n != tt.entries {
			t.Errorf("%s: %d entries, want %d, %v", tt.name, n, tt.entries, err)
		}
	}
	for _, root := range []store.Node{gone, putDir(t, st, store.Directory{named("d", gone)})} {
		if _, _, err := tree.SizeRule(t.Context(), st.Directories, root); !store.IsNotFound(err) {
			t.Errorf("%v", err)
		}
	}
	if _, err := tree.CountEntries(t.Context(), st.Directories, gone, 0); !store.IsNotFound(err) {
		t.Errorf("%v", err)
	}
}

func TestFinder(t *testing.T) {
	st := memory.New()
	reads := &counting{Directories: st.Directories, reads: map[store.Digest]int{}}
	st.Directories = reads
	roots := []store.Node{
		files{"a/b/x": "1", "c/y": "2", "c/z": "3"}.put(st),
		files{"a/b/x": "1", "d": "@there"}.put(st),
		files{"c/y": "2", "c/z": "3", "d": "4"}.put(st),
		leaf(st, "", "1"),
		leaf(st, "", "@there"),
	}
	tests := []struct {
		name string
		node store.Node
		want [5]bool
	}{
		{"file", leaf(st, "x", "1"), [5]bool{true, true, false, true, false}},
		{"other bit", leaf(st, "x", "!1"), [5]bool{true, true, false, true, false}},
		{"directory", files{"y": "2", "z": "3"}.put(st), [5]bool{true, false, true, false, false}},
		{"symlink", leaf(st, "s", "@there"), [5]bool{false, true, false, false, true}},
		{"root", roots[0], [5]bool{true, false, false, false, false}},
		{"nowhere", leaf(st, "", "5"), [5]bool{}},
	}
	for _, tt := range tests {
		clear(reads.reads)
		f := tree.NewFinder(st, tt.node)
		for i, root := range roots {
			if got, err := f.In(t.Context(), root); err != nil || got != tt.want[i] {
				t.Errorf("%s in root %d: %v, %v", tt.name, i, got, err)
			}
		}
		for d, n := range reads.reads {
			if n > 2 { // a search that ends early has read ahead
				t.Errorf("%s: %s read %d times", tt.name, d, n)
			}
		}
	}
	gone := putDir(t, st, store.Directory{named("d", store.Node{Kind: store.KindDirectory, Digest: store.Sum([]byte("gone"))})})
	f := tree.NewFinder(st, roots[0])
	for _, root := range []store.Node{gone, gone, putDir(t, st, store.Directory{named("up", gone)})} {
		if _, err := f.In(t.Context(), root); !store.IsNotFound(err) { // each time
			t.Error(err)
		}
	}
}

// sizer says that every object takes 10 bytes, and a directory 1.
type sizer struct{}

func (sizer) Stored(_ context.Context, k store.Kind, _ store.Digest) (uint64, error) {
	if k == store.KindDirectory {
		return 1, nil
	}
	return 10, nil
}

// chunky keeps blobs of 8 bytes as two chunks.
type chunky struct{ store.Blobs }

func (c chunky) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	b, err := c.Open(ctx, d)
	if err != nil || b.Size() != 8 {
		return nil, err
	}
	data := make([]byte, 8)
	if _, err := b.Read(data); err != nil {
		return nil, err
	}
	return []store.Chunk{{Digest: store.Sum(data[:4]), Size: 4}, {Digest: store.Sum(data[4:]), Size: 4}}, nil
}

func TestUsage(t *testing.T) {
	st := memory.New()
	reads := &counting{Directories: st.Directories, reads: map[store.Digest]int{}}
	st.Directories, st.Blobs, st.Sizer = reads, chunky{st.Blobs}, sizer{}
	a := files{"x/1": "one", "x/2": "one", "y/1": "one", "y/2": "one", "big": "aaaabbbb", "l": "@x", "e/": ""}.put(st)
	b := files{"x/1": "one", "x/2": "one", "big": "aaaacccc", "two": "12"}.put(st)
	u := tree.NewUsage(st)
	counts, err := u.Add(t.Context(), a)
	if want := (store.Counts{Files: 5, Directories: 4, Symlinks: 1, Bytes: 20}); err != nil || counts != want {
		t.Errorf("got %+v, %v, want %+v", counts, err, want)
	}
	// Contents: one, aaaabbbb of the chunks aaaa and bbbb. Directories: the root, x which is y, and e.
	want := tree.Unique{Files: 2, Directories: 3, Chunks: 2, Bytes: 3 + 8, Stored: 4 * 10, StoredDirs: 3}
	want.Sizes[1] = 2
	if u.Unique != want {
		t.Errorf("got %+v, want %+v", u.Unique, want)
	}
	if counts, err = u.Add(t.Context(), b); err != nil || counts.Files != 4 || counts.Bytes != 16 {
		t.Errorf("got %+v, %v", counts, err)
	}
	want = tree.Unique{Files: 4, Directories: 4, Chunks: 3, Bytes: 3 + 12 + 2, Stored: 7 * 10, StoredDirs: 4, Sizes: want.Sizes}
	want.Sizes[1] = 4
	if u.Unique != want {
		t.Errorf("got %+v, want %+v", u.Unique, want)
	}
	for d, n := range reads.reads {
		if n > 3 {
			t.Errorf("%s read %d times", d, n)
		}
	}
	for _, root := range []store.Node{a, b, leaf(st, "", "12")} {
		if err := u.Own(t.Context(), root); err != nil {
			t.Fatal(err)
		}
	}
	// Of a alone: big, bbbb, the root and e. Of b alone: big, cccc and the root.
	for i, want := range []uint64{22, 21} {
		if got, err := u.Alone(t.Context(), []store.Node{a, b}[i]); err != nil || got != want {
			t.Errorf("root %d: %d alone, want %d, %v", i, got, want, err)
		}
	}
}

// TestUsageDoubling measures a tree of 2^100 files in 100 directories.
func TestUsageDoubling(t *testing.T) {
	st := memory.New()
	st.Sizer = sizer{}
	n := files{"f": "1"}.put(st)
	for range 100 {
		n.Size = 0 // would exceed what a size can be
		n = putDir(t, st, store.Directory{named("a", n), named("b", n)})
	}
	u := tree.NewUsage(st)
	counts, err := u.Add(t.Context(), n)
	if err != nil || counts.Files != math.MaxUint64 || u.Unique.Directories != 101 || u.Unique.Files != 1 {
		t.Errorf("got %+v, %+v, %v", counts, u.Unique, err)
	}
	if err := u.Own(t.Context(), n); err != nil {
		t.Error(err)
	}
}

func TestUsageMissing(t *testing.T) {
	st := memory.New()
	st.Sizer = sizer{}
	for _, n := range []store.Node{
		{Name: "d", Kind: store.KindDirectory, Digest: store.Sum([]byte("gone"))}, {Name: "f", Kind: store.KindFile, Digest: store.Sum(nil)},
	} {
		root := putDir(t, st, store.Directory{n})
		u := tree.NewUsage(st)
		if _, err := u.Add(t.Context(), root); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", n.Name, err)
		}
		if err := u.Own(t.Context(), root); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", n.Name, err)
		}
	}
}

// meetingBlobs answers questions about chunks only when several have come.
type meetingBlobs struct {
	store.Blobs
	come sync.WaitGroup
	asks atomic.Int32
}

func (m *meetingBlobs) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	m.asks.Add(1)
	m.come.Done()
	m.come.Wait()
	return m.Blobs.Chunks(ctx, d)
}

// A store that is far away is asked for the chunks of many files at once, and of none where only room is measured, which it
// cannot tell.
func TestUsageFar(t *testing.T) {
	const files = 100
	st := memory.New()
	all := map[string]string{}
	for i := range files {
		all[fmt.Sprintf("%d/%d", i%7, i)] = fmt.Sprint(i)
	}
	root := putTree(t, st, all)
	blobs := &meetingBlobs{Blobs: st.Blobs}
	blobs.come.Add(files)
	st.Blobs, st.Far = blobs, true
	u := tree.NewUsage(st)
	if counts, err := u.Add(t.Context(), root); err != nil || counts.Files != files || u.Unique.Bytes != 190 {
		t.Errorf("%+v, %+v, %v", counts, u.Unique, err)
	}
	usages, err := tree.DirUsages(t.Context(), st, root, 1)
	if n := len(usages); err != nil || n != 8 || usages[7].Counts.Files != files {
		t.Errorf("%+v, %v", usages, err)
	}
	if err := u.Own(t.Context(), root); err != nil {
		t.Error(err)
	}
	if n := blobs.asks.Load(); n != files {
		t.Errorf("%d questions, want %d", n, files)
	}
}

// chunkedBlobs has files in chunks, and one whose chunks cannot be read.
type chunkedBlobs struct {
	store.Blobs
	chunks map[store.Digest][]store.Chunk
	bad    store.Digest
}

func (b *chunkedBlobs) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if d == b.bad {
		return nil, &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return b.chunks[d], nil
}

// A file that cannot be read keeps no other file out of the count, wherever the store is.
func TestUsageAfterError(t *testing.T) {
	var counted [2]tree.Unique
	for i, far := range []bool{false, true} {
		st := memory.New()
		bad := putTree(t, st, map[string]string{"a": "bad", "b": "good1", "c": "good2"})
		good := putTree(t, st, map[string]string{"b": "good1", "c": "good2"})
		chunk := func(s string) store.Chunk { return store.Chunk{Digest: store.Sum([]byte(s)), Size: uint64(len(s))} }
		st.Blobs = &chunkedBlobs{st.Blobs, map[store.Digest][]store.Chunk{
			store.Sum([]byte("good1")): {chunk("go"), chunk("od1")},
			store.Sum([]byte("good2")): {chunk("go"), chunk("od2")},
		}, store.Sum([]byte("bad"))}
		st.Far = far
		u := tree.NewUsage(st)
		if _, err := u.Add(t.Context(), bad); !store.IsCorrupt(err) {
			t.Errorf("far %v: %v", far, err)
		}
		if _, err := u.Add(t.Context(), good); err != nil {
			t.Errorf("far %v: %v", far, err)
		}
		counted[i] = u.Unique
	}
	near, far := counted[0], counted[1]
	if near.Chunks != 3 || near.Bytes != 8 || far.Chunks != near.Chunks || far.Bytes != near.Bytes {
		t.Errorf("counted %+v near, %+v far; want 3 chunks, 8 bytes", near, far)
	}
}

func TestSizeClass(t *testing.T) {
	tests := map[uint64]int{0: 0, 1: 1, 1023: 1, 1024: 2, 4095: 2, 4096: 3, 256<<20 - 1: 10, 256 << 20: 11, math.MaxUint64: 11}
	for n, want := range tests {
		if got := tree.SizeClass(n); got != want {
			t.Errorf("SizeClass(%d) = %d, want %d", n, got, want)
		}
		if limit := tree.SizeLimit(want); limit > 0 && tree.SizeClass(limit) != want+1 || limit > 0 && tree.SizeClass(limit-1) != want {
			t.Errorf("SizeLimit(%d) = %d", want, limit)
		}
	}
}

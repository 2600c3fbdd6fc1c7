package tree_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"
)

// spoilt is a store with some objects lost or damaged.
type spoilt struct {
	store.Blobs
	store.Directories
	err    map[store.Digest]error
	chunks map[store.Digest]error
}

func spoil(st *store.Store) *spoilt {
	s := &spoilt{st.Blobs, st.Directories, map[store.Digest]error{}, map[store.Digest]error{}}
	st.Blobs, st.Directories = spoiltBlobs{s.Blobs, s}, spoiltDirectories{s.Directories, s}
	return s
}

type spoiltBlobs struct {
	store.Blobs
	s *spoilt
}

func (b spoiltBlobs) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	if err := b.s.err[d]; err != nil {
		return nil, err
	}
	return b.Blobs.Open(ctx, d)
}

// Chunks fails for blobs with a damaged list of chunks, and returns a wrong list for the empty blob.
func (b spoiltBlobs) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	if err := b.s.chunks[d]; err != nil {
		return nil, err
	}
	if d == store.Sum(nil) {
		return []store.Chunk{{Size: 1}}, nil
	}
	return b.Blobs.Chunks(ctx, d)
}

type spoiltDirectories struct {
	store.Directories
	s *spoilt
}

func (ds spoiltDirectories) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	if err := ds.s.err[d]; err != nil {
		return nil, err
	}
	return ds.Directories.Get(ctx, d)
}

// putTree stores a tree of files, given by paths in order, and returns its root.
func putTree(t *testing.T, st *store.Store, files map[string]string) store.Node {
	t.Helper()
	ctx := context.Background()
	var dir store.Directory
	below := map[string]map[string]string{}
	for path, data := range files {
		name, rest, isDir := strings.Cut(path, "/")
		if isDir {
			if below[name] == nil {
				below[name] = map[string]string{}
			}
			below[name][rest] = data
			continue
		}
		d, err := st.Blobs.Put(ctx, []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		dir = append(dir, store.Node{Name: name, Kind: store.KindFile, Digest: d, Size: uint64(len(data))})
	}
	for name, files := range below {
		n := putTree(t, st, files)
		n.Name = name
		dir = append(dir, n)
	}
	return putDirectory(t, st, dir)
}

func putDirectory(t *testing.T, st *store.Store, dir store.Directory) store.Node {
	t.Helper()
	slices.SortFunc(dir, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
	d, err := st.Directories.Put(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	size, err := dir.Size(store.SizeDocumented)
	if err != nil {
		t.Fatal(err)
	}
	return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
}

func setTag(t *testing.T, st *store.Store, name string, root store.Node) {
	t.Helper()
	if err := st.Tags.Set(context.Background(), store.Tag{Name: name, Root: root}); err != nil {
		t.Fatal(err)
	}
}

// findings returns what Verify says of st, in sorted lines, one for each finding: what, the first digits of the digest,
// and the paths by roots.
func findings(t *testing.T, st *store.Store, o tree.VerifyOptions) (lines []string, r tree.VerifyResult) {
	t.Helper()
	r, err := tree.Verify(context.Background(), st, o, func(f tree.Finding) {
		line := fmt.Sprintf("%s %.8s", f.What, f.Digest)
		for _, h := range f.Hits {
			line += fmt.Sprintf(" %s:%s", strings.Join(h.Roots, ","), strings.Join(h.Paths, ","))
			if h.More > 0 {
				line += fmt.Sprintf("+%d", h.More)
			}
		}
		lines = append(lines, line)
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return lines, r
}

func shortDigest(s string) string { return store.Sum([]byte(s)).String()[:8] }

func TestVerifyRead(t *testing.T) {
	st := memory.New()
	one := putTree(t, st, map[string]string{"a": "a", "dir/b": "b", "dir/again": "a", "dir/deep/c": "c"})
	two := putTree(t, st, map[string]string{"a": "a", "other": "other"})
	setTag(t, st, "one", one)
	setTag(t, st, "copy", one)
	setTag(t, st, "two", two)
	lines, r := findings(t, st, tree.VerifyOptions{})
	if len(lines) > 0 || r.Roots != 3 || r.Directories != 4 || r.Objects != 4+4 || r.Bytes != 8 {
		t.Errorf("%v %+v", lines, r)
	}
	s := spoil(st)
	s.err[store.Sum([]byte("a"))] = &store.CorruptError{Digest: store.Sum([]byte("a")), Where: "there", Err: store.ErrDigestMismatch}
	s.err[store.Sum([]byte("c"))] = fmt.Errorf("c: %w", store.ErrNotFound)
	s.err[store.Sum([]byte("other"))] = errors.New("connection refused")
	lines, r = findings(t, st, tree.VerifyOptions{})
	want := []string{
		"missing " + shortDigest("c") + " copy,one:dir/deep/c",
		"object " + shortDigest("a") + " copy,one:a,dir/again two:a",
		"unreadable " + shortDigest("other") + " two:other",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	if r.Findings[store.ClaimObjects] != 2 || r.Findings[store.ClaimReferences] != 1 {
		t.Errorf("%+v", r)
	}
	// A directory that cannot be read hides what is below it. It may be a root.
	dir, err := tree.Lookup(context.Background(), st.Directories, one, "dir")
	if err != nil {
		t.Fatal(err)
	}
	s.err[dir.Digest] = store.ErrNotFound
	s.err[two.Digest] = store.ErrNotFound
	want = []string{
		fmt.Sprintf("missing %.8s copy,one:dir", dir.Digest),
		fmt.Sprintf("missing %.8s two:", two.Digest),
		"object " + shortDigest("a") + " copy,one:a",
	}
	slices.Sort(want)
	if lines, _ = findings(t, st, tree.VerifyOptions{}); !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
	lines, _ = findings(t, st, tree.VerifyOptions{Roots: []tree.Root{{Name: "r", Node: two}}})
	if want := []string{fmt.Sprintf("missing %.8s r:", two.Digest)}; !slices.Equal(lines, want) {
		t.Errorf("got %v, want %v", lines, want)
	}
}

// lostChunk keeps each blob in two chunks, and has lost one of them.
type lostChunk struct{ store.Blobs }

func (b lostChunk) Chunks(context.Context, store.Digest) ([]store.Chunk, error) {
	return []store.Chunk{{Digest: store.Sum([]byte("a")), Size: 1}, {Digest: store.Sum([]byte("lost"))}}, nil
}

// TestVerifyUnread asserts that Verify looks for the chunks of blobs that it does not read.
func TestVerifyUnread(t *testing.T) {
	st := memory.New()
	setTag(t, st, "t", putTree(t, st, map[string]string{"a": "a"}))
	st.Blobs = lostChunk{st.Blobs}
	want := []string{"object " + shortDigest("a") + " t:a"}
	for _, o := range []store.ScrubOptions{{Structure: true}, {Parts: 1 << 40}} {
		if lines, _ := findings(t, st, tree.VerifyOptions{ScrubOptions: o}); !slices.Equal(lines, want) {
			t.Errorf("%+v: got %v, want %v", o, lines, want)
		}
	}
}

// TestVerifyChunkLists asserts that a blob is damaged if its list of chunks is, even if its bytes can be read.
func TestVerifyChunkLists(t *testing.T) {
	st := memory.New()
	setTag(t, st, "one", putTree(t, st, map[string]string{"a": "a", "b": "b", "empty": ""}))
	a := store.Sum([]byte("a"))
	spoil(st).chunks[a] = &store.CorruptError{Digest: a, Where: "there", Err: errors.New("invalid record")}
	want := []string{"object " + shortDigest("") + " one:empty", "object " + shortDigest("a") + " one:a"}
	slices.Sort(want)
	if lines, _ := findings(t, st, tree.VerifyOptions{}); !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

// TestVerifyPaths counts the paths of a tree that is in many directories.
func TestVerifyPaths(t *testing.T) {
	st := memory.New()
	inner := putTree(t, st, map[string]string{"x": "x", "y": "y"})
	for range 3 { // each holds the last five times
		var dir store.Directory
		for i := range 5 {
			n := inner
			n.Name = fmt.Sprint(i)
			dir = append(dir, n)
		}
		inner = putDirectory(t, st, dir)
	}
	setTag(t, st, "t", inner)
	spoil(st).err[store.Sum([]byte("x"))] = store.ErrNotFound
	lines, _ := findings(t, st, tree.VerifyOptions{})
	want := "missing " + shortDigest("x") + " t:0/0/0/x,0/0/1/x,0/0/2/x,0/0/3/x,0/0/4/x,0/1/0/x,0/1/1/x,0/1/2/x,0/1/3/x,0/1/4/x+115"
	if !slices.Equal(lines, []string{want}) {
		t.Errorf("got %v, want %v", lines, want)
	}
	for range 30 { // more paths than Verify can list
		a, b := inner, inner
		a.Name, b.Name = "a", "b"
		inner = putDirectory(t, st, store.Directory{a, b})
	}
	last := putTree(t, st, map[string]string{"y": "y", "z": "z"}) // what comes after them is still listed
	inner.Name, last.Name = "inner", "last"
	inner = putDirectory(t, st, store.Directory{inner, last})
	st.Blobs.(spoiltBlobs).s.err[store.Sum([]byte("z"))] = store.ErrNotFound
	n := 0
	_, err := tree.Verify(context.Background(), st, tree.VerifyOptions{Roots: []tree.Root{{Name: "r", Node: inner}}}, func(f tree.Finding) {
		n++
		many := f.Digest == store.Sum([]byte("x"))
		switch {
		case len(f.Hits) != 1 || !f.Hits[0].AtLeast:
			t.Errorf("%+v", f.Hits)
		case many && (f.Hits[0].More < 1000 || len(f.Hits[0].Paths) != 10), !many && !slices.Equal(f.Hits[0].Paths, []string{"last/z"}):
			t.Errorf("%+v", f.Hits)
		}
	})
	if err != nil || n != 2 {
		t.Errorf("%d findings, %v", n, err)
	}
}

// TestVerifySizes finds wrong sizes, in stores that check themselves and in others.
func TestVerifySizes(t *testing.T) {
	stores := map[string]func(t *testing.T) *store.Store{
		"memory": func(*testing.T) *store.Store { return memory.New() },
		"with its own records": func(t *testing.T) *store.Store {
			st := memory.New()
			st.Scrubber = scrubber{st.Blobs}
			return st
		},
	}
	for name, newStore := range stores {
		t.Run(name, func(t *testing.T) {
			st := newStore(t)
			sub := putTree(t, st, map[string]string{"a": "a", "b": "b"})
			file := func(name string, size uint64) store.Node {
				return store.Node{Name: name, Kind: store.KindFile, Digest: store.Sum([]byte("a")), Size: size}
			}
			dir := func(name string, size uint64) store.Node {
				return store.Node{Name: name, Kind: store.KindDirectory, Digest: sub.Digest, Size: size}
			}
			wrong := putDirectory(t, st, store.Directory{
				file("large", 2), file("right", 1), file("small", 0),
				dir("documented", 2), dir("snix", 4), dir("odd", 3), dir("understated", 1),
			})
			wrong.Name = "wrong"
			again := putDirectory(t, st, store.Directory{file("large", 2), file("no less", 2)})
			again.Name = "again"
			setTag(t, st, "t", putDirectory(t, st, store.Directory{again, wrong}))
			setTag(t, st, "file", file("", 7))
			lines, r := findings(t, st, tree.VerifyOptions{})
			want := []string{
				"size " + shortDigest("a") + " file:",
				fmt.Sprintf("size %.8s t:again/large", again.Digest),
				fmt.Sprintf("size %.8s t:again/no less", again.Digest),
				fmt.Sprintf("size %.8s t:wrong/large", wrong.Digest),
				fmt.Sprintf("size %.8s t:wrong/small", wrong.Digest),
				fmt.Sprintf("size %.8s t:wrong/understated", wrong.Digest),
			}
			slices.Sort(want)
			if !slices.Equal(lines, want) || r.Findings[store.ClaimSizes] != 6 || r.Roots != 2 {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

// scrubber is a Scrubber that finds nothing.
type scrubber struct{ blobs store.Blobs }

func (scrubber) Scrub(context.Context, store.ScrubOptions, func(store.Damage)) (r store.ScrubResult, err error) {
	return r, nil
}

func (s scrubber) BlobSize(ctx context.Context, d store.Digest) (uint64, error) {
	b, err := s.blobs.Open(ctx, d)
	if err != nil {
		return 0, err
	}
	return b.Size(), b.Close()
}

// TestVerifyParts asserts that each file is read in one of the parts.
func TestVerifyParts(t *testing.T) {
	st := memory.New()
	files := map[string]string{}
	for i := range 50 {
		files[fmt.Sprint(i)] = fmt.Sprintf("file %d", i)
	}
	setTag(t, st, "t", putTree(t, st, files))
	whole, seen := uint64(0), map[int]uint64{}
	for _, data := range files {
		whole += uint64(len(data))
	}
	for range 500 {
		lines, r := findings(t, st, tree.VerifyOptions{ScrubOptions: store.ScrubOptions{Parts: 3}})
		if len(lines) > 0 || r.Part < 1 || r.Part > 3 {
			t.Fatalf("%v %+v", lines, r)
		}
		seen[r.Part] = r.Bytes
	}
	if seen[1]+seen[2]+seen[3] != whole {
		t.Errorf("the parts have %v bytes, want %d", seen, whole)
	}
	if _, r := findings(t, st, tree.VerifyOptions{ScrubOptions: store.ScrubOptions{Structure: true}}); r.Bytes != 0 || r.Files != 50 {
		t.Errorf("%+v", r)
	}
}

func TestVerifyErrors(t *testing.T) {
	ctx := context.Background()
	none := func(f tree.Finding) { t.Errorf("%+v", f) }
	if _, err := tree.Verify(ctx, &store.Store{Blobs: memory.New().Blobs}, tree.VerifyOptions{}, none); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("only blobs: %v", err)
	}
	if _, err := tree.Verify(ctx, memory.New(), tree.VerifyOptions{ScrubOptions: store.ScrubOptions{MaxDuration: 1}}, none); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("with a duration: %v", err)
	}
	st := memory.New()
	root := putTree(t, st, map[string]string{"a/b": "c"})
	if _, err := tree.Verify(ctx, st, tree.VerifyOptions{}, none); !errors.Is(err, store.ErrUnsupported) {
		t.Errorf("no roots: %v", err)
	}
	setTag(t, st, "t", root)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := tree.Verify(cancelled, st, tree.VerifyOptions{}, none); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// A server that fails in the middle is no damage: Verify says so, and what it had found.
func TestVerifyServerFails(t *testing.T) {
	for name, wrong := range map[string]bool{"nothing else": false, "and damage": true} {
		f := newFixture(t)
		s := spoil(f.Store)
		entries, err := f.Directories.Get(t.Context(), f.top.Digest)
		if err != nil {
			t.Fatal(err)
		}
		usr, _ := entries.Find("usr")
		s.err[usr.Digest] = &store.ServerError{Server: "far", Err: errors.New("gone")}
		if file, _ := entries.Find("a:b"); wrong {
			s.err[file.Digest] = &store.CorruptError{Digest: file.Digest, Err: store.ErrDigestMismatch}
		}
		var found []tree.Finding
		_, err = tree.Verify(t.Context(), f.Store, tree.VerifyOptions{Roots: []tree.Root{{Name: "r", Node: f.top}}}, func(f tree.Finding) { found = append(found, f) })
		if !store.IsServerError(err) || len(found) > 1 || !wrong && len(found) > 0 {
			t.Errorf("%s: found %+v, error %v", name, found, err)
		}
	}
}

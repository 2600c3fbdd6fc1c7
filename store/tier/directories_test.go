package tier_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/tier"
)

// tree puts a root with two children, which share a child, into ds. It returns the root, then the others.
func tree(t *testing.T, ds store.Directories) []store.Digest {
	t.Helper()
	add := func(dir store.Directory) store.Digest {
		d, err := ds.Put(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	node := func(name string, d store.Digest) store.Node {
		return store.Node{Name: name, Kind: store.KindDirectory, Digest: d}
	}
	shared := add(store.Directory{{Name: "link", Kind: store.KindSymlink, Target: "x"}})
	left := add(store.Directory{node("shared", shared)})
	// A breadth-first walk would yield shared before right, which also refers to it.
	right := add(store.Directory{node("left", left), node("z", shared)})
	return []store.Digest{add(store.Directory{node("a", left), node("b", right), node("c", shared)}), left, right, shared}
}

func walk(ctx context.Context, ds store.Directories, root store.Digest) (list []store.Digest, err error) {
	for named, err := range ds.Walk(ctx, root) {
		if err != nil {
			return list, err
		}
		list = append(list, named.Digest)
	}
	return list, nil
}

func byDigest(a, b store.Digest) int { return bytes.Compare(a[:], b[:]) }

func wantWalk(t *testing.T, ds store.Directories, want []store.Digest) {
	t.Helper()
	got, err := walk(t.Context(), ds, want[0])
	slices.SortFunc(got, byDigest)
	want = slices.SortedFunc(slices.Values(want), byDigest)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("Walk: %v, %v, want %v", got, err, want)
	}
}

// ordered fails the test if a parent is put before its children.
type ordered struct {
	store.Directories
	t *testing.T
}

func (o ordered) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	w, err := o.Directories.Upload(ctx)
	return &orderedWriter{DirectoryWriter: w, t: o.t, seen: map[store.Digest]bool{}}, err
}

type orderedWriter struct {
	store.DirectoryWriter
	t    *testing.T
	seen map[store.Digest]bool
}

func (w *orderedWriter) Put(ctx context.Context, dir store.Directory) (store.Digest, error) {
	for _, n := range dir {
		if n.Kind == store.KindDirectory && !w.seen[n.Digest] {
			w.t.Errorf("directory before its child %s", n.Name)
		}
	}
	d, err := w.DirectoryWriter.Put(ctx, dir)
	w.seen[d] = true
	return d, err
}

func TestFetchesClosure(t *testing.T) {
	for _, first := range []string{"Get", "Walk"} {
		near, far := memory.New().Directories, &walking{Directories: memory.New().Directories}
		all := tree(t, far)
		ds := &tier.Directories{Near: ordered{near, t}, Far: far}
		for range 3 {
			if first == "Walk" {
				wantWalk(t, ds, all)
			}
			for _, d := range all {
				if _, err := ds.Get(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			wantWalk(t, ds, all)
		}
		wantWalk(t, near, all)
		if far.walks.Load() != 1 || far.gets.Load() != 0 {
			t.Errorf("%s first: %d walks and %d gets of Far, want 1 walk", first, far.walks.Load(), far.gets.Load())
		}
	}
}

// Near has only the root, as after a Put. The rest comes from Far.
func TestWalksBoth(t *testing.T) {
	near, far := memory.New().Directories, memory.New().Directories
	all := tree(t, far)
	root, err := far.Get(t.Context(), all[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := near.Put(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	wantWalk(t, &tier.Directories{Near: near, Far: far}, all)
	wantWalk(t, near, all)
}

// A closure that is incomplete in Far is not kept, but its directories can be read.
func TestIncompleteClosure(t *testing.T) {
	near, full, far := memory.New().Directories, memory.New().Directories, memory.New().Directories
	all := tree(t, full)
	for _, d := range all[:3] {
		dir, err := full.Get(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := far.Put(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	ds := &tier.Directories{Near: near, Far: far}
	for _, d := range all[:3] {
		if _, err := ds.Get(t.Context(), d); err != nil {
			t.Errorf("Get: %v", err)
		}
		if _, err := near.Get(t.Context(), d); !store.IsNotFound(err) {
			t.Errorf("Near: error %v, want ErrNotFound", err)
		}
	}
	if list, err := walk(t.Context(), ds, all[0]); !store.IsNotFound(err) || len(list) == 0 || list[0] != all[0] {
		t.Errorf("Walk: %v, %v, want the root and then ErrNotFound", list, err)
	}
}

func TestDirectoryErrorsAreNotAbsence(t *testing.T) {
	for _, broken := range []string{"near", "far"} {
		near, far := &walking{Directories: memory.New().Directories}, &walking{Directories: memory.New().Directories}
		all := tree(t, far)
		if broken == "near" {
			near.err = errBroken
		} else {
			far.err = errBroken
		}
		ds := &tier.Directories{Near: near, Far: far}
		_, getErr := ds.Get(t.Context(), all[0])
		_, walkErr := walk(t.Context(), ds, all[0])
		for _, err := range []error{getErr, walkErr} {
			if !errors.Is(err, errBroken) || store.IsNotFound(err) {
				t.Errorf("%s is broken: error %v", broken, err)
			}
		}
	}
}

func TestFetchesClosureOnce(t *testing.T) {
	far := &walking{Directories: memory.New().Directories}
	all := tree(t, far)
	ds := &tier.Directories{Near: memory.New().Directories, Far: far}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			dir, err := ds.Get(t.Context(), all[0])
			if err != nil || len(dir) != 3 {
				t.Errorf("Get: %v, %v", dir, err)
			}
			clear(dir) // mine
		})
	}
	wg.Wait()
	if n := far.walks.Load(); n != 1 {
		t.Errorf("%d walks of Far", n)
	}
	wantWalk(t, ds, all)
}

// renaming yields the same closure for every name.
type renaming struct {
	store.Directories
	name, root store.Digest
}

func (r *renaming) Put(ctx context.Context, dir store.Directory) (d store.Digest, err error) {
	r.root, err = r.Directories.Put(ctx, dir)
	return r.root, err
}

func (r *renaming) Walk(ctx context.Context, _ store.Digest) iter.Seq2[store.NamedDirectory, error] {
	return func(yield func(store.NamedDirectory, error) bool) {
		for named, err := range r.Directories.Walk(ctx, r.root) {
			if named.Digest == r.root {
				named.Digest = r.name
			}
			if !yield(named, err) {
				return
			}
		}
	}
}

// uploads counts the batches that are committed, and fails them.
type uploads struct {
	store.Directories
	ended *int
	err   error
}

func (u uploads) Upload(ctx context.Context) (store.DirectoryWriter, error) {
	w, err := u.Directories.Upload(ctx)
	return upload{w, u}, err
}

type upload struct {
	store.DirectoryWriter
	u uploads
}

func (u upload) Commit(ctx context.Context, root store.Digest) error {
	*u.u.ended++
	if u.u.err != nil {
		return u.u.err
	}
	return u.DirectoryWriter.Commit(ctx, root)
}

func TestDirectoryLies(t *testing.T) {
	far := &renaming{Directories: memory.New().Directories, name: store.Sum([]byte("another"))}
	all := tree(t, far)
	near := memory.New().Directories
	ds := &tier.Directories{Near: near, Far: far}
	if _, err := ds.Get(t.Context(), far.name); !errors.Is(err, store.ErrDigestMismatch) {
		t.Errorf("error %v", err)
	}
	for _, d := range all {
		if _, err := near.Get(t.Context(), d); !store.IsNotFound(err) {
			t.Errorf("a lie was kept: error %v", err)
		}
	}
}

func TestDirectoryWrites(t *testing.T) {
	for _, through := range []bool{false, true} {
		near, far := memory.New(), memory.New()
		st := tier.New(near, far, tier.Options{WriteThrough: through})
		all := tree(t, st.Directories)
		wantWalk(t, near.Directories, all)
		if _, err := far.Directories.Get(t.Context(), all[0]); store.IsNotFound(err) == through {
			t.Errorf("writing through %v: far: error %v", through, err)
		}
	}
}

// A batch that Far refuses is not stored in Near either.
func TestUploadFails(t *testing.T) {
	ended := 0
	near := uploads{memory.New().Directories, &ended, nil}
	ds := &tier.Directories{Near: near, Far: uploads{memory.New().Directories, new(int), errBroken}, WriteThrough: true}
	w, err := ds.Upload(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	d, err := w.Put(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(t.Context(), d); !errors.Is(err, errBroken) || ended != 0 {
		t.Errorf("Commit: %v, and Near's was called %d times", err, ended)
	}
}

func TestPriority(t *testing.T) {
	first, second, third := memory.New().Directories, memory.New().Directories, &walking{Directories: memory.New().Directories}
	all := tree(t, second)
	root, err := second.Get(t.Context(), all[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Put(t.Context(), root); err != nil {
		t.Fatal(err)
	}
	third.err = errBroken
	p := tier.Priority{first, second, third}
	for _, d := range all {
		if _, err := p.Get(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	wantWalk(t, p, all)
	if n := third.gets.Load(); n != 0 {
		t.Errorf("the last was asked %d times", n)
	}
	if _, err := p.Get(t.Context(), store.Sum(nil)); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	if _, err := walk(t.Context(), p, store.Sum(nil)); !errors.Is(err, errBroken) {
		t.Errorf("error %v", err)
	}
	if _, err := walk(t.Context(), p[:2], store.Sum(nil)); !store.IsNotFound(err) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
	if _, err := p.Put(t.Context(), root); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Put: error %v", err)
	}
	if _, err := p.Upload(t.Context()); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("Upload: error %v", err)
	}
}

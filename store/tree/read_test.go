package tree

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
)

// meeting is Directories whose Get of all but one directory waits until so many calls wait at the same time.
type meeting struct {
	store.Directories
	root store.Digest

	mu      sync.Mutex
	missing int           // calls to come
	all     chan struct{} // closed when they have
	gets    int
}

func meet(ds store.Directories, root store.Digest, calls int) *meeting {
	return &meeting{Directories: ds, root: root, missing: calls, all: make(chan struct{})}
}

func (m *meeting) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	m.mu.Lock()
	m.gets++
	if d != m.root {
		if m.missing--; m.missing == 0 {
			close(m.all)
		}
	}
	m.mu.Unlock()
	if d != m.root {
		select {
		case <-m.all:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return m.Directories.Get(ctx, d)
}

// wide stores a root with n different directories in it.
func wide(t *testing.T, st *store.Store, n int) store.Node {
	t.Helper()
	var dir store.Directory
	for i := range n {
		child := nest(t, st, 1, leaf(t, st, "f", fmt.Sprint(i)), store.SizeDocumented)
		child.Name = fmt.Sprintf("%04d", i)
		dir = append(dir, child)
	}
	return nest(t, st, 1, dir, store.SizeDocumented)
}

// TestReadAhead asserts that each question reads several directories at the same time. One that reads them one after
// the other would wait until the end of the context.
func TestReadAhead(t *testing.T) {
	st := memory.New()
	root, other := wide(t, st, 20), wide(t, st, 19)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ask := walkers(st)
	ask["mark"] = func(ctx context.Context, root, _ store.Node) error {
		return Mark(ctx, st, []Root{{"r", root}}, &mapSet{members: map[object]struct{}{}})
	}
	ask["verify"] = func(ctx context.Context, root, _ store.Node) error {
		_, err := Verify(ctx, st, VerifyOptions{Roots: []Root{{"r", root}}}, func(f Finding) { t.Errorf("%+v", f) })
		return err
	}
	ask["walk"] = func(ctx context.Context, root, _ store.Node) (failed error) {
		for _, err := range Walk(ctx, st.Directories, root, -1) {
			failed = errors.Join(failed, err)
		}
		return failed
	}
	delete(ask, "diff")  // reads the root only: the rest has no counterpart
	delete(ask, "count") // below
	ds := st.Directories
	for name, question := range ask {
		m := meet(ds, root.Digest, 8)
		if name == "copy" { // one job, so one after the other
			m.missing = 1
		}
		st.Directories = m
		if err := question(ctx, root, other); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if m.gets > 2*21 {
			t.Errorf("%s: %d reads of 21 directories", name, m.gets)
		}
	}
	m := meet(ds, root.Digest, 8)
	empty := Side{ds, nest(t, st, 1, nil, store.SizeDocumented)}
	got, err := CountDiff(ctx, empty, Side{m, root}, DiffOptions{NoRenames: true})
	if err != nil || got.Added != 40 || m.gets != 21 {
		t.Errorf("count: %+v, %v, %d reads", got, err, m.gets)
	}
}

// TestReadAheadBound asserts that a walk whose caller is slow holds a bounded number of directories, and reads each
// once.
func TestReadAheadBound(t *testing.T) {
	st := memory.New()
	directories := storetest.Sample(3000, 400)
	root := wide(t, st, directories)
	gets := &countedGets{Directories: st.Directories}
	visited := 0
	for e, err := range Walk(t.Context(), gets, root, -1) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Node.Kind != store.KindDirectory {
			continue
		}
		visited++
		gets.mu.Lock()
		n := gets.n
		gets.mu.Unlock()
		if n > visited+aheadWindow {
			t.Fatalf("%d directories read, and %d visited", n, visited)
		}
	}
	if visited != directories+1 || gets.n != directories+1 {
		t.Errorf("%d directories visited, %d read", visited, gets.n)
	}
	// A walk that is left early leaves nothing running behind it.
	gets.n = 0
	for range Walk(t.Context(), gets, root, -1) {
		if gets.mu.Lock(); gets.n > 10 {
			gets.mu.Unlock()
			break
		}
		gets.mu.Unlock()
	}
	before := gets.n // no lock: nobody else may use it now
	if before > aheadWindow+1 {
		t.Errorf("%d directories read", before)
	}
}

// errBroken is the error of a directory.
var errBroken = errors.New("broken")

// broken is Directories without one.
type broken struct {
	store.Directories
	d store.Digest
}

func (b broken) Get(ctx context.Context, d store.Digest) (store.Directory, error) {
	if d == b.d {
		return nil, errBroken
	}
	return b.Directories.Get(ctx, d)
}

// TestAnyOrder asserts that a walk of several goroutines visits each root and entry, and ends with the first error.
func TestAnyOrder(t *testing.T) {
	st := memory.New()
	root := wide(t, st, 200)
	var mu sync.Mutex
	var files, failed int
	w := walker{ctx: t.Context(), ds: st.Directories}
	w.enter = func(_ *trail, n *store.Node) (bool, error) {
		mu.Lock()
		defer mu.Unlock()
		if n.Kind == store.KindFile {
			files++
		}
		return true, nil
	}
	if err := w.anyOrder([]Root{{"a", root}, {"b", root}}); err != nil || files != 400 {
		t.Errorf("%d files, %v", files, err)
	}
	dir, err := st.Directories.Get(t.Context(), root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	w.ds = broken{st.Directories, dir[50].Digest}
	if err := w.anyOrder([]Root{{"a", root}}); !errors.Is(err, errBroken) || err.Error() != "a:0050: broken" {
		t.Errorf("got %v", err)
	}
	files = 0
	w.failed = func(*trail, *store.Node, error) error {
		mu.Lock()
		defer mu.Unlock()
		failed++
		return nil
	}
	if err := w.anyOrder([]Root{{"a", root}}); err != nil || files != 199 || failed != 1 {
		t.Errorf("%d files, %d failed, %v", files, failed, err)
	}
}

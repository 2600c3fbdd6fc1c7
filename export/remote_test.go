package export

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"castar/store"
)

// distant is a store at the other end of a network.
type distant struct{}

func (distant) HasAll(context.Context, []store.Digest) ([]bool, error) {
	return nil, store.ErrUnsupported
}

func (distant) Expect(context.Context, iter.Seq[store.Digest]) {}

func (distant) Group(context.Context, store.Digest) (store.Group, error) {
	return store.Group{}, store.ErrUnsupported
}

// The files of a remote store are read in about the order of the tree: they come in that order, and few are kept. No
// goroutine begins a large directory before those before it are almost written.
func TestRemoteOrder(t *testing.T) {
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // thousands of files
	}
	const dirs, files, first = 2, 66 * runFiles, 4
	f, place := newFake(), map[store.Digest]int{}
	top := tree{}
	for i := range dirs {
		sub := tree{}
		for k := range files {
			data := fmt.Sprint(i, " ", k)
			place[store.Sum([]byte(data))] = i*files + k
			sub[fmt.Sprintf("f%04d", k)] = data
		}
		top[fmt.Sprintf("d%02d", i)] = sub
	}
	root := f.put(t, "", top)
	var mu sync.Mutex
	var opened []int
	all := make(chan struct{})
	f.onOpen = func(d store.Digest) error { // as if the first blobs took long
		mu.Lock()
		opened = append(opened, place[d])
		n := len(opened)
		mu.Unlock()
		if n == first {
			close(all)
		}
		<-all
		return nil
	}
	st := f.store()
	st.RemoteBlobs = distant{}
	if _, err := Dir(t.Context(), st, root, filepath.Join(t.TempDir(), "out"), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, at := range opened[:first] {
		if at >= files {
			t.Errorf("file %d is among the first %d", at, first)
		}
	}
	next, seen := 0, make([]bool, dirs*files)
	for _, at := range opened {
		if at > next+files {
			t.Fatalf("file %d is read before file %d", at, next)
		}
		for seen[at] = true; next < len(seen) && seen[next]; next++ {
		}
	}
}

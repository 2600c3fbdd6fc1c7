package ingest

import (
	"context"
	"errors"
	"iter"
	"sync/atomic"
	"testing"

	"castar/store"
	"castar/store/memory"
)

// far is the blobs of a store that is asked for many at once.
type far struct {
	store.Blobs
	lacks  map[store.Digest]bool // lost since they were put
	hasAll func() error          // may be nil
	asked  atomic.Int32          // calls of Has
}

func newFar() (*store.Store, *far) {
	st := memory.New()
	f := &far{Blobs: st.Blobs, lacks: map[store.Digest]bool{}}
	st.Blobs, st.RemoteBlobs = f, f
	return st, f
}

func (f *far) Has(ctx context.Context, d store.Digest) (bool, error) {
	f.asked.Add(1)
	has, err := f.Blobs.Has(ctx, d)
	return has && !f.lacks[d], err
}

func (f *far) Group(context.Context, store.Digest) (store.Group, error) {
	return store.Group{}, store.ErrUnsupported
}

func (f *far) HasAll(ctx context.Context, ds []store.Digest) ([]bool, error) {
	has := make([]bool, len(ds))
	for i := range ds {
		has[i], _ = f.Blobs.Has(ctx, ds[i])
		has[i] = has[i] && !f.lacks[ds[i]]
	}
	if f.hasAll != nil {
		return has, f.hasAll()
	}
	return has, nil
}

func (f *far) Expect(context.Context, iter.Seq[store.Digest]) {}

// Files that the cache knows are not asked for one by one, and those that the store has lost since are read again.
func TestRemoteUnchanged(t *testing.T) {
	v := tree{"a": "one", "b": tree{"c": "two", "d": "three"}}
	path := plantedNative(t, v)
	c := newCached(t)
	var f *far
	c.st, f = newFar()
	c.want(path, v, "a", "b/c", "b/d")
	c.want(path, v)
	f.lacks[store.Sum([]byte("two"))] = true
	f.hasAll = func() error { // it is put again by the second walk
		clear(f.lacks)
		return nil
	}
	c.want(path, v, "b/c")
	c.want(path, v)
	if n := f.asked.Load(); n != 0 {
		t.Errorf("%d questions about one blob", n)
	}
}

// A store that loses blobs all the time is asked for each.
func TestRemoteLosesAlways(t *testing.T) {
	v := tree{"a": "0", "b": "1", "c": "2", "d": "3", "e": "4"}
	path := plantedNative(t, v)
	c := newCached(t)
	var f *far
	c.st, f = newFar()
	c.want(path, v, "a", "b", "c", "d", "e")
	walks := 0
	f.hasAll = func() error {
		f.lacks[store.Sum([]byte{byte('0' + walks)})] = true
		walks++
		return nil
	}
	f.lacks[store.Sum([]byte("4"))] = true
	cache := c.open(path)
	defer cache.Close()
	o := Options{Cache: cache, Progress: new(Progress)}
	r, err := FS(t.Context(), c.st, path, o)
	if err != nil || r.Root != rootOf(t, v) || f.asked.Load() == 0 || walks != maxWalks {
		t.Errorf("root %v, error %v after %d walks and %d questions", r.Root, err, walks, f.asked.Load())
	}
	if n := o.Progress.Files.Load(); n != 5 {
		t.Errorf("%d files counted, want 5", n)
	}
}

// The error of a question ends the ingest.
func TestRemoteError(t *testing.T) {
	v := tree{"a": "one"}
	path := plantedNative(t, v)
	c := newCached(t)
	var f *far
	c.st, f = newFar()
	c.want(path, v, "a")
	broken := errors.New("broken")
	f.hasAll = func() error { return broken }
	cache := c.open(path)
	defer cache.Close()
	if r, err := FS(t.Context(), c.st, path, Options{Cache: cache}); !errors.Is(err, broken) || r.Root.Kind != 0 {
		t.Errorf("root %v, error %v", r.Root, err)
	}
}

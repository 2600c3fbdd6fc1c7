package ingest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"castar/store"
	"castar/store/memory"

	"go.uber.org/goleak"
)

// descriptors returns how many descriptors the process has open.
func descriptors(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/dev/fd")
	try(t, err)
	return len(all)
}

// wide makes a tree of many small directories, nested.
func wide(t testing.TB) string {
	v := tree{}
	for i := range 20 {
		sub := tree{}
		for j := range 20 {
			sub[fmt.Sprint("d", j)] = tree{"f": fmt.Sprint(i, j), "g": tree{"h": fmt.Sprint(j)}}
		}
		v[fmt.Sprint("d", i)] = sub
	}
	dir := onTmpfs(t)
	plant(t, dir, v)
	return dir
}

func TestCancel(t *testing.T) {
	dir := wide(t)
	try(t, os.WriteFile(dir+"/big", nil, 0o644))
	try(t, os.Truncate(dir+"/big", 1<<40)) // would take minutes
	want := errors.New("enough")
	cached := newCached(t)
	for _, jobs := range []int{1, 8} {
		for _, moment := range []string{"/big", "/d3/d7/f", "/d19/d19/g/h", "/d5", ""} {
			before := descriptors(t)
			ctx, cancel := context.WithCancelCause(context.Background())
			var after atomic.Int32
			cache := cached.open(dir)
			o := Options{Jobs: jobs, IgnoreErrors: true, Progress: new(Progress), Cache: cache, hook: func(m hookMoment, path string) {
				if ctx.Err() != nil {
					after.Add(1)
				}
				if path == dir+moment && moment != "/big" || path == dir+"/big" && m == hookOpened {
					cancel(want)
				}
			}}
			scanned := make(chan struct{})
			go func() {
				defer close(scanned)
				Scan(ctx, dir, o)
			}()
			r, err := FS(ctx, nil, dir, o)
			if !errors.Is(err, want) || r.Root != (store.Node{}) || len(r.LeftOut) > 0 {
				t.Errorf("%d jobs, cancelled at %q: root %v, %d left out, error %v", jobs, moment, r.Root, len(r.LeftOut), err)
			}
			if n := after.Load(); n > int32(100*jobs) {
				t.Errorf("%d jobs, cancelled at %q: %d steps later", jobs, moment, n)
			}
			<-scanned
			try(t, cache.Close())
			if n := descriptors(t); n != before {
				t.Errorf("%d jobs, cancelled at %q: %d descriptors, before %d", jobs, moment, n, before)
			}
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := FS(ctx, nil, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: root %v, error %v", r.Root, err)
	}
	goleak.VerifyNone(t)
}

// failing is Blobs of which only the n-th Put fails.
type failing struct {
	store.Blobs
	n, puts atomic.Int32
}

var errFull = errors.New("no space left")

func (f *failing) Put(ctx context.Context, data []byte) (store.Digest, error) {
	if f.puts.Add(1) == f.n.Load() {
		return store.Digest{}, errFull
	}
	return f.Blobs.Put(ctx, data)
}

// TestStoreFails checks that an ingest ends with the first error of the store, and returns it.
func TestStoreFails(t *testing.T) {
	dir := wide(t)
	for _, jobs := range []int{1, 8} {
		for _, n := range []int32{1, 10, 400, 800} {
			before := descriptors(t)
			f := &failing{Blobs: memory.New().Blobs}
			f.n.Store(n)
			st := memory.New()
			st.Blobs = f
			r, err := FS(context.Background(), st, dir, Options{Jobs: jobs, IgnoreErrors: true})
			if !errors.Is(err, errFull) || !strings.HasPrefix(err.Error(), dir+"/d") || r.Root != (store.Node{}) {
				t.Errorf("%d jobs: root %v, error %v", jobs, r.Root, err)
			}
			if puts := f.puts.Load(); puts > n+int32(20*jobs) {
				t.Errorf("%d jobs: %d puts, though number %d failed", jobs, puts, n)
			}
			if n := descriptors(t); n != before {
				t.Errorf("%d jobs: %d descriptors, before %d", jobs, n, before)
			}
		}
	}
	goleak.VerifyNone(t)
}

// noDirectories fails to store any directory.
type noDirectories struct{ store.Directories }

func (noDirectories) Upload(context.Context) (store.DirectoryWriter, error) { return noUpload{}, nil }

type noUpload struct{}

func (noUpload) Put(context.Context, store.Directory) (store.Digest, error) {
	return store.Digest{}, errFull
}
func (noUpload) Commit(context.Context, store.Digest) error { return errFull }
func (noUpload) Close() error                               { return nil }

func TestDirectoriesFail(t *testing.T) {
	dir := planted(t, tree{"a": tree{}})
	st := memory.New()
	st.Directories = noDirectories{}
	if r, err := FS(context.Background(), st, dir, Options{IgnoreErrors: true}); err == nil || err.Error() != dir+"/a: no space left" {
		t.Errorf("root %v, error %v", r.Root, err)
	}
}

package mount

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"

	"golang.org/x/sys/unix"
)

// files is a directory: its values are files, a string (a file), an executable or a link.
type files map[string]any

type (
	executable string
	link       string
)

// plant stores v and returns its node.
func plant(t testing.TB, st *store.Store, name string, v any) store.Node {
	t.Helper()
	n := store.Node{Name: name, Kind: store.KindFile}
	var err error
	switch v := v.(type) {
	case files:
		var dir store.Directory
		for _, name := range sorted(v) {
			dir = append(dir, plant(t, st, name, v[name]))
		}
		n.Kind = store.KindDirectory
		if n.Size, err = dir.Size(store.SizeDocumented); err == nil {
			n.Digest, err = st.Directories.Put(t.Context(), dir)
		}
	case string:
		n.Size = uint64(len(v))
		n.Digest, err = st.Blobs.Put(t.Context(), []byte(v))
	case executable:
		n = plant(t, st, name, string(v))
		n.Executable = true
	case link:
		n.Kind, n.Target = store.KindSymlink, string(v)
	default:
		t.Fatalf("%T", v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// noted is what a mount reported.
type noted struct {
	mu    sync.Mutex
	paths []string
	errs  []error
}

func (n *noted) add(path string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths, n.errs = append(n.paths, path), append(n.errs, err)
}

// take returns the paths that were reported since the last call.
func (n *noted) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.paths
	n.paths = nil
	return p
}

var someTime = time.Unix(1_600_000_000, 0)

// mounted mounts a root, or the whole store if it is nil, until the test ends.
func mounted(t testing.TB, st *store.Store, root *store.Node) (dir string, n *noted) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("NOT TESTED: mounts, which need /dev/fuse and root")
	}
	dir, n = t.TempDir(), &noted{}
	m, err := Mount(t.Context(), st, root, dir, Options{Time: someTime, Report: n.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(dir, unix.MNT_DETACH) // whatever failed, nothing stays mounted
		m.Close()
	})
	return dir, n
}

// broken is a store in memory whose objects can be made to fail.
type broken struct {
	store.Blobs
	directories store.Directories
	mu          sync.Mutex
	errs        map[store.Digest]error // of single objects
	away        error                  // of all
	chunks      map[store.Digest][]store.Chunk
	opened      map[store.Digest]int
}

func newBroken() (*store.Store, *broken) {
	st := memory.New()
	b := &broken{Blobs: st.Blobs, directories: st.Directories, errs: map[store.Digest]error{},
		chunks: map[store.Digest][]store.Chunk{}, opened: map[store.Digest]int{}}
	st.Blobs, st.Directories = b, brokenDirectories{b.directories, b}
	return st, b
}

func (b *broken) fail(d store.Digest) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.opened[d]++
	if b.away != nil {
		return b.away
	}
	return b.errs[d]
}

func (b *broken) set(d store.Digest, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.errs[d] = err
}

func (b *broken) goAway(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.away = err
}

func (b *broken) Open(ctx context.Context, d store.Digest) (store.Blob, error) {
	if err := b.fail(d); err != nil {
		return nil, err
	}
	return b.Blobs.Open(ctx, d)
}

func (b *broken) Chunks(ctx context.Context, d store.Digest) ([]store.Chunk, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.chunks[d], b.away
}

type brokenDirectories struct {
	store.Directories
	b *broken
}

func (d brokenDirectories) Get(ctx context.Context, digest store.Digest) (store.Directory, error) {
	if err := d.b.fail(digest); err != nil {
		return nil, err
	}
	return d.Directories.Get(ctx, digest)
}

// cut stores data in chunks of different lengths.
func (b *broken) cut(t testing.TB, data []byte) store.Node {
	t.Helper()
	n := store.Node{Kind: store.KindFile, Digest: store.Sum(data), Size: uint64(len(data))}
	var all []store.Chunk
	for size := 130_001; len(data) > 0; size = size*3/2%500_000 + 130_001 {
		size = min(size, len(data))
		d, err := b.Put(t.Context(), data[:size])
		if err != nil {
			t.Fatal(err)
		}
		all, data = append(all, store.Chunk{Digest: d, Size: uint64(size)}), data[size:]
	}
	b.chunks[n.Digest] = all
	return n
}

func in(dir string, parts ...string) string { return filepath.Join(append([]string{dir}, parts...)...) }

// Package bucketfs makes a folder of a bucket: a packed store there has the same files as on disk, and one more, the head.
//
// Files in tmp/ are on this machine. A rename sends them to the bucket, packs and indexes in the background; Swap, which
// is the commit, waits for these. Indexes, and packs without contents, are kept in a cache on this machine, because they
// never change. Of other packs parts are read, and kept in memory and in a file for a while, the first few MiB also in the
// cache.
package bucketfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// FS is a bucket as a folder. What fails says so in terms of package durable.
type FS struct {
	// Length returns how long a pack is by the indexes, or math.MaxInt64 if they do not say: nothing is read ahead behind
	// its end. It may be nil, and is set before packs are read.
	Length func(pack.ID) int64

	ctx    context.Context // of all that runs in the background
	cancel context.CancelFunc
	b      bucket.Bucket
	root   string // of the cache; "": none
	cache  *cache
	anew   bool // nothing is read from the cache
	parts  *parts

	mu       sync.Mutex
	spools   map[string]*spool         // files in tmp/, by path
	moved    map[string]*spool         // those that were renamed to packs/ or index/, by their new path
	waiting  map[string]bool           // packs that were sent, and that no index names yet
	versions map[string]bucket.Version // of what this FS has read, of files that others may change at the same time
	ends     map[string]loaded         // of those that are appended to: what was read or written last
	store    string                    // the ID in the config; "": not known
	first    []byte                    // the config as the cache has it, for the first who asks
	vacant   bool                      // nothing was there a moment ago; see Look
	sendErr  error                     // the first error of what was sent

	swapping    sync.Mutex // held while the head is replaced
	head        *Head      // nil: there is none
	headVersion bucket.Version

	uploads chan struct{}  // one for each file that is being sent
	sending sync.WaitGroup // also for the file of Probe
}

var _ durable.Far = (*FS)(nil)

// Open makes a folder of a bucket, which Close closes. The cache is in a folder on this machine, unless root is "". With
// anew nothing is read from it, so that all damage in the bucket shows. A damaged head is no error: Head then returns nil,
// and Reload says what is wrong.
func Open(ctx context.Context, b bucket.Bucket, root string, anew bool) (*FS, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &FS{
		ctx: ctx, cancel: cancel, b: b, root: root, anew: anew, spools: map[string]*spool{}, moved: map[string]*spool{},
		waiting: map[string]bool{}, versions: map[string]bucket.Version{}, ends: map[string]loaded{},
		uploads: make(chan struct{}, uploads),
	}
	f.parts = newParts(f)
	h, err := f.Reload()
	if err != nil && !store.IsCorrupt(err) {
		cancel()
		return nil, err
	}
	if h != nil {
		f.UseCache(h.Store)
	}
	if h != nil && !anew {
		f.first = f.cache.small(sealed.ConfigName)
	}
	return f, nil
}

// UseCache opens the cache of the store with an ID, unless one is open.
func (f *FS) UseCache(id string) {
	if f.cache == nil && f.root != "" && id != "" && path.Base(id) == id {
		f.cache = openCache(path.Join(f.root, id))
	}
}

// Close stops what runs in the background, and closes the bucket.
func (f *FS) Close() error {
	f.cancel()
	f.sending.Wait()
	err := f.parts.Close()
	for _, files := range []map[string]*spool{f.spools, f.moved} {
		for _, s := range files {
			s.release(gone{})
		}
	}
	return errors.Join(err, f.cache.Close(), f.b.Close())
}

// Path implements durable.FS.
func (f *FS) Path(name string) string {
	at := strings.TrimSuffix(f.b.String(), "/")
	switch {
	case name == ".":
		return at
	case strings.HasSuffix(at, ":"):
		return at + name
	}
	return at + "/" + name
}

// failed returns an error of the bucket as one of a file system.
func (f *FS) failed(name string, err error) error {
	if err != nil && store.IsNotFound(err) {
		return fmt.Errorf("%s: %w", f.Path(name), fs.ErrNotExist)
	}
	return err
}

// valid returns an error for a name that no file has.
func (f *FS) valid(name string) error {
	if !fs.ValidPath(name) {
		return fmt.Errorf("%s: %w", f.Path(name), fs.ErrInvalid)
	}
	return nil
}

// Open implements durable.FS.
func (f *FS) Open(name string) (durable.File, error) {
	if err := f.valid(name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	s := cmp.Or(f.spools[name], f.moved[name])
	f.mu.Unlock()
	switch dir := path.Dir(name); {
	case s != nil:
		return borrowed{s}, nil
	case dir == pack.TempDir:
		return nil, f.failed(name, store.ErrNotFound)
	case dir == pack.Dir:
		return &remote{fs: f, name: name}, nil
	case dir == index.Dir:
		return f.fetch(name, math.MaxInt64)
	}
	b, err := f.load(name)
	if err != nil {
		return nil, err
	}
	return small{data: b}, nil
}

// OpenWhole implements durable.Far. The file is fetched when it is first read.
func (f *FS) OpenWhole(name string) (durable.File, error) {
	f.mu.Lock()
	s := f.moved[name]
	f.mu.Unlock()
	if s != nil {
		return borrowed{s}, nil
	}
	return &whole{remote: &remote{fs: f, name: name}}, nil
}

// load reads a small file.
func (f *FS) load(name string) ([]byte, error) {
	if f.lacks(name) {
		return nil, f.failed(name, store.ErrNotFound)
	}
	if name == sealed.ConfigName {
		f.mu.Lock()
		b := f.first
		f.first = nil
		f.mu.Unlock()
		if b != nil {
			return b, nil
		}
	}
	b, v, err := f.b.Load(f.ctx, name)
	if store.IsNotFound(err) {
		v = bucket.Absent
	} else if err != nil {
		return nil, f.failed(name, err)
	}
	f.know(name, b, v)
	return b, f.failed(name, err)
}

// Create implements durable.FS, in tmp/ only.
func (f *FS) Create(name string) (durable.File, error) {
	if err := f.valid(name); err != nil {
		return nil, err
	}
	if path.Dir(name) != pack.TempDir {
		return nil, fmt.Errorf("%s: %w", f.Path(name), errors.ErrUnsupported)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.spools[name] != nil {
		return nil, fmt.Errorf("%s: %w", f.Path(name), fs.ErrExist)
	}
	s, err := f.newSpool()
	if err == nil {
		f.spools[name] = s
	}
	return s, err
}

// SyncDir implements durable.FS.
func (f *FS) SyncDir(name string) error {
	switch name {
	case pack.Dir, index.Dir, pack.TempDir, ".":
		return f.ctx.Err() // Swap does it
	}
	return f.b.Sync(f.ctx)
}

// Lock implements durable.FS. There are no locks.
func (f *FS) Lock(string, bool) (durable.Lock, error) { return noLock{}, f.ctx.Err() }

type noLock struct{}

func (noLock) Shared() error { return nil }
func (noLock) Close() error  { return nil }

// Free implements durable.FS.
func (f *FS) Free() (int64, error) { return math.MaxInt64, nil }

// AbortUploads removes what interrupted uploads left before a time of the service's clock.
func (f *FS) AbortUploads(before time.Time) error { return f.b.AbortUploads(f.ctx, before) }

// pause waits a little longer at each try, and not as long as others do.
func pause(ctx context.Context, try int) error {
	most := min(10*time.Millisecond<<min(try, 8), 2*time.Second)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(most)):
		return nil
	}
}

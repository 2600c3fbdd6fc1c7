package ingest

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/durable"
	"castar/store/table"

	"golang.org/x/sys/unix"
)

// Cache remembers the digests of files that have not changed since, so that ingesting a tree again reads only what did.
//
// There is one cache file for each store and root path, replaced whole after an ingest; where a root has none, that of
// the nearest directory above it is read. It is a table (store/table) of one record a file:
//
//	key   = mix:u64 dev:u64 inode:u64                      big-endian; mix spreads the other two evenly
//	value = size:u64 mtime:u64 ctime:u64 mode:u32 digest   big-endian; times in nanoseconds
//
// A record holds only if all of it is true of the file, and it is kept only if any later change must show: file systems
// stamp changes with a clock that stands still for some milliseconds, so a file that was changed just before it was
// read could change again without a trace. Those are read again the next time (git's rule for racy timestamps). What a
// program writes through a memory map shows only when it first touches a page: to what it does there later only reading
// the file is proof.
//
// A cache may be removed at any time. What it says counts only where the store has the blob. A nil *Cache is empty and
// stays so. All methods may be called concurrently.
type Cache struct {
	dir, path string
	old       table.Table
	data      []byte          // memory map of old
	used      []atomic.Uint64 // a bit for each record of old that was found
	own       bool            // old is path itself, and not that of a directory above

	mu     sync.Mutex
	added  *table.Builder
	failed error // why nothing is added any more
}

var cacheShape = table.Shape{Key: 24, Value: 28 + store.DigestSize}

const (
	cacheExt = ".stat"
	// clockTick is more than the coarsest clock that a kernel stamps changes with: one tick at 100 Hz.
	clockTick = 20 * time.Millisecond
	// coarseTick is the same for file systems that keep whole seconds, FAT even pairs of them.
	coarseTick = 2 * time.Second
	// cacheAge is how long the cache of a root is kept that nobody ingests any more.
	cacheAge = 90 * 24 * time.Hour
)

// OpenCache opens the cache of the tree at path, an absolute path, for the store with that ID, in the folder dir, which
// is made if it is missing. A damaged cache is as good as none.
func OpenCache(dir, storeID, path string) (*Cache, error) { return openCache(dir, storeID, path, 0) }

// openCache keeps at most limit new records in memory, or as many as is usual if limit is 0.
func openCache(dir, storeID, path string, limit int) (*Cache, error) {
	folder := filepath.Join(dir, storeID)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	tagCache(dir)
	dir = folder
	c := &Cache{dir: dir, path: cachePath(dir, path)}
	for at := path; ; at = filepath.Dir(at) {
		err := c.load(cachePath(dir, at))
		if err == nil {
			c.own = at == path
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	c.used = make([]atomic.Uint64, (c.old.Len()+63)/64)
	var err error
	c.added, err = table.NewBuilder(cacheShape, limit, func() (table.Spill, error) { return newSpill(dir) })
	return c, err
}

// tagCache marks dir as a cache, so that those who archive what is around it can leave it out. Caches work without.
func tagCache(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, ignore.CacheDirTag), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return // mostly because it is there
	}
	_, err = f.WriteString(ignore.CacheDirSignature + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
	}
}

func cachePath(dir, root string) string {
	return filepath.Join(dir, store.Sum([]byte(root)).String()[:32]+cacheExt)
}

// load maps a cache file, if it is whole. A pipe in its place is not waited for.
func (c *Cache) load(path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := mapFile(f)
	if err != nil || data == nil {
		return err
	}
	t, err := table.Open(cacheShape, data)
	if err == nil {
		err = t.Check()
	}
	if err != nil {
		return unix.Munmap(data)
	}
	c.old, c.data = t, data
	return nil
}

// mapFile returns a memory map of a file, nil where it is empty or no regular file.
func mapFile(f *os.File) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 || !fi.Mode().IsRegular() {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
}

// encode returns the record of a file, but for the digest.
func (s *stat) encode(r *[24 + 28 + store.DigestSize]byte) (key, value []byte) {
	be := binary.BigEndian
	mix := (s.ino ^ s.dev<<32 ^ s.dev>>32) * 0x9e3779b97f4a7c15 // Fibonacci hashing: 2^64 over the golden ratio
	be.PutUint64(r[0:], mix^mix>>32)
	be.PutUint64(r[8:], s.dev)
	be.PutUint64(r[16:], s.ino)
	be.PutUint64(r[24:], s.size)
	be.PutUint64(r[32:], uint64(s.mtime))
	be.PutUint64(r[40:], uint64(s.ctime))
	be.PutUint32(r[48:], s.mode)
	return r[:24], r[24:52]
}

// lookup returns the digest of a file if it has not changed.
func (c *Cache) lookup(s *stat) (d store.Digest, ok bool) {
	if c == nil {
		return d, false
	}
	var r [24 + 28 + store.DigestSize]byte
	key, value := s.encode(&r)
	i, ok := c.old.Search(key)
	if !ok {
		return d, false
	}
	found := c.old.Record(i)[len(key):]
	if string(found[:len(value)]) != string(value) {
		return d, false
	}
	c.used[i/64].Or(1 << (i % 64))
	return store.Digest(found[len(value):]), true
}

// add records the digest of a file that was read from the instant begun on, unless a later change might not show. Where
// that fails, on a full disk, it is for Save to say so: the ingest itself is none the worse.
func (c *Cache) add(s *stat, d store.Digest, begun time.Time) {
	if c == nil {
		return
	}
	tick := clockTick
	if s.ctime%int64(time.Second) == 0 && s.mtime%int64(time.Second) == 0 {
		tick = coarseTick
	}
	if s.ctime >= begun.Add(-tick).UnixNano() {
		return
	}
	var r [24 + 28 + store.DigestSize]byte
	key, _ := s.encode(&r)
	copy(r[52:], d[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = c.added.Add(key, r[24:])
	}
}

// Save replaces the cache file by what this ingest found, if that differs. It is to be called once the ingest is done.
func (c *Cache) Save() error {
	if c == nil {
		return nil
	}
	if c.failed != nil {
		return c.failed
	}
	if c.own && c.added.Len() == 0 && c.countUsed() == c.old.Len() {
		now := time.Now()
		return os.Chtimes(c.path, now, now) // still in use
	}
	tmp := filepath.Join(c.dir, durable.TempName()+".tmp")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	sources := append([]table.Source{}, c.added.Sources()...)
	sources = append(sources, c.kept())
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err = table.Write(w, cacheShape, table.Count(sources...), table.Merge(cacheShape, sources...)); err == nil {
		err = w.Flush()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, c.path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return c.prune()
}

// kept is the records of the old cache that were found, as a table.Source.
func (c *Cache) kept() table.Source {
	k := kept{t: c.old, numbers: make([]uint32, 0, c.countUsed())}
	for i := range c.old.Len() {
		if c.used[i/64].Load()&(1<<(i%64)) != 0 {
			k.numbers = append(k.numbers, uint32(i))
		}
	}
	return k
}

type kept struct {
	t       table.Table
	numbers []uint32
}

func (k kept) Len() int            { return len(k.numbers) }
func (k kept) Record(i int) []byte { return k.t.Record(int(k.numbers[i])) }

func (c *Cache) countUsed() (n int) {
	for i := range c.old.Len() {
		n += int(c.used[i/64].Load() >> (i % 64) & 1)
	}
	return n
}

// prune removes caches that have not been used for a long time, and what an interrupted Save left.
func (c *Cache) prune() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue // another process was faster
		}
		if time.Since(fi.ModTime()) > cacheAge {
			os.Remove(filepath.Join(c.dir, e.Name()))
		}
	}
	return nil
}

// Close releases the cache. What was not saved is lost.
func (c *Cache) Close() error {
	if c == nil {
		return nil
	}
	err := c.added.Close()
	if c.data != nil {
		err = errors.Join(err, unix.Munmap(c.data))
		c.data, c.old = nil, table.Table{}
	}
	return err
}

// spill is a temporary file for what the cache of a very large tree cannot keep in memory. It has no name.
type spill struct {
	*os.File
	data []byte
}

func newSpill(dir string) (table.Spill, error) {
	f, err := os.CreateTemp(dir, "*.tmp")
	if err != nil {
		return nil, err
	}
	return &spill{File: f}, os.Remove(f.Name())
}

func (s *spill) Map() (data []byte, err error) {
	s.data, err = mapFile(s.File)
	return s.data, err
}

func (s *spill) Close() error {
	if s.data == nil {
		return s.File.Close()
	}
	if err := unix.Munmap(s.data); err != nil {
		return fmt.Errorf("unmap: %w", err)
	}
	return s.File.Close()
}

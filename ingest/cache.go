package ingest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"castar/store"
	"castar/store/table"

	"golang.org/x/sys/unix"
)

// Cache remembers the digests of files that have not changed since, so that ingesting a tree again reads only what did.
//
// There is one cache file for each store and root path; where a root has none, that of the nearest directory above it is
// read. It is a table (store/table) of one record a file:
//
//	key   = path:u128                              hash of the absolute path and the file system's name
//	value = size:u64 mtime:u64 ctime:u64           times in nanoseconds
//	        inode:u64 mount:u64 boot:u32 day:u16   where and when the file was seen; see volume
//	        digest
//
// All numbers are big-endian. A record holds only if all of it is true of the file and volume.proves says so, and it is
// kept only if any later change must show: file systems stamp changes with a clock that stands still for some
// milliseconds, so a file that was changed just before it was read could change again without a trace. Those are read
// again the next time (git's rule for racy timestamps). What a program writes through a memory map shows only when it
// first touches a page: to what it does there later only reading the file is proof.
//
// A record stays until the file was not seen for a long time, whatever else is ingested meanwhile and however that ends.
// What it says counts only where the store has the blob. A cache may be removed at any time. A nil *Cache is empty and
// stays so. All methods may be called concurrently, but for Save and Close.
type Cache struct {
	dir, path string
	root      pathKey
	old       table.Table
	data      []byte // memory map of old
	own       bool   // old is path itself, and not that of a directory above
	today     uint16 // days since 1970

	mu     sync.Mutex
	added  *table.Builder
	failed error // why nothing is added any more
}

// record is what a cache knows of a file beside its key.
type record struct {
	size         uint64
	mtime, ctime int64
	ino, mount   uint64
	boot         uint32
	day          uint16
	digest       store.Digest
}

var cacheShape = table.Shape{Key: 16, Value: 3*8 + 2*8 + 4 + 2 + store.DigestSize}

const (
	// clockTick is more than the coarsest clock that a kernel stamps changes with: one tick at 100 Hz.
	clockTick = 20 * time.Millisecond
	// coarseTick is the same for file systems that keep whole seconds, FAT even pairs of them.
	coarseTick = 2 * time.Second
	// refreshDays is how old the day of a record gets before a file that is seen again is recorded again: seldom enough
	// that a cache to which nothing is added is mostly not written.
	refreshDays = 7
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
	c := &Cache{dir: dir, path: cachePath(dir, path), root: keyOf(path), today: dayOf(time.Now())}
	for at := path; ; at = filepath.Dir(at) {
		var err error
		c.old, c.data, err = loadCache(cachePath(dir, at))
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
	var err error
	c.added, err = table.NewBuilder(cacheShape, limit, func() (table.Spill, error) { return newSpill(dir) })
	return c, err
}

func dayOf(t time.Time) uint16 { return uint16(t.Unix() / (24 * 60 * 60)) }

// loadCache maps a cache file, if it is whole; what is not whole is as good as empty. A pipe in its place is not waited
// for.
func loadCache(path string) (t table.Table, data []byte, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return t, nil, err
	}
	defer f.Close()
	data, err = mapFile(f)
	if err != nil || data == nil {
		return t, nil, err
	}
	t, err = table.Open(cacheShape, data)
	if err == nil {
		err = t.Check()
	}
	if err != nil {
		return table.Table{}, nil, unix.Munmap(data)
	}
	return t, data, nil
}

// mapFile returns a memory map of a file, nil where it is empty or no regular file.
func mapFile(f *os.File) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 || !fi.Mode().IsRegular() {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
}

// lookup returns the digest of a file on v if it has not changed. fresh is false where that is to be recorded again,
// with add, so that it will be known longer.
func (c *Cache) lookup(k pathKey, v *volume, st *stat) (d store.Digest, known, fresh bool) {
	if c == nil || !v.holds(st) && !v.believed {
		return d, false, false
	}
	key := k.on(v, st)
	value, ok := c.old.Find(key[:])
	if !ok {
		return d, false, false
	}
	r := decodeRecord(value)
	if r.size != st.size || r.mtime != st.mtime || r.ctime != st.ctime || !v.proves(&r, st) {
		return d, false, false
	}
	return r.digest, true, c.own && r.mount == v.mount && c.today-r.day < refreshDays
}

// add records the digest of a file on v that was read from the instant begun on, unless a later change might not show.
// Where that fails, on a full disk, it is for Save to say so: the ingest itself is none the worse.
func (c *Cache) add(k pathKey, v *volume, st *stat, d store.Digest, begun time.Time) {
	if c == nil || !v.holds(st) && !v.believed {
		return
	}
	tick := clockTick
	if st.ctime%int64(time.Second) == 0 && st.mtime%int64(time.Second) == 0 {
		tick = coarseTick
	}
	if st.ctime >= begun.Add(-tick).UnixNano() {
		return
	}
	key := k.on(v, st)
	value := (&record{st.size, st.mtime, st.ctime, st.ino, v.mount, v.boot, c.today, d}).encode()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = c.added.Add(key[:], value[:])
	}
}

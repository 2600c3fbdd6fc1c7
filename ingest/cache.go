package ingest

import (
	"encoding/binary"
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

// Cache remembers the digests of files, so that ingesting a tree again reads only the files that changed.
//
// There is one cache file for each store and root path. If a root has none, that of the nearest directory above it is
// read. A cache file is a table (store/table) of one record for each file:
//
//	key   = directory:u64 path:u64                 hashes of the absolute path of its directory, with the file
//	                                               system's name, and of its own
//	value = size:u64 mtime:u64 ctime:u64           times in nanoseconds
//	        inode:u64 mount:u64 boot:u32 day:u16   where and when the file was seen; see volume
//	        digest
//
// All numbers are big-endian. A record is believed only if all of it matches the file, volume.proves agrees, and the
// store has the blob. A record is made only if any later change must show. File systems stamp changes with a clock that
// stands still for some milliseconds, so a file that changed just before it was read could change again unnoticed. Such a
// file is read again the next time (git's rule for racy timestamps). Writes through a memory map show only when a page is
// first touched. Only reading the file reveals later ones.
//
// A record stays until its file has not been seen for a long time, whatever else is ingested. A cache may be removed at
// any time. A nil *Cache is empty and stays empty. All methods except Save and Close may be called concurrently.
type Cache struct {
	dir, path string
	root      fileKey
	old       table.Table
	data      []byte // memory map of old
	own       bool   // old is the file at path, not that of a directory above
	today     uint16 // days since 1970

	mu     sync.Mutex
	added  *table.Builder
	failed error // why no more records are added
}

// cacheEntry is what a cache stores about a file under its key.
type cacheEntry struct {
	size         uint64
	mtime, ctime int64
	ino, mount   uint64
	boot         uint32
	day          uint16
	digest       store.Digest
}

var cacheShape = table.Shape{Key: 16, Value: 3*8 + 2*8 + 4 + 2 + store.DigestSize}

const (
	// clockTick is longer than a tick of the coarsest clock that a kernel stamps changes with (100 Hz).
	clockTick = 20 * time.Millisecond
	// coarseTick is the same for file systems that keep whole seconds, or pairs of seconds (FAT).
	coarseTick = 2 * time.Second
	// refreshDays is the age of a record, in days, at which it is renewed when its file is seen again. Renewals are rare
	// enough that a cache to which nothing is added is mostly not written.
	refreshDays = 7
)

// OpenCache opens the cache in the folder dir for the store with that ID and the tree at path, which is absolute. It
// makes dir if it is missing. A damaged cache counts as empty.
func OpenCache(dir, storeID, path string) (*Cache, error) { return openCache(dir, storeID, path, 0) }

// openCache is OpenCache with at most limit new records in memory, or the default number if limit is 0.
func openCache(dir, storeID, path string, limit int) (*Cache, error) {
	folder := filepath.Join(dir, storeID)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	tagCache(dir)
	dir = folder
	c := &Cache{dir: dir, path: cachePath(dir, path), root: fileKeyOf(path), today: dayOf(time.Now())}
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

// loadCache maps a cache file. A damaged file counts as empty. loadCache does not wait for a pipe in place of the file.
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

// mapFile returns a memory map of a file, or nil if the file is empty or not regular.
func mapFile(f *os.File) ([]byte, error) {
	fi, err := f.Stat()
	if err != nil || fi.Size() == 0 || !fi.Mode().IsRegular() {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, int(fi.Size()), unix.PROT_READ, unix.MAP_SHARED)
}

// lookup returns the digest of a file on v if the file has not changed. If fresh is false, the caller should record the
// file again, with add, to keep it in the cache.
func (c *Cache) lookup(k fileKey, v *volume, st *stat) (d store.Digest, known, fresh bool) {
	if c == nil || !v.holds(st) && !v.believed {
		return d, false, false
	}
	key := k.on(v, st)
	value, ok := c.old.Find(key[:])
	if !ok {
		return d, false, false
	}
	r := decodeCacheEntry(value)
	if r.size != st.size || r.mtime != st.mtime || r.ctime != st.ctime || !v.proves(&r, st) {
		return d, false, false
	}
	return r.digest, true, c.own && r.mount == v.mount && c.today-r.day < refreshDays
}

// add records the digest of a file on v, unless a later change might not show. begun is the time just before the file was
// read. If adding fails, on a full disk, Save returns the error: the ingest itself goes on.
func (c *Cache) add(k fileKey, v *volume, st *stat, d store.Digest, begun time.Time) {
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
	value := (&cacheEntry{st.size, st.mtime, st.ctime, st.ino, v.mount, v.boot, c.today, d}).encode()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failed == nil {
		c.failed = c.added.Add(key[:], value[:])
	}
}

func (r *cacheEntry) encode() (b [3*8 + 2*8 + 4 + 2 + store.DigestSize]byte) {
	be := binary.BigEndian
	be.PutUint64(b[0:], r.size)
	be.PutUint64(b[8:], uint64(r.mtime))
	be.PutUint64(b[16:], uint64(r.ctime))
	be.PutUint64(b[24:], r.ino)
	be.PutUint64(b[32:], r.mount)
	be.PutUint32(b[40:], r.boot)
	be.PutUint16(b[44:], r.day)
	copy(b[46:], r.digest[:])
	return b
}

func decodeCacheEntry(b []byte) cacheEntry {
	be := binary.BigEndian
	return cacheEntry{
		size: be.Uint64(b[0:]), mtime: int64(be.Uint64(b[8:])), ctime: int64(be.Uint64(b[16:])),
		ino: be.Uint64(b[24:]), mount: be.Uint64(b[32:]), boot: be.Uint32(b[40:]), day: be.Uint16(b[44:]),
		digest: store.Digest(b[46:]),
	}
}

// on returns the key in a cache file for the file with the key k on v. Files of one directory are beside each other, because
// they are asked for one after the other. The bytes that say which directory are mixed, because a table finds keys fast if
// they are spread evenly.
func (k fileKey) on(v *volume, st *stat) (key [16]byte) {
	dir := k.dir
	if v.holds(st) {
		dir.lo ^= v.id
	}
	dir.hi = (dir.hi ^ dir.lo) * 0x9e3779b97f4a7c15 // Fibonacci hashing: 2^64 over the golden ratio
	binary.BigEndian.PutUint64(key[0:], dir.hi^dir.hi>>32)
	binary.BigEndian.PutUint64(key[8:], k.path.lo)
	return key
}

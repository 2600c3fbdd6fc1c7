package ingest

import (
	"bufio"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/durable"
	"castar/store/posix"
	"castar/store/table"

	"golang.org/x/sys/unix"
)

const (
	// cacheExt is the extension of cache files. It was .stat, and then .files, when records had other keys.
	cacheExt = ".paths"
	// cacheDays is how many days a record is kept if its file is not seen, and a cache file if its root is not ingested.
	cacheDays = 90
	// maxUnseen is how many records of files not seen lately a cache file keeps, about 400 MB.
	maxUnseen = 4 << 20
	// maxCaches is how many bytes the cache files of one store may take. Beyond that the least recently used are removed.
	maxCaches = 2 << 30
)

// tagCache marks dir as a cache, so that backups can leave it out. It ignores errors, because a cache works without.
func tagCache(dir string) {
	f, err := os.OpenFile(filepath.Join(dir, ignore.CacheDirTag), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return // mostly because it exists
	}
	_, err = f.WriteString(ignore.CacheDirSignature + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		os.Remove(f.Name())
	}
}

func cachePath(dir, root string) string {
	return filepath.Join(dir, store.Sum([]byte(root)).String()[:32]+cacheExt)
}

// Save adds what this ingest found to the cache file. Call it when the ingest has ended, even with an error. Records that
// another process saves at the same moment may be lost.
func (c *Cache) Save() error {
	if c == nil {
		return nil
	}
	if c.failed != nil {
		return c.failed
	}
	if c.added.Len() == 0 {
		return c.touch()
	}
	before, data, err := loadCache(c.path) // another process may have replaced c.old
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if data != nil {
		defer unix.Munmap(data)
	}
	tmp := filepath.Join(c.dir, durable.TempName()+".tmp")
	if err = c.write(tmp, append(c.added.Sources(), c.kept(before, maxUnseen))); err == nil {
		err = os.Rename(tmp, c.path)
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return c.prune(maxCaches)
}

// touch marks a cache file as used if nothing is added to it.
func (c *Cache) touch() error {
	if !c.own {
		return nil
	}
	now := time.Now()
	if err := os.Chtimes(c.path, now, now); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // another process removed it
}

// write makes a cache file from sources. For a key in several sources the first one counts.
func (c *Cache) write(path string, sources []table.Source) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if _, err = table.Write(w, cacheShape, table.Count(sources...), table.Merge(cacheShape, sources...)); err == nil {
		err = w.Flush()
	}
	return cmp.Or(err, f.Close())
}

// kept returns the records of t that are young enough to keep. Of those not seen lately it keeps about limit, the
// youngest.
func (c *Cache) kept(t table.Table, limit int) table.Source {
	var byAge [cacheDays + 2]int
	for i := range t.Len() {
		byAge[c.age(t.Record(i))]++
	}
	oldest, n := 0, 0
	for age := range cacheDays + 1 {
		if age > refreshDays {
			if n += byAge[age]; n > limit {
				break
			}
		}
		oldest = age
	}
	k := kept{t: t}
	for i := range t.Len() {
		if c.age(t.Record(i)) <= oldest {
			k.numbers = append(k.numbers, uint32(i))
		}
	}
	return k
}

// age returns how many days ago a record was made, or cacheDays+1 if that is more than cacheDays. A record from the
// future, made when the clock was wrong, counts as too old.
func (c *Cache) age(rec []byte) int {
	r := decodeCacheEntry(rec[cacheShape.Key:])
	return int(min(c.today-r.day, cacheDays+1))
}

type kept struct {
	t       table.Table
	numbers []uint32
}

func (k kept) Len() int            { return len(k.numbers) }
func (k kept) Record(i int) []byte { return k.t.Record(int(k.numbers[i])) }

// prune removes caches not used for a long time, the least recently used caches beyond a total of limit bytes, and what
// an interrupted Save left.
func (c *Cache) prune(limit int64) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	for _, e := range entries {
		if fi, err := e.Info(); err == nil { // otherwise another process removed it
			files = append(files, fi)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return cmp.Compare(b.ModTime().UnixNano(), a.ModTime().UnixNano()) })
	size := int64(0)
	for _, fi := range files {
		isCache := filepath.Ext(fi.Name()) == cacheExt
		if isCache {
			size += fi.Size()
		}
		tooOld := time.Since(fi.ModTime()) > cacheDays*24*time.Hour
		if tooOld || isCache && size > limit && fi.Name() != filepath.Base(c.path) {
			os.Remove(filepath.Join(c.dir, fi.Name()))
		}
	}
	return nil
}

// Close releases the cache. Records that were not saved are lost.
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

// spill is a nameless temporary file for new records of a very large tree, which do not fit in memory.
type spill struct {
	*os.File
	data []byte
}

func newSpill(dir string) (table.Spill, error) {
	f, err := posix.Nameless(dir)
	return &spill{File: f}, err
}

func (s *spill) Map() (data []byte, err error) {
	s.data, err = mapFile(s.File)
	return s.data, err
}

func (s *spill) Close() error {
	var err error
	if s.data != nil {
		err = unix.Munmap(s.data)
	}
	return errors.Join(err, s.File.Close())
}

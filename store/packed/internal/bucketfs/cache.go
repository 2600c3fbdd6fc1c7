package bucketfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"castar/store"
	"castar/store/durable"
)

// cache keeps files of a bucket, which never change, in a folder on this machine. The name of each ends with the digest of
// its bytes, which is checked when it is opened: only what is whole is used. Anything in the folder may be removed at any
// time. A nil cache keeps nothing, and what cannot be kept is no error.
type cache struct {
	dir  *durable.DirFS
	path string

	mu    sync.Mutex
	names map[string]string // of files in the folder, by their names in the store
}

// mostCached is how many bytes are kept of one store.
const mostCached = 1 << 30

func openCache(dir string) *cache {
	if os.MkdirAll(dir, 0o700) != nil {
		return nil
	}
	d, err := durable.Dir(dir)
	if err != nil {
		return nil
	}
	c := &cache{dir: d, path: dir, names: map[string]string{}}
	entries, _ := d.ReadDir(".")
	for _, e := range entries {
		if n := strings.LastIndexByte(e.Name(), '-'); n > 0 && e.Type().IsRegular() {
			c.names[e.Name()[:n]] = e.Name()
		}
	}
	return c
}

func (c *cache) Close() error {
	if c == nil {
		return nil
	}
	return c.dir.Close()
}

// local returns the beginning of the name of a file in the cache.
func local(name string) string { return strings.ReplaceAll(name, "/", "_") }

// find returns the name of a file in the cache, or "".
func (c *cache) find(name string) string {
	if c == nil {
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names[local(name)]
}

// open returns a file that is whole, or nil.
func (c *cache) open(name string) durable.File {
	at := c.find(name)
	if at == "" {
		return nil
	}
	file, err := c.dir.Open(at)
	if err != nil {
		return nil
	}
	data, err := file.Map()
	if err == nil && strings.HasSuffix(at, "-"+store.Sum(data).String()) {
		now := time.Now()
		os.Chtimes(filepath.Join(c.path, at), now, now) // so that it is not the first to go
		file.Unmap(data)
		return file
	}
	file.Unmap(data)
	file.Close()
	c.remove(name)
	return nil
}

// small returns the bytes of a small file, or nil.
func (c *cache) small(name string) []byte {
	file := c.open(name)
	if file == nil {
		return nil
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return nil
	}
	b := make([]byte, size)
	if n, _ := file.ReadAt(b, 0); int64(n) < size {
		return nil
	}
	return b
}

// blockName is the name by which the cache has a block of a pack.
func blockName(name string, n int64) string { return fmt.Sprintf("%s.%d", name, n) }

// blocks returns the blocks of a pack from one number to before another, or to the end of the pack, if all are there.
// Otherwise it returns nil.
func (c *cache) blocks(name string, from, to int64) (data []byte) {
	for n := from; n < to; n++ {
		b := c.small(blockName(name, n))
		if b == nil {
			return nil
		}
		if data = append(data, b...); len(b) < blockLen {
			break
		}
	}
	return data
}

// add keeps a file of that many bytes. Its name appears when it is whole.
func (c *cache) add(name string, from io.Reader, size int64) {
	if c == nil || size > mostCached/2 || c.find(name) != "" {
		return
	}
	c.makeRoom(size)
	tmp := ".new-" + durable.TempName()
	file, err := c.dir.Create(tmp)
	if err != nil {
		return
	}
	var sum store.Hasher
	n, err := io.Copy(io.MultiWriter(file, &sum), from)
	at := local(name) + "-" + sum.Sum().String()
	if err = errors.Join(err, file.Close()); err == nil && n == size {
		err = c.dir.Rename(tmp, at)
	}
	if err != nil || n != size {
		c.dir.Remove(tmp)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names[local(name)] = at
}

// remove forgets a file.
func (c *cache) remove(name string) {
	if at := c.find(name); at != "" {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.names, local(name))
		c.dir.Remove(at)
	}
}

// makeRoom removes the files that were not used for the longest time, and what a process that was killed left.
func (c *cache) makeRoom(size int64) {
	entries, _ := c.dir.ReadDir(".")
	var files []fs.FileInfo
	for _, e := range entries {
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() {
			files = append(files, fi)
			size += fi.Size()
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, fi := range files {
		abandoned := strings.HasPrefix(fi.Name(), ".") && time.Since(fi.ModTime()) > 24*time.Hour
		if size > mostCached || abandoned {
			c.dir.Remove(fi.Name())
			size -= fi.Size()
		}
	}
}

// mostWhole is the length of the longest pack without contents that is fetched as a whole. Castar makes none in buckets
// that is as long.
const mostWhole = 64 << 20

// fetch returns a file on this machine: from the cache, or from the bucket. Of one that is longer than most it returns a
// part of the bucket instead.
func (f *FS) fetch(name string, most int64) (durable.File, error) {
	if !f.anew {
		if file := f.cache.open(name); file != nil {
			return file, nil
		}
	}
	const piece = 8 << 20
	s, err := f.newSpool()
	if err != nil {
		return nil, err
	}
	s.named = false
	size := int64(0)
	for {
		b, err := f.b.Get(f.ctx, name, size, piece)
		if err != nil {
			s.Close()
			return nil, f.failed(name, err)
		}
		if _, err := s.Write(b); err != nil {
			s.Close()
			return nil, err
		}
		size += int64(len(b))
		if len(b) < piece {
			break
		}
		if size > most {
			s.Close()
			return &remote{fs: f, name: name}, nil
		}
	}
	if path.Ext(name) != "" {
		f.cache.add(name, io.NewSectionReader(s, 0, size), size)
	}
	return s, nil
}

// whole is a file that is fetched when it is first read.
type whole struct {
	*remote
	mu   sync.Mutex
	file durable.File // nil: not fetched yet
}

func (w *whole) fetched() (durable.File, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var err error
	if w.file == nil {
		w.file, err = w.fs.fetch(w.name, mostWhole)
	}
	return w.file, err
}

func (w *whole) ReadAt(p []byte, off int64) (int, error) {
	file, err := w.fetched()
	if err != nil {
		return 0, err
	}
	return file.ReadAt(p, off)
}

func (w *whole) Size() (int64, error) {
	file, err := w.fetched()
	if err != nil {
		return 0, err
	}
	return file.Size()
}

// Close closes what was fetched. Nobody may be reading.
func (w *whole) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

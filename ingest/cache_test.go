package ingest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"

	"golang.org/x/sys/unix"
)

// cached ingests one path with a cache, any number of times.
type cached struct {
	t     *testing.T
	st    *store.Store
	dir   string // of caches
	limit int
	later int // days from now on
	trust bool
}

func newCached(t *testing.T) *cached { return &cached{t: t, st: memory.New(), dir: t.TempDir()} }

func (c *cached) open(path string) *Cache {
	c.t.Helper()
	cache, err := openCache(c.dir, c.st.ID, path, c.limit)
	try(c.t, err)
	cache.today += uint16(c.later)
	return cache
}

// ingest stores path, which holds v, and returns the paths, relative to it, of the files that were opened. First it waits
// until all changes are old enough for the cache.
func (c *cached) ingest(path string, v tree) (opened []string) {
	c.t.Helper()
	time.Sleep(2 * clockTick)
	cache := c.open(path)
	defer cache.Close()
	var mu sync.Mutex
	o := Options{Jobs: 8, Cache: cache, TrustCache: c.trust, Progress: new(Progress), hook: func(m hookMoment, p string) {
		if m == hookOpened {
			mu.Lock()
			defer mu.Unlock()
			opened = append(opened, strings.TrimPrefix(p, path+"/"))
		}
	}}
	r, err := FS(context.Background(), c.st, path, o)
	try(c.t, err)
	if want := rootOf(c.t, v); r.Root != want {
		c.t.Errorf("root %v, want %v", r.Root, want)
	}
	if n := o.Progress.Unchanged.Load() + uint64(len(opened)); n != r.Counts.Files {
		c.t.Errorf("%d files unchanged or opened, want %d", n, r.Counts.Files)
	}
	if n := o.Progress.Bytes.Load(); n != r.Counts.Bytes {
		c.t.Errorf("progress says %d bytes, the result %d", n, r.Counts.Bytes)
	}
	try(c.t, cache.Save())
	for _, e := range c.files() {
		if filepath.Ext(e) != cacheExt {
			c.t.Errorf("Save left %s", e)
		}
	}
	slices.Sort(opened)
	return opened
}

func (c *cached) files() (names []string) {
	c.t.Helper()
	names, err := filepath.Glob(filepath.Join(c.dir, c.st.ID, "*"))
	try(c.t, err)
	return names
}

// want calls ingest and checks which files it opens.
func (c *cached) want(path string, v tree, opened ...string) {
	c.t.Helper()
	if got := c.ingest(path, v); !slices.Equal(got, opened) {
		c.t.Errorf("opened %q, want %q", got, opened)
	}
}

func TestCacheChanges(t *testing.T) {
	v := tree{"a": "aaa", "b": exec("bbb"), "l": link("a"), "sub": tree{"c": "ccc", "empty": "", "big": strings.Repeat("big", 100_000)}}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.want(dir, v, "a", "b", "sub/big", "sub/c", "sub/empty")
	c.want(dir, v)
	same := func(path string, change func()) { // the times are as they were
		fi, err := os.Stat(path)
		try(t, err)
		change()
		try(t, os.Chtimes(path, fi.ModTime(), fi.ModTime()))
	}

	change(t, dir+"/a", "aaaa")
	v["a"] = "aaaa"
	c.want(dir, v, "a")
	same(dir+"/a", func() { try(t, os.WriteFile(dir+"/a", []byte("AAAA"), 0)) })
	v["a"] = "AAAA"
	c.want(dir, v, "a")
	same(dir+"/a", func() { try(t, os.WriteFile(dir+"/a", []byte("AAA"), 0)) })
	v["a"] = "AAA"
	c.want(dir, v, "a")
	touch(t, dir+"/b")
	c.want(dir, v, "b")
	try(t, os.Chmod(dir+"/b", 0o644))
	v["b"] = "bbb"
	c.want(dir, v, "b")
	same(dir+"/sub/c", func() {
		plant(t, dir+"/sub/d", "ddd")
		try(t, os.Rename(dir+"/sub/d", dir+"/sub/c"))
	})
	v["sub"].(tree)["c"] = "ddd"
	c.want(dir, v, "sub/c")
	try(t, os.Rename(dir+"/sub", dir+"/bus"))
	v["bus"] = v["sub"]
	delete(v, "sub")
	c.want(dir, v, "bus/big", "bus/c", "bus/empty")
	c.want(dir, v)
	// Two files of the same size and mtime trade names. Inode number and ctime show it.
	when := time.Now().Add(-time.Hour)
	for _, name := range []string{"/a", "/b"} {
		change(t, dir+name, name[1:])
		try(t, os.Chtimes(dir+name, when, when))
	}
	v["a"], v["b"] = "a", "b"
	c.want(dir, v, "a", "b")
	try(t, os.Rename(dir+"/a", dir+"/x"))
	try(t, os.Rename(dir+"/b", dir+"/a"))
	try(t, os.Rename(dir+"/x", dir+"/b"))
	v["a"], v["b"] = "b", "a"
	c.want(dir, v, "a", "b")
}

// TestCacheOtherStore checks that a cache has no effect if the store lacks the blobs.
func TestCacheOtherStore(t *testing.T) {
	v := tree{"a": "a", "b": "b"}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.want(dir, v, "a", "b")
	id := c.st.ID
	c.st = memory.New()
	c.want(dir, v, "a", "b") // another cache
	c.st = memory.New()
	c.st.ID = id
	_, err := c.st.Blobs.Put(context.Background(), []byte("b"))
	try(t, err)
	c.want(dir, v, "a") // the same cache
	c.want(dir, v)
}

func TestCacheDamaged(t *testing.T) {
	v := tree{"a": "a", "b": "b", "c": "c"}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.want(dir, v, "a", "b", "c")
	path := cachePath(filepath.Join(c.dir, c.st.ID), dir)
	whole, err := os.ReadFile(path)
	try(t, err)
	damages := map[string][]byte{
		"empty": {}, "garbage": []byte("garbage"), "one byte": {0}, "twice": append(slices.Clone(whole), whole...),
		"zeros": make([]byte, len(whole)), "long": append(slices.Clone(whole), 0),
	}
	for _, n := range []int{1, 31, 32, 84, len(whole) / 2, len(whole) - 1} {
		damages[fmt.Sprintf("first %d bytes", n)] = whole[:n]
	}
	for _, i := range []int{0, 9, 30, 60, 100, len(whole) - 40, len(whole) - 1} {
		bad := slices.Clone(whole)
		bad[i] ^= 0x10
		damages[fmt.Sprintf("byte %d", i)] = bad
	}
	for name, bad := range damages {
		try(t, os.WriteFile(path, bad, 0o600))
		cache := c.open(dir)
		if cache.old.Len() != 0 {
			t.Errorf("%s: %d records of a damaged cache are believed", name, cache.old.Len())
		}
		try(t, cache.Close())
	}
	c.want(dir, v, "a", "b", "c") // with the last of them
	c.want(dir, v)
	try(t, os.Remove(path))
	try(t, unix.Mkfifo(path, 0o600)) // which is not waited for
	c.want(dir, v, "a", "b", "c")
	c.want(dir, v)
	try(t, os.Remove(path))
	try(t, os.Mkdir(path, 0o700))
	try(t, c.open(dir).Close())
}

// TestCacheAbove checks that a directory without a cache reads that of a directory above, and does not write it.
func TestCacheAbove(t *testing.T) {
	sub := tree{"a": "a", "b": tree{"c": "c"}}
	v := tree{"x": "x", "sub": sub}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.want(dir, v, "sub/a", "sub/b/c", "x")
	before, err := os.ReadFile(c.files()[0])
	try(t, err)
	above := c.files()[0]
	c.want(dir+"/sub/b", tree{"c": "c"})
	change(t, dir+"/sub/a", "A")
	sub["a"] = "A"
	c.want(dir+"/sub", sub, "a")
	c.want(dir+"/sub", sub)
	if after, err := os.ReadFile(above); err != nil || string(after) != string(before) {
		t.Errorf("the cache above was written, error %v", err)
	}
	if n := len(c.files()); n != 3 {
		t.Errorf("%d caches, want 3", n)
	}
	c.want(dir, v, "sub/a")

	c = newCached(t) // all that the cache above has is in the directory
	c.want(dir, v, "sub/a", "sub/b/c", "x")
	try(t, os.Remove(dir+"/x"))
	delete(v, "x")
	c.want(dir, v)
	c.want(dir+"/sub", sub)
	if n := len(c.files()); n != 2 {
		t.Errorf("%d caches, want 2", n)
	}
	if cache := c.open(dir + "/sub"); cache.old.Len() != 2 {
		t.Errorf("the cache of a part has %d records, want 2", cache.old.Len())
		try(t, cache.Close())
	}
}

// TestCacheRacy checks which files changed too recently to be remembered.
func TestCacheRacy(t *testing.T) {
	begun := time.Unix(1_700_000_000, 500_000_000)
	tests := []struct {
		name         string
		mtime, ctime time.Duration // before begun
		kept         bool
	}{
		{"old", time.Hour, time.Hour, true},
		{"just old enough", clockTick + 1, clockTick + 1, true},
		{"one tick", clockTick, clockTick, false},
		{"this instant", 0, 0, false},
		{"the future", -time.Hour, -time.Hour, false},
		{"old time set just now", time.Hour + 1, clockTick / 2, false},
		{"future time set long ago", -time.Hour, time.Hour, true},
		{"whole seconds", 500 * time.Millisecond, 500 * time.Millisecond, false},
		{"whole seconds, one more", 1500 * time.Millisecond, 1500 * time.Millisecond, false},
		{"whole seconds, old", 2500 * time.Millisecond, 2500 * time.Millisecond, true},
		{"whole seconds set, fine clock", 500 * time.Millisecond, 501 * time.Millisecond, true},
	}
	for i, tt := range tests {
		c := newCached(t).open("/")
		st := stat{ino: uint64(i), mtime: begun.Add(-tt.mtime).UnixNano(), ctime: begun.Add(-tt.ctime).UnixNano(), mode: unix.S_IFREG}
		c.add(fileKey{}, &volume{native: true}, &st, store.Digest{1}, begun)
		if kept := c.added.Len() == 1; kept != tt.kept {
			t.Errorf("%s: remembered is %v, want %v", tt.name, kept, tt.kept)
		}
		try(t, c.Close())
	}
}

func TestNoCache(t *testing.T) {
	var c *Cache
	v := &volume{native: true}
	if _, ok, _ := c.lookup(fileKey{}, v, &stat{}); ok {
		t.Error("found in no cache")
	}
	c.add(fileKey{}, v, &stat{}, store.Digest{}, time.Time{})
	for _, err := range []error{c.Save(), c.Close()} {
		try(t, err)
	}
	file := filepath.Join(t.TempDir(), "file")
	try(t, os.WriteFile(file, nil, 0o600))
	if _, err := OpenCache(file, "id", "/"); err == nil {
		t.Error("opened a cache in a file")
	}
}

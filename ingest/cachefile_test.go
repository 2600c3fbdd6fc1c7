package ingest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"castar/ingest/ignore"
	"castar/store"
	"castar/store/table"
)

// TestCacheSave checks when Save writes the cache file, and which other files it removes.
func TestCacheSave(t *testing.T) {
	v := tree{"a": "a", "b": "b", "c": "c"}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.want(dir, v, "a", "b", "c")
	file := c.files()[0]
	ago := func(d time.Duration) time.Time { return time.Now().Add(-d) }
	long := ago(cacheDays * 12 * time.Hour)
	try(t, os.Chtimes(file, long, long))
	before, err := os.Stat(file)
	try(t, err)
	c.want(dir, v)
	after, err := os.Stat(file)
	try(t, err)
	if !os.SameFile(before, after) || !after.ModTime().After(long) {
		t.Errorf("a cache that had nothing new was written, or not marked as used")
	}
	for name, age := range map[string]time.Duration{
		"old" + cacheExt: (cacheDays + 1) * 24 * time.Hour, "left.tmp": (cacheDays + 1) * 24 * time.Hour, "earlier.files": (cacheDays + 1) * 24 * time.Hour,
	} {
		path := filepath.Join(filepath.Dir(file), name)
		try(t, os.WriteFile(path, nil, 0o600))
		try(t, os.Chtimes(path, ago(age), ago(age)))
	}
	change(t, dir+"/a", "new")
	v["a"] = "new"
	c.want(dir, v, "a")
	if got := c.files(); len(got) != 1 {
		t.Errorf("caches %q, want one: the others are too old", got)
	}

	cache := c.open(dir)
	try(t, os.RemoveAll(filepath.Dir(file)))
	cache.add(fileKey{}, &volume{native: true}, &stat{ino: 1}, store.Digest{}, time.Now())
	if err := cache.failed; err != nil {
		t.Error(err)
	}
	if err := cache.Save(); err == nil {
		t.Error("saved where there is no folder")
	}
	try(t, cache.Close())
}

// TestCacheKept checks which records stay in a cache if an ingest does not see their files, and for how long.
func TestCacheKept(t *testing.T) {
	v := tree{"a": "a", "b": "b", "c": tree{"d": "d", "e": "e"}, "x": "x"}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.want(dir, v, "a", "b", "c/d", "c/e", "x")

	// An ingest of other files, one of which changed.
	cache := c.open(dir)
	change(t, dir+"/a", "A")
	v["a"] = "A"
	time.Sleep(2 * clockTick)
	_, err := FS(context.Background(), c.st, dir, Options{Cache: cache, Excludes: []*ignore.Patterns{ignore.New("/c")}})
	try(t, err)
	try(t, cache.Save())
	try(t, cache.Close())
	c.want(dir, v)

	// An ingest that fails, and one that is interrupted.
	change(t, dir+"/a", "AA")
	v["a"] = "AA"
	try(t, mkfifo(dir+"/pipe"))
	time.Sleep(2 * clockTick)
	cache = c.open(dir)
	if _, err := FS(context.Background(), c.st, dir, Options{Cache: cache}); !errors.Is(err, ErrSpecial) {
		t.Errorf("error %v, want that a pipe is refused", err)
	}
	try(t, cache.Save())
	try(t, cache.Close())
	try(t, os.Remove(dir+"/pipe"))
	c.want(dir, v)
	change(t, dir+"/a", "AAA")
	v["a"] = "AAA"
	time.Sleep(2 * clockTick)
	ctx, cancel := context.WithCancel(context.Background())
	o := at(hookFound, dir+"/b", 1, cancel)
	o.Jobs, o.Cache = 1, c.open(dir)
	if _, err := FS(ctx, c.st, dir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
	try(t, o.Cache.Save())
	try(t, o.Cache.Close())
	c.want(dir, v)

	// Records of removed files stay as long as others.
	try(t, os.Remove(dir+"/b"))
	delete(v, "b")
	size := func() int {
		cache := c.open(dir)
		defer cache.Close()
		return cache.old.Len()
	}
	for _, days := range []int{refreshDays, refreshDays, cacheDays, cacheDays + 1} {
		c.later += days
		c.want(dir, v)
		want := 4
		if c.later <= cacheDays {
			want++
		}
		if n := size(); n != want {
			t.Errorf("after %d more days, %d records, want %d", days, n, want)
		}
	}
	c.later -= 1000 // the clock was wrong all the time
	c.want(dir, v)
	c.want(dir, v)
}

// TestCacheTooLarge saves more records than a cache may keep.
func TestCacheTooLarge(t *testing.T) {
	c := newCached(t)
	cache := c.open("/")
	defer cache.Close()
	var records []byte
	for i := range 100 { // one of each age
		var key [16]byte
		key[0] = byte(i)
		value := (&cacheEntry{day: cache.today - uint16(i)}).encode()
		records = append(append(records, key[:]...), value[:]...)
	}
	path := filepath.Join(t.TempDir(), "cache")
	try(t, cache.write(path, []table.Source{table.Sorted(cacheShape, records)}))
	data, err := os.ReadFile(path)
	try(t, err)
	all, err := table.Open(cacheShape, data)
	try(t, err)
	for limit, want := range map[int]int{0: 8, 1: 9, 10: 18, 82: 90, 83: 91, 1000: 91} {
		if n := cache.kept(all, limit).Len(); n != want {
			t.Errorf("at most %d that were not seen: %d records are kept, want %d", limit, n, want)
		}
	}

	for i, name := range []string{"1", "2", "3"} {
		path := filepath.Join(cache.dir, name+cacheExt)
		try(t, os.WriteFile(path, make([]byte, 100), 0o600))
		when := time.Now().Add(-time.Duration(i) * time.Hour)
		try(t, os.Chtimes(path, when, when))
	}
	try(t, cache.prune(250))
	if got := c.files(); len(got) != 2 || filepath.Base(got[1]) != "2"+cacheExt {
		t.Errorf("caches %q, want the two that were used last", got)
	}
}

// TestCacheSpill keeps nearly all new records of an ingest on disk.
func TestCacheSpill(t *testing.T) {
	v := tree{}
	var names []string
	for i := range 60 {
		names = append(names, fmt.Sprintf("f%02d", i))
		v[names[i]] = names[i]
	}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.limit = 3
	c.want(dir, v, names...)
	c.want(dir, v)
	for _, name := range names[:20] {
		change(t, dir+"/"+name, "new")
		v[name] = "new"
	}
	c.want(dir, v, names[:20]...)
	c.want(dir, v)
}

// TestCacheSpillFails checks that an ingest succeeds even if there is no room for the cache.
func TestCacheSpillFails(t *testing.T) {
	v := tree{"a": "a", "b": "b", "c": "c", "d": "d"}
	dir := plantedNative(t, v)
	c := newCached(t)
	c.limit = 2
	time.Sleep(2 * clockTick)
	cache := c.open(dir)
	defer cache.Close()
	try(t, os.Remove(filepath.Join(c.dir, c.st.ID)))
	r, err := FS(context.Background(), c.st, dir, Options{Cache: cache})
	try(t, err)
	if want := rootOf(t, v); r.Root != want {
		t.Errorf("root %v, want %v", r.Root, want)
	}
	if err := cache.Save(); err == nil {
		t.Error("Save does not say that the cache is not whole")
	}
}

// TestCacheConcurrentSaves saves the caches of two ingests of one tree at once, many times.
func TestCacheConcurrentSaves(t *testing.T) {
	v := tree{"a": "a", "b": "b", "c": tree{"d": "d"}}
	dir := plantedNative(t, v)
	c := newCached(t)
	time.Sleep(2 * clockTick)
	for range 20 {
		var both sync.WaitGroup
		for range 2 {
			cache := c.open(dir)
			both.Go(func() {
				defer cache.Close()
				if _, err := FS(context.Background(), c.st, dir, Options{Jobs: 4, Cache: cache}); err != nil {
					t.Error(err)
				}
				cache.added.Add(make([]byte, cacheShape.Key), make([]byte, cacheShape.Value)) // so that it is written every time
				if err := cache.Save(); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	}
	c.want(dir, v)
}

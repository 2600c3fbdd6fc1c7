package ingest

import (
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"castar/store/memory"
)

// TestLinks checks that a file with many names is read once, and again if it changes during the walk.
func TestLinks(t *testing.T) {
	v := tree{"a": "text", "d": tree{}, "single": "single", "empty": ""}
	dir := plantedNative(t, v)
	for _, name := range []string{"b", "c", "d/e", "d/f"} {
		try(t, os.Link(dir+"/a", dir+"/"+name))
		v["b"], v["c"], v["d"] = "text", "text", tree{"e": "text", "f": "text"}
	}
	try(t, os.Link(dir+"/single", dir+"/../outside"))
	for _, jobs := range []int{1, 8} {
		var opened atomic.Int32
		o := Options{Jobs: jobs, Progress: new(Progress), hook: func(m hookMoment, _ string) {
			if m == hookOpened {
				opened.Add(1)
			}
		}}
		r := want(t, dir, o, v)
		if n := opened.Load(); n != 3 {
			t.Errorf("%d jobs opened %d files, want 3", jobs, n)
		}
		if n := o.Progress.Bytes.Load(); n != r.Counts.Bytes || r.Counts.Files != 7 {
			t.Errorf("progress says %d bytes, the result %+v", n, r.Counts)
		}
	}
	o := at(hookFound, dir+"/c", 1, func() { change(t, dir+"/a", "TEXT") })
	o.Jobs = 1 // after a was read, and c described
	v["d"] = tree{"e": "TEXT", "f": "TEXT"}
	want(t, dir, o, v)

	// The cache knows every name, although the file was read by one.
	for _, name := range []string{"a", "b", "c"} {
		v[name] = "TEXT"
	}
	c := newCached(t)
	time.Sleep(2 * clockTick)
	cache := c.open(dir)
	_, err := FS(t.Context(), c.st, dir, Options{Cache: cache})
	try(t, err)
	try(t, cache.Save())
	try(t, cache.Close())
	c.want(dir, v)
}

// TestLinksFull ingests more files with several names than are remembered, and one that cannot be read.
func TestLinksFull(t *testing.T) {
	var l links
	for i := range maxLinks + 1 {
		file, first := l.meet(&stat{ino: uint64(i), links: 2})
		if !first || (file == nil) != (i == maxLinks) {
			t.Fatalf("file %d: remembered is %v, first is %v", i, file != nil, first)
		}
	}
	if file, first := l.meet(&stat{ino: 5, links: 2}); file == nil || first || len(l.files) != maxLinks-1 {
		t.Errorf("the second name: remembered is %v, first is %v; %d files are remembered", file != nil, first, len(l.files))
	}

	dir := plantedNative(t, tree{"a": "a"})
	try(t, os.Link(dir+"/a", dir+"/b"))
	var once sync.Once
	o := Options{IgnoreErrors: true, Jobs: 1, hook: func(m hookMoment, p string) {
		if m == hookFound && p == dir+"/a" {
			once.Do(func() { try(t, os.Remove(p)) })
		}
	}}
	r, err := FS(t.Context(), memory.New(), dir, o)
	if err != nil || len(r.LeftOut) != 1 || r.Root != rootOf(t, tree{"b": "a"}) {
		t.Errorf("root %v, left out %v, error %v; want one without a", r.Root, r.LeftOut, err)
	}
}

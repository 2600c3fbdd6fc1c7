package ingest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"castar/store/memory"
)

// numberings are ways of numbering files in which an inode number proves nothing.
var numberings = map[string]numbering{
	"at the first lookup":    {listed: 0xffffffff},
	"at each lookup":         {listed: 0xffffffff, everyLookup: true},
	"whenever it is looked":  {listed: 0xffffffff, everyLookup: true, everyStat: true},
	"at each opening":        {listed: 0xffffffff, everyOpen: true},
	"0 in listings":          {listed: 0},
	"whenever, 0 in listing": {everyLookup: true, everyStat: true},
}

// TestNumbersAnew mounts a file system again without its first file, so that every other file gets the inode number of
// the one before it. All files have the same size and time.
func TestNumbersAnew(t *testing.T) {
	first := tree{"1": "one", "2": "two", "3": "six", "d": tree{"4": "ten"}}
	second := tree{"2": "two", "3": "six", "4": "ten"}
	dir := planted(t, tree{})
	for name, n := range numberings {
		c := newCached(t)
		_, unmount := mountFUSE(t, dir, first, n)
		c.want(dir, first, "1", "2", "3", "d/4")
		c.want(dir, first, "1", "2", "3", "d/4") // nobody knows what changed
		unmount()
		_, unmount = mountFUSE(t, dir, second, n)
		c.want(dir, second, "2", "3", "4")
		cache := c.open(dir) // as castar diff does it
		r, _, err := Hash(context.Background(), dir, Options{Cache: cache})
		if err != nil || r.Root != rootOf(t, second) {
			t.Errorf("%s: hashed to %v, %v", name, r.Root, err)
		}
		try(t, cache.Close())
		unmount()
	}
}

// TestTrustCache believes the cache on a file system that is not native, for each path alone.
func TestTrustCache(t *testing.T) {
	first := tree{"1": "one", "2": "two", "3": "six"}
	second := tree{"2": "two", "3": "six", "4": "ten"}
	dir := planted(t, tree{})
	for _, name := range []string{"at the first lookup", "whenever it is looked"} {
		n := numberings[name]
		c := newCached(t)
		c.trust = true
		s, unmount := mountFUSE(t, dir, first, n)
		c.want(dir, first, "1", "2", "3")
		c.want(dir, first)
		s.change("1", "ONE")
		first["1"] = "ONE"
		c.want(dir, first, "1", "2", "3")
		first["1"] = "one"
		unmount()
		s, unmount = mountFUSE(t, dir, second, n)
		s.change("4", "ten") // at the time of the first ones
		c.want(dir, second, "4")
		c.want(dir, second)
		c.trust = false
		c.want(dir, second, "2", "3", "4")
		if s.opened() == 0 {
			t.Errorf("%s: nothing was read", name)
		}
		unmount()
	}
}

// TestChangedOnFUSE changes a file while it is read, on a file system whose inode numbers do not identify files.
func TestChangedOnFUSE(t *testing.T) {
	v := tree{"a": "aaa", "b": "bbb"}
	dir := planted(t, tree{})
	for name, n := range numberings {
		s, unmount := mountFUSE(t, dir, v, n)
		n := 0
		always := func() { n++; s.change("a", fmt.Sprintf("a%02d", n)) }
		want(t, dir, at(hookRead, dir+"/a", 1, always), tree{"a": "a01", "b": "bbb"})
		o := at(hookRead, dir+"/a", 1000, always)
		if _, err := FS(context.Background(), memory.New(), dir, o); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: error %v of a file that does not hold still", name, err)
		}
		unmount()
	}
}

// TestDeepOnFUSE walks a tree so deep that directories would give up their descriptors on a native file system.
func TestDeepOnFUSE(t *testing.T) {
	v := tree{"bottom": "bottom"}
	for i := range heldDepth + 20 {
		v = tree{"a": fmt.Sprint(i), "d": v, "z": "z"}
	}
	dir := planted(t, tree{})
	for _, n := range numberings {
		_, unmount := mountFUSE(t, dir, v, n)
		for _, jobs := range []int{1, 4} {
			want(t, dir, Options{Jobs: jobs}, v)
		}
		unmount()
	}
}

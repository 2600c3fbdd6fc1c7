//go:build linux

package mount

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"castar/store"
	"castar/store/tree"
)

// The folders of a whole store.
const (
	tagsFolder  = "tags"
	logFolder   = "log"
	rootsFolder = "roots"
)

// fresh is how long tags and log are believed: by the kernel, and here.
const fresh = time.Second

// catalogEntry is an entry of a folder: a root, or another folder.
type catalogEntry struct {
	name   string
	folder bool
	node   store.Node // a root

	listing store.Digest // that of the tag or the line of the log, or zero
}

// catalog is the folders of a whole store, by path, as they are at one time. The entries of each are in the order of
// their names.
type catalog map[string][]catalogEntry

// whole reads the catalog of a store. Its methods may be called concurrently.
type whole struct {
	st     *store.Store
	report func(path string, err error) // of a tag or log entry that cannot be read

	mu   sync.Mutex
	last catalog
	time time.Time // when reading last began
	took time.Duration
}

// catalog returns the folders. They may be a little out of date: reading a long log takes time.
func (w *whole) catalog(ctx context.Context) (catalog, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.last != nil && time.Since(w.time) < max(fresh, 10*w.took) {
		return w.last, nil
	}
	start := time.Now()
	c, err := w.read(ctx)
	if err == nil {
		w.last, w.time, w.took = c, start, time.Since(start)
	}
	return c, err
}

// read lists the tags and the log. What it cannot read is reported and left out.
func (w *whole) read(ctx context.Context) (catalog, error) {
	c := catalog{
		"": {{name: logFolder, folder: true}, {name: rootsFolder, folder: true}, {name: tagsFolder, folder: true}},
		// Empty folders exist too.
		tagsFolder: nil, logFolder: nil, rootsFolder: nil,
	}
	if has, err := w.st.HasTags(ctx); !has {
		return c, err
	}
	roots := map[string]store.Node{}
	var tags []store.Tag
	for t, err := range w.st.Tags.All(ctx) {
		if ok := w.check(ctx, tagsFolder, t, err, roots); ok {
			tags = append(tags, t)
		}
	}
	c.addTags(tags)
	times := map[string]int{}
	for t, err := range w.st.Tags.Log(ctx) {
		if ok := w.check(ctx, logFolder, t, err, roots); ok {
			c.add(logFolder, catalogEntry{name: logName(t.Time, times), node: t.Root, listing: t.Listing})
		}
	}
	for name, root := range roots {
		c.add(rootsFolder, catalogEntry{name: name, node: root})
	}
	for _, entries := range c {
		slices.SortFunc(entries, func(a, b catalogEntry) int { return strings.Compare(a.name, b.name) })
	}
	return c, ctx.Err()
}

// check reports whether a tag can be shown, and adds its root to roots.
func (w *whole) check(ctx context.Context, folder string, t store.Tag, err error, roots map[string]store.Node) bool {
	var d store.Digest
	if err == nil {
		d, err = t.Root.RootDigest()
	}
	if err != nil {
		if ctx.Err() == nil {
			w.report(folder, err)
		}
		return false
	}
	roots[d.String()] = t.Root
	return true
}

func (c catalog) add(folder string, e catalogEntry) { c[folder] = append(c[folder], e) }

// addTags adds tags. The parts of their names between slashes are folders. A tag that has the name of a folder gets a
// colon after it, which no tag has.
func (c catalog) addTags(tags []store.Tag) {
	for _, t := range tags {
		for i := range t.Name {
			if t.Name[i] != '/' {
				continue
			}
			if path := tagsFolder + "/" + t.Name[:i]; c[path] == nil {
				up, name := cutLast(path)
				c.add(up, catalogEntry{name: name, folder: true})
				c[path] = []catalogEntry{}
			}
		}
	}
	for _, t := range tags {
		path := tagsFolder + "/" + t.Name
		up, name := cutLast(path)
		if c[path] != nil {
			name += ":"
		}
		c.add(up, catalogEntry{name: name, node: t.Root, listing: t.Listing})
	}
}

// cutLast returns what is before the last slash of a path, and what is after it.
func cutLast(path string) (before, after string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

// join returns the path of name in a folder.
func join(folder, name string) string { return strings.TrimPrefix(folder+"/"+name, "/") }

// logName returns the name of a log entry: its time, and a number from the second entry of that time on. times counts
// the entries so far.
func logName(t time.Time, times map[string]int) string {
	name := t.UTC().Format(time.RFC3339)
	times[name]++
	if n := times[name]; n > 1 {
		return fmt.Sprintf("%s-%d", name, n)
	}
	return name
}

// find returns the entry of that name in a folder. Any root can be found in the folder of roots: by its whole digest, or
// by the beginning of it, which is a symlink to the whole.
func (w *whole) find(ctx context.Context, folder, name string) (catalogEntry, bool, error) {
	c, err := w.catalog(ctx)
	if err != nil {
		return catalogEntry{}, false, err
	}
	entries := c[folder]
	i, ok := slices.BinarySearchFunc(entries, name, func(e catalogEntry, name string) int { return strings.Compare(e.name, name) })
	if ok {
		return entries[i], true, nil
	}
	if folder != rootsFolder || !store.IsDigestPrefix(name) {
		return catalogEntry{}, false, nil
	}
	r, err := tree.Resolve(ctx, w.st, name)
	if store.IsNotFound(err) {
		return catalogEntry{}, false, nil
	}
	if err != nil {
		return catalogEntry{}, false, err
	}
	if whole := r.RootDigest.String(); whole != name {
		return catalogEntry{name: name, node: store.Node{Kind: store.KindSymlink, Target: whole}}, true, nil
	}
	return catalogEntry{name: name, node: r.Root}, true, nil
}

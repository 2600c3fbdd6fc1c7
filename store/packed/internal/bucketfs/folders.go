package bucketfs

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// isFolder reports whether a store has a folder of that name, whether or not anything is in it.
func isFolder(name string) bool {
	switch name {
	case ".", pack.Dir, pack.TempDir, index.Dir, sealed.TagsDir, sealed.QuarantineDir:
		return true
	}
	return false
}

// entry describes a file. It implements fs.DirEntry and fs.FileInfo.
type entry struct {
	fs   *FS
	name string
	size int64 // -1: not known
	time time.Time
}

func (e *entry) Name() string       { return path.Base(e.name) }
func (e *entry) IsDir() bool        { return isFolder(e.name) }
func (e *entry) Type() fs.FileMode  { return e.Mode().Type() }
func (e *entry) Size() int64        { return max(0, e.size) }
func (e *entry) ModTime() time.Time { return e.time }
func (e *entry) Sys() any           { return nil }

func (e *entry) Mode() fs.FileMode {
	if e.IsDir() {
		return fs.ModeDir | 0o700
	}
	return 0o600
}

// Info implements fs.DirEntry.
func (e *entry) Info() (fs.FileInfo, error) {
	if e.size >= 0 {
		return e, nil
	}
	return e.fs.Stat(e.name)
}

// Stat implements durable.FS. It asks nobody about a folder.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	if err := f.valid(name); err != nil || isFolder(name) {
		return &entry{fs: f, name: name}, err
	}
	f.mu.Lock()
	s := cmp.Or(f.spools[name], f.moved[name])
	f.mu.Unlock()
	if s != nil {
		size, err := s.Size()
		return &entry{fs: f, name: name, size: size}, err
	}
	if f.lacks(name) {
		return nil, f.failed(name, store.ErrNotFound)
	}
	size, err := f.b.Head(f.ctx, name)
	if err != nil {
		return nil, f.failed(name, err)
	}
	return &entry{fs: f, name: name, size: size}, nil
}

// Look asks whether there is anything at all. If not, nobody is asked about single files and folders until this process has
// put more than a config and a head: otherwise making a store would take a round trip for each.
func (f *FS) Look() error {
	f.setVacant(true)
	for _, err := range f.b.List(f.ctx, "", "") {
		f.setVacant(false)
		return f.failed(".", err)
	}
	return nil
}

func (f *FS) setVacant(vacant bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.vacant = vacant
}

// lacks reports whether it is known that there is no such file.
func (f *FS) lacks(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.vacant && f.versions[name] == bucket.Absent && (name != HeadName || f.head == nil)
}

// Objects returns what the bucket has in a folder, with its sizes and times, whether it counts or not.
func (f *FS) Objects(dir string) (all []bucket.Object, err error) {
	if f.lacks(dir) {
		return nil, nil
	}
	for o, err := range f.b.List(f.ctx, dir+"/", "") {
		if err != nil {
			return nil, f.failed(dir, err)
		}
		all = append(all, o)
	}
	return all, nil
}

// ReadDir implements durable.FS. Of the packs and indexes, it has those that count.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	h := f.Head()
	switch {
	case name == pack.TempDir:
		f.mu.Lock()
		defer f.mu.Unlock()
		var all []fs.DirEntry
		for name := range f.spools {
			all = append(all, &entry{fs: f, name: name})
		}
		slices.SortFunc(all, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		return all, nil
	case name == "." && f.lacks(name):
		return nil, nil
	case name == ".":
		return f.top()
	case name == sealed.QuarantineDir && h != nil && !h.Quarantine:
		return nil, nil
	case name == index.Dir && h != nil:
		var all []fs.DirEntry
		for _, x := range h.Indexes {
			all = append(all, &entry{fs: f, name: index.Path(x), size: -1})
		}
		return all, nil
	}
	return f.list(name)
}

// list returns the files of a folder, but for those that are condemned.
func (f *FS) list(dir string) (all []fs.DirEntry, err error) {
	objects, err := f.Objects(dir)
	h := f.Head()
	if dir == pack.Dir {
		f.parts.learn(objects)
	}
	for _, o := range objects {
		if h == nil || !h.Condemns(o.Name) {
			all = append(all, &entry{f, o.Name, o.Size, o.Modified})
		}
	}
	return all, err
}

// top returns the first elements of all names. It passes over the rest of a folder that has more than a page of a listing.
func (f *FS) top() (all []fs.DirEntry, err error) {
	const page = 1000
	for after, more := "", true; more; {
		n := 0
		for o, err := range f.b.List(f.ctx, "", after) {
			if err != nil {
				return nil, f.failed(".", err)
			}
			first, _, below := strings.Cut(o.Name, "/")
			if len(all) == 0 || all[len(all)-1].Name() != first {
				all = append(all, &entry{fs: f, name: first, size: o.Size})
			}
			if after = o.Name; below {
				after = first + "/~" // after all names in that folder
			}
			if n++; n == page {
				break
			}
		}
		more = n == page
	}
	return all, nil
}

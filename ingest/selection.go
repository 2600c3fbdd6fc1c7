package ingest

import (
	"errors"
	"slices"
	"strings"

	"castar/ingest/ignore"

	"golang.org/x/sys/unix"
)

// Only selects entries of a tree: some paths, everything below them, and the directories above them. It must not be
// changed while it is used.
type Only struct {
	below map[string]*Only // nil: everything
}

// NewOnly returns an Only of the paths, which are relative to the root of the tree, with single slashes between names.
func NewOnly(paths []string) *Only {
	o := &Only{below: map[string]*Only{}}
	for _, path := range paths {
		o.add(path)
	}
	return o
}

func (o *Only) add(path string) {
	for name := range strings.SplitSeq(path, "/") {
		if o.below == nil {
			return // a directory above is selected
		}
		next, ok := o.below[name]
		if !ok {
			next = &Only{below: map[string]*Only{}}
			o.below[name] = next
		}
		o = next
	}
	o.below = nil
}

// at returns what is selected in the directory dir, or nil for everything.
func (o *Only) at(dir string) *Only {
	if dir == "" {
		return o
	}
	for name := range strings.SplitSeq(dir, "/") {
		if o == nil || o.below == nil {
			return nil
		}
		o = o.below[name]
	}
	if o == nil || o.below == nil {
		return nil
	}
	return o
}

// only returns those of the sorted names of a directory that are selected. A name that is selected and not there is a
// problem.
func (w *walker) only(f *folder, names []string) ([]string, error) {
	if w.o.Only == nil {
		return names, nil
	}
	o := w.o.Only.at(f.at.inside())
	if o == nil {
		return names, nil
	}
	names = slices.DeleteFunc(names, func(name string) bool { return o.below[name] == nil })
	if len(names) < len(o.below) {
		for name := range o.below {
			if _, ok := slices.BinarySearch(names, name); !ok {
				if err := w.problem(&place{parent: f.at, name: name}, unix.ENOENT); err != errLeftOut {
					return nil, err
				}
			}
		}
	}
	return names, nil
}

// isTooLarge reports whether a file is one that Options.LargerThan leaves out.
func (w *walker) isTooLarge(st *stat) bool {
	return w.o.LargerThan > 0 && st.kind() == unix.S_IFREG && st.size > uint64(w.o.LargerThan)
}

// patterns applies what the directory itself leaves out, with a CACHEDIR.TAG or a .gitignore. It returns the names that
// remain, and sets f.ignored to the patterns that hold for them.
func (w *walker) patterns(f *folder, names []string) ([]string, error) {
	mark := ""
	if i := slices.IndexFunc(w.o.IfPresent, func(name string) bool { return slices.Contains(names, name) }); i >= 0 {
		mark = w.o.IfPresent[i]
	}
	dir := peeker{f.fd, names}
	if mark == "" && w.o.ExcludeCaches {
		if is, err := ignore.IsCache(dir); err == nil && is {
			mark = ignore.CacheDirTag
		}
	}
	if mark != "" {
		for range len(names) - 1 {
			w.exclude()
		}
		return []string{mark}, nil
	}
	if !w.o.GitIgnore {
		return names, nil
	}
	var err error
	if f.ignored, err = f.ignored.Enter(f.at.name, f.at.inside, dir); err != nil {
		names = slices.DeleteFunc(names, func(name string) bool { return name == ignore.FileName })
		if err = w.problem(&place{parent: f.at, name: ignore.FileName}, err); errors.Is(err, errLeftOut) {
			err = nil
		}
	}
	return names, err
}

// peeker is an open directory and its names, sorted. It implements ignore.Peeker, and makes no system call for a name that
// is not there.
type peeker struct {
	fd    int
	names []string
}

func (p peeker) has(path string) bool {
	name, _, _ := strings.Cut(path, "/")
	_, ok := slices.BinarySearch(p.names, name)
	return ok
}

func (p peeker) Head(path string, limit int) ([]byte, error) {
	if !p.has(path) {
		return nil, ignore.ErrNoFile
	}
	return readHead(p.fd, path, limit)
}

func (p peeker) Exists(path string) bool {
	var st stat
	return p.has(path) && st.at(p.fd, path) == nil
}

// errStore is the error for a root that is a directory of the store. The store would then contain itself.
var errStore = errors.New("is the store itself")

// checkStore returns errLeftOut if f has a landmark. names are its names, sorted.
func (w *walker) checkStore(f *folder, names []string) error {
	for _, mark := range w.o.Landmarks {
		if _, ok := slices.BinarySearch(names, mark.Hint()); !ok {
			continue
		}
		is, err := mark.In(f.fd)
		switch {
		case err != nil:
			return w.problem(f.at, err)
		case is && f.at.parent == nil:
			return w.problem(f.at, errStore)
		case is:
			w.exclude()
			w.stores.add(f.at.inside())
			return errLeftOut
		}
	}
	return nil
}

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
func (w *walker) only(names []string, at *place) ([]string, error) {
	if w.o.Only == nil {
		return names, nil
	}
	o := w.o.Only.at(at.inside())
	if o == nil {
		return names, nil
	}
	names = slices.DeleteFunc(names, func(name string) bool { return o.below[name] == nil })
	if len(names) < len(o.below) {
		for name := range o.below {
			if _, ok := slices.BinarySearch(names, name); !ok {
				if err := w.problem(&place{parent: at, name: name}, unix.ENOENT); err != errLeftOut {
					return nil, err
				}
			}
		}
	}
	return names, nil
}

// sized reports whether a file is one that Options.LargerThan leaves out.
func (w *walker) sized(st *stat) bool {
	return w.o.LargerThan > 0 && st.kind() == unix.S_IFREG && st.size > uint64(w.o.LargerThan)
}

// present returns the one of Options.IfPresent that is among the sorted names of a directory, or "".
func (w *walker) present(names []string) string {
	for _, name := range w.o.IfPresent {
		if _, ok := slices.BinarySearch(names, name); ok {
			return name
		}
	}
	return ""
}

// patterns applies what the directory itself leaves out, with a CACHEDIR.TAG or a .gitignore. It returns the names that
// remain and the patterns that hold for them.
func (w *walker) patterns(fd int, names []string, at *place, ignored ignore.Stack) ([]string, ignore.Stack, error) {
	mark := w.present(names)
	if mark == "" && w.o.ExcludeCaches && slices.Contains(names, ignore.CacheDirTag) {
		if is, err := ignore.IsCache(peeker(fd)); err == nil && is {
			mark = ignore.CacheDirTag
		}
	}
	if mark != "" {
		for range len(names) - 1 {
			w.exclude()
		}
		return []string{mark}, ignored, nil
	}
	if w.o.GitIgnore {
		ignored = repository(fd, names, at, ignored)
	}
	if i, ok := slices.BinarySearch(names, ignore.FileName); ok && w.o.GitIgnore {
		patterns, err := ignore.Read(peeker(fd))
		switch {
		case err == nil:
			ignored = ignored.Push(at.inside(), patterns)
		case !errors.Is(err, errNotRegular):
			names = slices.Delete(names, i, i+1)
			if err = w.problem(&place{parent: at, name: ignore.FileName}, err); !errors.Is(err, errLeftOut) {
				return nil, ignored, err
			}
		}
	}
	return names, ignored, nil
}

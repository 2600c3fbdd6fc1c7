package ingest

import (
	"errors"
	"slices"
	"sync"
)

// errStore says that a path is a directory that the store is in, which would hold itself.
var errStore = errors.New("is the store itself")

// stores is the directories with a landmark that a walk met. It may be used concurrently.
type stores struct {
	mu    sync.Mutex
	paths []string
}

func (s *stores) add(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paths = append(s.paths, path)
}

func (s *stores) sorted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Sort(s.paths)
	return s.paths
}

// checkStore returns errLeftOut if the directory at, which is open as fd and whose names are in order, has a landmark.
func (w *walker) checkStore(fd int, names []string, at *place) error {
	for _, mark := range w.o.Landmarks {
		if _, ok := slices.BinarySearch(names, mark.Hint()); !ok {
			continue
		}
		is, err := mark.In(fd)
		switch {
		case err != nil:
			return w.problem(at, err)
		case is && at.parent == nil:
			return w.problem(at, errStore)
		case is:
			w.exclude()
			w.stores.add(at.inside())
			return errLeftOut
		}
	}
	return nil
}

package ingest

import (
	"errors"
	"slices"
)

// errStore is the error for a root that is a directory of the store. The store would then contain itself.
var errStore = errors.New("is the store itself")

// checkStore returns errLeftOut if the directory at has a landmark. It is open as fd, and names are its names, sorted.
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

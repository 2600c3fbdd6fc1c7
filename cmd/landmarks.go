package cmd

import (
	"fmt"
	"path/filepath"

	"castar/store"
	"castar/store/config"
)

// landmarks returns the marks by which the folders of the store are known, whatever path leads to them. It is an error if
// dir is in one of them.
func (e *env) landmarks(dir string) ([]store.Landmark, error) {
	spec, err := e.storeSpec()
	if err != nil {
		return nil, err
	}
	marks, err := config.Landmarks(spec)
	if err != nil {
		return nil, err
	}
	for _, mark := range marks {
		if around(mark, dir) {
			return nil, fmt.Errorf("%s: is in the store", quote(dir))
		}
	}
	return marks, nil
}

// around reports whether mark is around dir, or around its parent if dir is no directory. If neither can be read, the
// command will say so later.
func around(mark store.Landmark, dir string) bool {
	inside, err := mark.Around(dir)
	if err != nil {
		inside, _ = mark.Around(filepath.Dir(filepath.Clean(dir)))
	}
	return inside
}

// noteStores says which directories in path were left out because they are the store.
func (e *env) noteStores(command, path string, stores []string) {
	for _, folder := range stores {
		e.note(command, fmt.Sprintf("%s: the store itself is left out: %s", quote(path), quote(folder)))
	}
}

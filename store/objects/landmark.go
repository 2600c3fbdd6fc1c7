package objects

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"castar/store"
)

// Landmark returns the landmark of the store in the folder dir: the oldest ingest in its log, whose name is random, or its
// first directory if there is no log, since tvix and snix keep none. The error is fs.ErrNotExist if the store has neither,
// and thus nothing to recognize it by.
func Landmark(dir string) (store.Landmark, error) {
	if name, err := firstFile(dir, logPrefix); err == nil {
		return store.LandmarkOf(dir, name)
	}
	name, err := firstFile(dir, dirsPrefix)
	if err != nil {
		return store.Landmark{}, err
	}
	return store.LandmarkOf(dir, name)
}

// firstFile returns the path, relative to dir, of the first file below folder in the order of names.
func firstFile(dir, folder string) (string, error) {
	entries, err := os.ReadDir(filepath.Join(dir, folder))
	for _, e := range entries {
		name := filepath.Join(folder, e.Name())
		if e.Type().IsRegular() {
			return name, nil
		}
		if e.IsDir() {
			if name, err := firstFile(dir, name); err == nil {
				return name, nil
			}
		}
	}
	if err == nil {
		err = fs.ErrNotExist
	}
	return "", fmt.Errorf("%s: %w", filepath.Join(dir, folder), err)
}

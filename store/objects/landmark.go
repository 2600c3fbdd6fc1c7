package objects

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"castar/store"
)

// Landmark returns what the store in the folder dir is known by: the oldest ingest in its log, whose name is random, or
// the first of its directories where there is no log, as tvix and snix have none. The error is fs.ErrNotExist where it has
// neither: then there is nothing in it that it could be known by.
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

// firstFile returns the path of the first file below folder, in order of names, relative to dir.
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

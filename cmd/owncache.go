package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"castar/ingest/ignore"
)

// cacheFolder returns the folder in which castar remembers what it has read. It need not be there.
func cacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "castar"), err
}

// excludeCache returns excludes, and what leaves castar's own cache out where that is in path: each ingest changes it,
// and so the digest of what it is in.
func (e *env) excludeCache(command string, excludes []*ignore.Patterns, path string) []*ignore.Patterns {
	if fi, err := os.Lstat(path); err != nil || !fi.IsDir() {
		return excludes
	}
	folder, err := cacheFolder()
	if err == nil {
		folder, err = futurePath(folder)
	}
	root, rootErr := realPath(path)
	switch {
	case err != nil || rootErr != nil || !below(root, folder): // who has no cache has none to leave out
		return excludes
	case folder == root:
		e.note(command, fmt.Sprintf("%s: is the cache of castar itself, which changes each time", quote(path)))
		return excludes
	}
	inside := strings.TrimPrefix(strings.TrimPrefix(folder, root), "/")
	if _, err := os.Lstat(folder); err == nil {
		e.note(command, fmt.Sprintf("%s: leaving out the cache of castar itself, %s", quote(path), quote(inside)))
	}
	return append(slices.Clip(excludes), ignore.New("/"+escapePattern(inside)))
}

// futurePath is realPath for what may yet be made, with all that is above it.
func futurePath(path string) (string, error) {
	there, err := realPath(path)
	if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return there, err
	}
	dir, err := futurePath(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

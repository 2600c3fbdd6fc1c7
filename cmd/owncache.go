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

// cacheFolder returns the folder in which castar remembers what it has read. It need not exist.
func cacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "castar"), err
}

// excludeCache returns excludes, and a pattern for castar's own cache if it is in path: each ingest changes the cache, and
// so the digest of any tree that holds it.
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
	case err != nil || rootErr != nil || !below(root, folder): // there is no cache to leave out
		return excludes
	case folder == root:
		e.note(command, fmt.Sprintf("%s: is castar's own cache, which every ingest changes", quote(path)))
		return excludes
	}
	inside := strings.TrimPrefix(strings.TrimPrefix(folder, root), "/")
	if _, err := os.Lstat(folder); err == nil {
		e.note(command, fmt.Sprintf("%s: castar's own cache is left out: %s", quote(path), quote(inside)))
	}
	return append(slices.Clip(excludes), ignore.New("/"+escapePattern(inside)))
}

// futurePath is realPath for a path that may not exist yet, nor any folder above it.
func futurePath(path string) (string, error) {
	there, err := realPath(path)
	if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
		return there, err
	}
	dir, err := futurePath(filepath.Dir(path))
	return filepath.Join(dir, filepath.Base(path)), err
}

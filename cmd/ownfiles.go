package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"castar/ingest"
	"castar/ingest/ignore"
	"castar/store"
	"castar/store/config"
)

// outside returns the folders of the store, and the marks by which they are known, whatever path leads to them. It is an
// error if path, which need not exist, is in one of them.
func (e *env) outside(path string) (folders []string, marks []store.Landmark, err error) {
	spec, err := e.storeSpec()
	if err != nil {
		return nil, nil, err
	}
	if marks, err = config.Landmarks(spec); err != nil {
		return nil, nil, err
	}
	if folders, err = config.Folders(spec); err != nil {
		return nil, nil, err
	}
	parent := filepath.Dir(filepath.Clean(path))
	inside := func(mark store.Landmark) bool {
		is, err := mark.Around(path)
		if err != nil { // it is no directory; if its parent is none, the command will say so
			is, _ = mark.Around(parent)
		}
		return is
	}
	within := func(folder string) bool {
		folder, ferr := realPath(folder)
		real, err := realPath(path)
		if errors.Is(err, fs.ErrNotExist) {
			real, err = realPath(parent)
		}
		return err == nil && ferr == nil && below(folder, real)
	}
	isNew := len(marks) < len(folders) // a new folder has no mark, so its path must do
	if slices.ContainsFunc(marks, inside) || isNew && slices.ContainsFunc(folders, within) {
		return nil, nil, fmt.Errorf("%s: is in the store", quote(path))
	}
	return folders, marks, nil
}

// excludeStore makes o leave out the folders of the store that are in path: they change while the store is written to, and
// it would hold itself.
func (e *env) excludeStore(o *ingest.Options, path string) (err error) {
	var folders []string
	if folders, o.Landmarks, err = e.outside(path); err != nil {
		return err
	}
	for _, folder := range folders {
		o.Excludes = e.excludeFolder(o.Excludes, path, folder, "the store itself")
	}
	return nil
}

// noteStores says which directories in path were left out because they are the store.
func (e *env) noteStores(path string, stores []string) {
	for _, folder := range stores {
		e.note(fmt.Sprintf("%s: the store itself is left out: %s", quote(path), quote(folder)))
	}
}

// cacheFolder returns the folder in which castar remembers what it has read. It need not exist.
func cacheFolder() (string, error) {
	dir, err := os.UserCacheDir()
	return filepath.Join(dir, "castar"), err
}

// excludeCache returns excludes, and a pattern for castar's own cache if it is in path: each ingest changes the cache, and
// so the digest of any tree that holds it.
func (e *env) excludeCache(excludes []*ignore.Patterns, path string) []*ignore.Patterns {
	folder, err := cacheFolder()
	if err != nil {
		return excludes // there is no cache to leave out
	}
	return e.excludeFolder(excludes, path, folder, "castar's own cache")
}

// excludeFolder returns excludes, and a pattern for folder if it is in the directory path. what is it, for a note.
func (e *env) excludeFolder(excludes []*ignore.Patterns, path, folder, what string) []*ignore.Patterns {
	if fi, err := os.Lstat(path); err != nil || !fi.IsDir() {
		return excludes // if something is wrong with path, the command will say so
	}
	root, err := realPath(path)
	folder, ferr := futurePath(folder)
	switch {
	case err != nil || ferr != nil || !below(root, folder):
		return excludes
	case folder == root:
		e.note(fmt.Sprintf("%s: is %s, which every ingest changes", quote(path), what))
		return excludes
	}
	inside := strings.TrimPrefix(strings.TrimPrefix(folder, root), "/")
	if _, err := os.Lstat(folder); err == nil {
		e.note(fmt.Sprintf("%s: %s is left out: %s", quote(path), what, quote(inside)))
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

// realPath returns path absolute and without symlinks.
func realPath(path string) (string, error) {
	if !filepath.IsAbs(path) {
		dir, err := os.Getwd()
		if err != nil {
			return "", err
		}
		path = dir + "/" + path // and not cleaned: what is before a .. may be a symlink
	}
	return filepath.EvalSymlinks(path)
}

// below reports whether path is dir or in it. Both are absolute and clean.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, "../")
}

// escapePattern returns the pattern that matches path alone.
func escapePattern(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

package cmd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/ingest/ignore"
	"castar/store/config"
)

// sourceFlags returns the flags that say which files are read, and how.
func (f *ingestFlags) sourceFlags() []cli.Flag {
	return []cli.Flag{
		listFlag("exclude", "e", &f.exclude, "leave out what `PATTERN` matches"),
		listFlag("exclude-from", "", &f.excludeFrom, "leave out what the patterns in `FILE` match; - is stdin"),
		boolFlag("gitignore", "", &f.options.GitIgnore, "leave out what .gitignore files exclude"),
		boolFlag("exclude-caches", "", &f.options.ExcludeCaches, "leave out the contents of folders with a CACHEDIR.TAG"),
		boolFlag("one-file-system", "x", &f.options.OneFileSystem, "stay on one file system"),
		boolFlag("no-cache", "", &f.noCache, "read every file, even if it looks unchanged"),
		boolFlag("trust-cache", "", &f.options.TrustCache, "take a file with the same path, size and times for unchanged, on any file system"),
	}
}

// readExcludes adds the patterns of --exclude-from and --exclude to the options. The latter decide.
func (e *env) readExcludes(f *ingestFlags) error {
	for _, name := range f.excludeFrom {
		var data []byte
		var err error
		if name == "-" {
			data, err = io.ReadAll(e.stdin)
		} else {
			data, err = os.ReadFile(name)
		}
		if err != nil {
			return fmt.Errorf("%s: %s", quote(name), reason(err))
		}
		f.options.Excludes = append(f.options.Excludes, ignore.Parse(data))
	}
	if len(f.exclude) > 0 {
		f.options.Excludes = append(f.options.Excludes, ignore.New(f.exclude...))
	}
	return nil
}

// excludeStore returns excludes, and a pattern for the store if it is in path: it changes while it is written to, and
// would hold itself. A path in the store is an error.
func (e *env) excludeStore(command string, excludes []*ignore.Patterns, path string) ([]*ignore.Patterns, error) {
	if fi, err := os.Lstat(path); err != nil || !fi.IsDir() {
		return excludes, nil // the ingest will say what is wrong
	}
	folders, err := e.storeFolders()
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		if excludes, err = e.excludeFolder(command, excludes, path, folder); err != nil {
			return nil, err
		}
	}
	return excludes, nil
}

// storeFolders returns the folders of the store. They need not exist.
func (e *env) storeFolders() ([]string, error) {
	spec, err := e.storeSpec()
	if err != nil {
		return nil, err
	}
	return config.Folders(spec)
}

// excludeFolder is excludeStore for one folder of the store.
func (e *env) excludeFolder(command string, excludes []*ignore.Patterns, path, folder string) ([]*ignore.Patterns, error) {
	folder, err := realPath(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return excludes, nil
	}
	if err != nil {
		return nil, err
	}
	root, err := realPath(path)
	if err != nil {
		return nil, err
	}
	switch {
	case below(folder, root):
		return nil, fmt.Errorf("%s: is in the store", quote(path))
	case !below(root, folder):
		return excludes, nil
	}
	inside, err := filepath.Rel(root, folder)
	if err != nil {
		return nil, err
	}
	e.note(command, fmt.Sprintf("%s: the store itself is left out: %s", quote(path), quote(inside)))
	return append(slices.Clip(excludes), ignore.New("/"+escapePattern(inside))), nil
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

package cmd

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"

	"castar/ingest"
)

// pathList is the flags that make one root of several paths.
type pathList struct {
	from   []string
	null   bool
	asTree bool
}

func (l *pathList) flags() []cli.Flag {
	return []cli.Flag{
		boolFlag("as-tree", "", &l.asTree, "make one root of all PATHs"),
		listFlag("files-from", "", &l.from, "read PATHs from `FILE`, one a line, and make one root of them; - is stdin"),
		boolFlag("null", "z", &l.null, "lines of --files-from end in NUL"),
	}
}

// listPaths returns the paths to ingest. If they are to be one root, that is the directory around them, and the options
// select them in it.
func (e *env) listPaths(f *ingestFlags, args []string) ([]string, error) {
	l := f.list
	switch {
	case l.null && len(l.from) == 0:
		return nil, usagef("ingest", "--null is for --files-from")
	case !l.asTree && len(l.from) == 0:
		return args, nil
	case f.stdin != "" || f.format != "" && f.format != "dir":
		return nil, usagef("ingest", "--as-tree and --files-from are for files, and not for --stdin or an archive")
	case f.options.OneFileSystem:
		return nil, usagef("ingest", "--one-file-system does not work with several PATHs as one root")
	}
	for _, name := range l.from {
		listed, err := e.readPaths(name, l.null)
		if err != nil {
			return nil, err
		}
		args = append(args, listed...)
	}
	if len(args) == 0 {
		return nil, usagef("ingest", "no PATH given")
	}
	base, inside, err := aroundAll(args)
	if err != nil {
		return nil, err
	}
	f.options.Only = ingest.NewOnly(inside)
	return []string{base}, nil
}

// readPaths reads a list of paths. Empty lines do not count.
func (e *env) readPaths(name string, null bool) (paths []string, err error) {
	data, err := e.readInput(name)
	if err != nil {
		return nil, err
	}
	end := "\n"
	if null {
		end = "\x00"
	}
	for line := range strings.SplitSeq(string(data), end) {
		if strings.ContainsRune(line, 0) {
			return nil, fmt.Errorf("%s: a path has a NUL in it: want --null", quote(name))
		}
		if line != "" {
			paths = append(paths, line)
		}
	}
	return paths, nil
}

// aroundAll returns the innermost directory that has all paths in it, and where they are in it. Links on the way to a path
// are followed, so that it is in a directory of the tree and not behind a link.
func aroundAll(paths []string) (base string, inside []string, err error) {
	var errs []error
	parents := map[string]string{} // real ones, because many paths share a directory
	whole := make([]string, len(paths))
	for i, path := range paths {
		if errs = append(errs, checkSource(path, "write the data to a file first, and name that file")); errs[len(errs)-1] != nil {
			continue
		}
		path, err := filepath.Abs(path)
		if err != nil {
			return "", nil, err
		}
		if path == "/" {
			return "", nil, errors.New("/: is a root by itself, and not a part of one")
		}
		dir, known := parents[filepath.Dir(path)]
		if !known {
			if dir, err = realPath(filepath.Dir(path)); err != nil {
				return "", nil, err
			}
			parents[filepath.Dir(path)] = dir
		}
		whole[i] = filepath.Join(dir, filepath.Base(path))
		if base == "" {
			base = dir
		}
		for !below(base, dir) {
			base = filepath.Dir(base)
		}
	}
	if err := joinSources(errs); err != nil {
		return "", nil, err
	}
	for _, path := range whole {
		inside = append(inside, strings.TrimPrefix(strings.TrimPrefix(path, base), "/"))
	}
	return base, inside, nil
}

// maxSockets is how many sockets are named.
const maxSockets = 10

func (e *env) noteSockets(command string, sockets []string) {
	if len(sockets) == 0 {
		return
	}
	text := "sockets are left out, because they hold no data: " + quoteAll(sockets[:min(len(sockets), maxSockets)], ", ")
	if more := len(sockets) - maxSockets; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	e.note(command, text)
}

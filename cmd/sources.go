package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/urfave/cli/v2"

	"castar/ingest"
	"castar/ingest/ignore"
)

// sourceFlags returns the flags that say which files are read, and how.
func (f *ingestFlags) sourceFlags() []cli.Flag {
	return []cli.Flag{
		listFlag("exclude", "e", &f.exclude, "leave out what `PATTERN` matches"),
		listFlag("iexclude", "", &f.iexclude, "leave out what `PATTERN` matches, in upper or lower case"),
		listFlag("exclude-from", "", &f.excludeFrom, "leave out what the patterns in `FILE` match; - is standard input"),
		boolFlag("gitignore", "", &f.options.GitIgnore, "leave out what .gitignore files exclude"),
		boolFlag("exclude-caches", "", &f.options.ExcludeCaches, "leave out the contents of directories with a CACHEDIR.TAG"),
		listFlag("exclude-if-present", "", &f.options.IfPresent, "leave out the contents of directories that hold `NAME`, but keep NAME itself"),
		bytesFlag("exclude-larger-than", &f.options.LargerThan, "no limit", "leave out files larger than `SIZE`, such as 10M"),
		boolFlag("one-file-system", "x", &f.options.OneFileSystem, "stay on one file system"),
		boolFlag("no-cache", "", &f.noCache, "read every file, even if it looks unchanged"),
		boolFlag("trust-cache", "", &f.options.TrustCache, "assume that a file with the same path, size and times is unchanged, on any file system"),
	}
}

// readExcludes adds the patterns of --exclude-from and --exclude to the options. The latter decide.
func (e *env) readExcludes(f *ingestFlags) error {
	for _, name := range f.excludeFrom {
		data, err := e.readInput(name)
		if err != nil {
			return err
		}
		f.options.Excludes = append(f.options.Excludes, ignore.Parse(data))
	}
	if len(f.exclude) > 0 {
		f.options.Excludes = append(f.options.Excludes, ignore.New(f.exclude...))
	}
	if len(f.iexclude) > 0 {
		f.options.Excludes = append(f.options.Excludes, ignore.NewFold(f.iexclude...))
	}
	return nil
}

// readInput reads a file, or standard input if name is "-".
func (e *env) readInput(name string) (data []byte, err error) {
	if name == "-" {
		data, err = io.ReadAll(e.stdin)
	} else {
		data, err = os.ReadFile(name)
	}
	if err != nil {
		err = fmt.Errorf("%s: %s", quote(name), reason(err))
	}
	return data, err
}

// checkSource reports why path, which is outside the store, cannot be read as a tree: it does not exist, or it is a link
// to something outside any file system. Only the link would be stored: 'dump | castar ingest /dev/stdin' would lose the
// dump. The hint says what to do in the second case.
func checkSource(path, hint string) error {
	fi, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("%s: %s", quote(path), reason(err))
	}
	if fi.Mode()&fs.ModeSymlink == 0 {
		return nil
	}
	to := leadsInto(path)
	if fi, err := os.Stat(path); err == nil && to == "" {
		switch mode := fi.Mode(); {
		case mode&fs.ModeNamedPipe != 0:
			to = "to a pipe"
		case mode&fs.ModeSocket != 0:
			to = "to a socket"
		case mode&fs.ModeIrregular != 0:
			to = "to something that is not a file"
		}
	}
	if to == "" {
		return nil
	}
	return hinted(fmt.Errorf("%s: is a symbolic link %s; ingest would store the link, not the file that it leads to", quote(path), to),
		hint)
}

// maxLinks is how many links the kernel follows in a path.
const maxLinks = 40

// leadsInto follows path, link by link. It returns "into /proc" or "into /dev/fd" if it leads there, and "" otherwise.
func leadsInto(path string) string {
	for range maxLinks {
		dir, name := ".", strings.TrimRight(path, "/")
		if i := strings.LastIndexByte(name, '/'); i >= 0 { // package filepath would drop dir/.., but dir may be a link
			dir, name = name[:i+1], name[i+1:]
		}
		dir, err := realPath(dir)
		if err != nil {
			return ""
		}
		for _, special := range []string{"/proc", "/dev/fd"} {
			if below(special, dir) {
				return "into " + special
			}
		}
		target, err := os.Readlink(dir + "/" + name)
		if err != nil {
			return ""
		}
		if path = target; !strings.HasPrefix(target, "/") {
			path = dir + "/" + target
		}
	}
	return ""
}

// joinSources returns the errors of checkSource as one.
func joinSources(errs []error) error {
	err := errors.Join(errs...)
	var f *failure
	if errors.As(err, &f) {
		return &failure{err: err, status: f.status, hint: f.hint}
	}
	return err
}

// refusal is the error for what could not be stored and may not be left out. No flag helps if it is one of paths.
func refusal(problems []ingest.Problem, paths []string) error {
	errs, hint, whole := make(errorLines, len(problems)), "--skip-special stores the rest", false
	for i, p := range problems {
		errs[i] = p
		if !p.Special {
			hint = "--ignore-errors stores the rest"
		}
		whole = whole || slices.Contains(paths, p.Path)
	}
	if whole {
		hint = ""
	}
	return hinted(errs, hint)
}

// source is a PATH, and how it is read.
type source struct {
	path    string
	options ingest.Options
}

// sources returns how to read paths with the options o, and without the store. A dry run goes on if the store is unusable.
func (e *env) sources(o ingest.Options, needsStore bool, paths []string) ([]source, error) {
	sources := make([]source, len(paths))
	for i, p := range paths {
		o := o
		o.Excludes = e.excludeCache(o.Excludes, p)
		if err := e.excludeStore(&o, p); err != nil && needsStore {
			return nil, err
		}
		sources[i] = source{p, o}
	}
	return sources, nil
}

// startScan counts the bytes in sources, if a bar is shown. total is 0 until it is done; stop ends it earlier.
func (e *env) startScan(ctx context.Context, sources []source) (total *atomic.Uint64, stop func()) {
	total = new(atomic.Uint64)
	if !e.wantsBar() && e.progress != "json" {
		return total, func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		bytes := uint64(0)
		for _, s := range sources {
			ingest.Scan(ctx, s.path, s.options)
			bytes = s.options.Progress.TotalBytes.Load() // all sources share it
		}
		if ctx.Err() == nil {
			total.Store(bytes)
		}
	}()
	return total, func() {
		cancel()
		<-done
	}
}

// pathList is the flags that make one root of several paths.
type pathList struct {
	from   []string
	null   bool
	asTree bool
}

func (l *pathList) flags() []cli.Flag {
	return []cli.Flag{
		boolFlag("as-tree", "", &l.asTree, "make one root of all PATHs"),
		listFlag("files-from", "", &l.from, "read PATHs from `FILE`, one a line, and make one root of them; - is standard input"),
		boolFlag("null", "z", &l.null, "read names that end in NUL from --files-from"),
	}
}

// listPaths returns the paths to ingest. If they are to be one root, that is the directory around them, and the options
// select them in it.
func (e *env) listPaths(f *ingestFlags, args []string) ([]string, error) {
	l := f.list
	switch {
	case l.null && len(l.from) == 0:
		return nil, usagef("--null is for --files-from")
	case !l.asTree && len(l.from) == 0:
		return args, nil
	case f.stdin != "" || f.format != "" && f.format != "dir":
		return nil, usagef("--as-tree and --files-from are for files, and not for --stdin or an archive")
	case f.options.OneFileSystem:
		return nil, usagef("--one-file-system does not work with several PATHs as one root")
	}
	for _, name := range l.from {
		listed, err := e.readPaths(name, l.null)
		if err != nil {
			return nil, err
		}
		args = append(args, listed...)
	}
	if len(args) == 0 {
		return nil, usagef("no PATH given")
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

func (e *env) noteSockets(sockets []string) {
	if len(sockets) == 0 {
		return
	}
	text := "sockets are left out, because they hold no data: " + quoteAll(sockets[:min(len(sockets), maxSockets)], ", ")
	if more := len(sockets) - maxSockets; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	e.note(text)
}

package cmd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// checkSource reports why path, which is outside the store, cannot be read as a tree: it is not there, or it is a link
// to what has no place in a file system. That would be stored as the link, and nothing of what it leads to: with
// 'dump | castar ingest /dev/stdin' the dump would be lost.
func checkSource(path string) error {
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
			to = "to what is no file"
		}
	}
	if to == "" {
		return nil
	}
	return &failure{err: fmt.Errorf("%s: is a link %s: only the link would be stored, not what it leads to", quote(path), to),
		status: statusFailed, hint: "write what comes from there into a file first, and name that"}
}

// maxLinks is how many links the system follows one after the other.
const maxLinks = 40

// leadsInto follows path, link by link. It returns "into /proc" or "into /dev/fd" where it leads there, and otherwise "".
func leadsInto(path string) string {
	for range maxLinks {
		dir, name := ".", strings.TrimRight(path, "/")
		if i := strings.LastIndexByte(name, '/'); i >= 0 { // package filepath would take dir/.. away, where dir may be a link
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

package export

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"castar/store"

	"golang.org/x/sys/unix"
)

// ArchiveFile is Archive for a file. It writes the archive beside dest, and renames it to dest when it is complete. An
// existing dest is fs.ErrExist, unless overwrite is set and dest is a file. Its mode is 0644, less the umask.
func ArchiveFile(ctx context.Context, st *store.Store, root store.Node, dest string, overwrite bool, o ArchiveOptions) (r Result, err error) {
	about := func(err error) error {
		if err == nil {
			return nil
		}
		return fmt.Errorf("%s: %w", store.Quote(dest), err)
	}
	parentPath, name := splitDest(dest)
	parent, err := openPath(parentPath)
	if err != nil {
		return r, about(err)
	}
	defer parent.close()
	is, exists, err := parent.lstat(name)
	switch {
	case err != nil:
		return r, about(err)
	case name == "." || strings.HasSuffix(dest, "/") || exists && hasType(&is, unix.S_IFDIR):
		return r, about(unix.EISDIR)
	case exists && !hasType(&is, unix.S_IFREG):
		return r, about(errors.New("exists, and is not a file"))
	case exists && !overwrite:
		return r, about(unix.EEXIST)
	}
	temp := tempName(name)
	fd, err := parent.create(temp, 0o644)
	if err != nil {
		return r, about(err)
	}
	r, err = Archive(ctx, st, root, &fdWriter{fd: fd, about: about}, o)
	if cerr := closeFile(fd); err == nil {
		err = about(cerr)
	}
	switch {
	case err != nil:
	case overwrite:
		err = about(parent.rename(temp, parent, name))
	default:
		err = about(parent.renameNew(temp, parent, name))
	}
	if err != nil {
		if rerr := parent.unlink(temp); rerr != nil {
			err = fmt.Errorf("%w; a temporary file was left behind: %s: %v", err, store.Quote(temp), rerr)
		}
	}
	return r, err
}

// fdWriter writes to an empty file, about which its errors are.
type fdWriter struct {
	fd      int
	written uint64
	about   func(error) error
}

func (w *fdWriter) Write(p []byte) (int, error) {
	if err := writeAt(w.fd, p, w.written); err != nil {
		return 0, w.about(err)
	}
	w.written += uint64(len(p))
	return len(p), nil
}

package store

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// Landmark is a file that identifies the folder of a store, whatever path leads to it: a bind mount, an overlay, a
// second mount of the same disk. Device and inode numbers differ there. A copy of the folder has the same landmark. A
// Landmark is a value and may be used concurrently.
type Landmark struct {
	Path     string // of the file, relative to the folder
	Contents []byte // the whole contents of the file
}

// LandmarkOf returns the file at path, relative to the folder dir, as a landmark. The error is that of reading it.
func LandmarkOf(dir, path string) (Landmark, error) {
	contents, err := os.ReadFile(filepath.Join(dir, path))
	return Landmark{Path: path, Contents: contents}, err
}

// Hint returns the name of an entry that every directory with the landmark has. Without that entry, In need not be
// called.
func (l Landmark) Hint() string {
	hint, _, _ := strings.Cut(l.Path, "/")
	return hint
}

// In reports whether the open directory dirfd has the landmark.
func (l Landmark) In(dirfd int) (bool, error) { return l.at(dirfd, l.Path) }

// Around reports whether the directory dir is in the store: whether dir or a directory above it has the landmark. The
// error is syscall.ENOTDIR if dir is a file, and fs.ErrNotExist if it does not exist.
func (l Landmark) Around(dir string) (bool, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return false, err
	}
	defer d.Close()
	var below unix.Stat_t
	for up := "./"; len(up) < unix.PathMax; up += "../" {
		if found, err := l.at(int(d.Fd()), up+l.Path); found || err != nil {
			return found, err
		}
		var is unix.Stat_t
		err := unix.Fstatat(int(d.Fd()), up, &is, 0)
		if err != nil || is.Dev == below.Dev && is.Ino == below.Ino { // the root is its own parent
			return false, nil
		}
		below = is
	}
	return false, nil
}

// at reports whether the file at path, relative to dirfd, is the landmark. A file that cannot be read is not.
func (l Landmark) at(dirfd int, path string) (bool, error) {
	fd, err := posix.OpenFile(dirfd, path)
	if posix.IsShortage(err) {
		return false, err // anything else is not a file of ours
	}
	if err != nil {
		return false, nil
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != int64(len(l.Contents)) {
		return false, nil
	}
	got, err := io.ReadAll(io.LimitReader(f, int64(len(l.Contents))+1))
	return err == nil && bytes.Equal(got, l.Contents), nil
}

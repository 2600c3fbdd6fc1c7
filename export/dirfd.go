package export

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// dir is an open directory. Its methods make system calls that take its descriptor and one name, and that do not follow
// a symlink of that name. All methods except within may be called concurrently.
type dir struct {
	fd    int
	depth int    // below the directory that was opened by a path
	up    *dir   // the directory that it was opened in; nil if it was opened by a path
	name  string // in up
	loan  loan
	plain bool // new entries get the mode that they are made with, less the umask

	listed atomic.Bool // its entries were read through fd, or cannot be
}

// keepOpen is how many directories of a path are open at once. Few trees are deeper. Below, only every keepOpen-th
// directory stays open, and directories are written one at a time.
const keepOpen = 64

// openPath opens a directory that the user named. It follows symlinks in the path.
func openPath(name string) (*dir, error) {
	fd, err := posix.Open(unix.AT_FDCWD, name, openParent, 0)
	d := &dir{fd: fd}
	d.listed.Store(true) // openParent may not allow it
	return d, err
}

func (d *dir) open(name string) (*dir, error) {
	fd, err := posix.OpenDir(d.fd, name)
	return &dir{fd: fd, depth: d.depth + 1, up: d, name: name}, err
}

// mkdir makes a directory that its owner can write to, and opens it. Mode is subject to the umask.
func (d *dir) mkdir(name string, mode fs.FileMode) (*dir, error) {
	if err := posix.Retry(func() error { return unix.Mkdirat(d.fd, name, uint32(mode)|0o700) }); err != nil {
		return nil, err
	}
	child, err := d.open(name)
	child.plain = d.plain
	return child, err
}

// create makes a file and opens it for writing. Mode is subject to the umask.
func (d *dir) create(name string, mode fs.FileMode) (int, error) {
	return posix.Open(d.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, uint32(mode))
}

func (d *dir) close() error {
	if d.fd < 0 {
		return nil
	}
	fd := d.fd
	d.fd = -1
	return closeFile(fd)
}

// closeFile closes fd. After EINTR, Linux has closed it, and its number may be in use again.
func closeFile(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

// deep reports whether within closes d for a time.
func (d *dir) deep() bool { return d != nil && d.depth >= keepOpen && d.depth%keepOpen != 0 }

// within calls f, which works in child, a directory in d, and then closes child. If d is deep, within closes d while f
// runs and opens it again afterwards. Nobody else may use d during that time.
func (d *dir) within(child *dir, f func() error) error {
	defer child.close()
	if !d.deep() {
		return f()
	}
	d.close()
	err := f()
	return cmp.Or(err, d.reopen())
}

// reopen opens d again, by the names that lead to it from the nearest open directory above it. So the result is below
// that directory, whatever others have moved. The parent of the child would not do: it could be anywhere by now, and
// some file systems have no inode numbers that tell one directory from another.
func (d *dir) reopen() error {
	var way []string
	held := d
	for ; held.fd < 0 && held.up != nil; held = held.up {
		way = append(way, held.name)
	}
	fd := held.fd
	for _, name := range slices.Backward(way) {
		next, err := posix.OpenDir(fd, name)
		if fd != held.fd {
			closeFile(fd)
		}
		if err != nil {
			return fmt.Errorf("moved elsewhere during the export: %w", err)
		}
		fd = next
	}
	d.fd = fd
	return nil
}

// stat describes d itself.
func (d *dir) stat() (unix.Stat_t, error) { return statFile(d.fd) }

func statFile(fd int) (st unix.Stat_t, err error) {
	err = posix.Retry(func() error { return unix.Fstat(fd, &st) })
	return st, err
}

// lstat describes an entry of d, if it exists.
func (d *dir) lstat(name string) (st unix.Stat_t, exists bool, err error) {
	err = posix.Retry(func() error { return unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err == unix.ENOENT {
		return st, false, nil
	}
	return st, err == nil, err
}

func hasType(st *unix.Stat_t, format uint32) bool { return uint32(st.Mode)&unix.S_IFMT == format }

func permissions(st *unix.Stat_t) uint32 { return uint32(st.Mode) & 0o7777 }

func (d *dir) chmod(mode uint32) error { return chmodFile(d.fd, mode) }

func chmodFile(fd int, mode uint32) error {
	return posix.Retry(func() error { return unix.Fchmod(fd, mode) })
}

// setTimes sets the times of an entry of d, or of d itself if name is ".". Nil times change nothing.
func (d *dir) setTimes(name string, times []unix.Timespec) error {
	if times == nil {
		return nil
	}
	return posix.Retry(func() error { return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW) })
}

func (d *dir) symlink(target, name string) error {
	return posix.Retry(func() error { return unix.Symlinkat(target, d.fd, name) })
}

func (d *dir) pointsTo(name, target string) (bool, error) {
	buf := make([]byte, len(target)+1)
	n, err := posix.RetryValue(func() (int, error) { return unix.Readlinkat(d.fd, name, buf) })
	return err == nil && string(buf[:n]) == target, err
}

// rename moves the entry from of d to the name to in another directory, and replaces an entry of that name.
func (d *dir) rename(from string, in *dir, to string) error {
	return posix.Retry(func() error { return unix.Renameat(d.fd, from, in.fd, to) })
}

// renameNew is rename, but the error is EEXIST if the name is taken. Some file systems cannot do that in one step: there,
// a file that another process makes at the same moment can be replaced, but not a directory.
func (d *dir) renameNew(from string, in *dir, to string) error {
	err := posix.Retry(func() error { return renameNoReplace(d.fd, from, in.fd, to) })
	if err != unix.EINVAL && err != unix.ENOSYS && err != unix.ENOTSUP {
		return err
	}
	_, exists, err := in.lstat(to)
	if exists {
		return unix.EEXIST
	}
	if err != nil {
		return err
	}
	return d.rename(from, in, to)
}

func (d *dir) unlink(name string) error {
	return posix.Retry(func() error { return unix.Unlinkat(d.fd, name, 0) })
}

func (d *dir) rmdir(name string) error {
	return posix.Retry(func() error { return unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR) })
}

// listSize is how many bytes of a listing are read at once.
const listSize = 8 << 10

// names returns the names of all entries of d, in no particular order.
func (d *dir) names() ([]string, error) {
	fd, err := d.unread()
	if err != nil {
		return nil, err
	}
	defer d.doneWith(fd)
	var buf [listSize]byte
	return posix.AppendNames(nil, fd, buf[:])
}

// entry is a name in a directory.
type entry struct {
	name  string
	isDir bool
}

// entries returns the entries of d, sorted by name.
func (d *dir) entries() ([]entry, error) {
	fd, err := d.unread()
	if err != nil {
		return nil, err
	}
	defer d.doneWith(fd)
	var buf [listSize]byte
	listed, err := posix.ReadEntries(fd, buf[:])
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, len(listed))
	for _, l := range listed {
		isDir := l.Type == unix.DT_DIR
		if l.Type == unix.DT_UNKNOWN {
			st, exists, err := d.lstat(l.Name)
			if err != nil {
				return nil, err
			}
			if !exists {
				continue // removed just now
			}
			isDir = hasType(&st, unix.S_IFDIR)
		}
		entries = append(entries, entry{l.Name, isDir})
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries, nil
}

// unread returns a descriptor of d from which nothing was read: d's own the first time, and later a new one.
func (d *dir) unread() (int, error) {
	if !d.listed.Swap(true) {
		return d.fd, nil
	}
	return posix.OpenDir(d.fd, ".")
}

// doneWith closes a descriptor that unread returned.
func (d *dir) doneWith(fd int) {
	if fd != d.fd {
		closeFile(fd)
	}
}

// isMount reports whether something is mounted on d, a directory in parent.
func (d *dir) isMount(parent *dir) (bool, error) {
	st, err := d.stat()
	if err != nil {
		return false, err
	}
	up, err := parent.stat()
	return st.Dev != up.Dev || posix.IsMountRoot(d.fd, ""), err
}

package export

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// dir is an open directory. All that is done in it is done by system calls that take its descriptor and one name, and
// that do not follow a symlink of that name. Methods may be called concurrently, but for within.
type dir struct {
	fd    int
	depth int    // below the one that was opened first
	up    *dir   // the directory that it was opened in; nil: it was opened by a path
	name  string // there
	loan  loan

	listed atomic.Bool // its entries were read through fd, or cannot be
}

// keepOpen is how many directories of a path are held open at once. Of those below, which few trees have, only every
// keepOpen-th is, and they are written one at a time.
const keepOpen = 64

// openPath opens a directory that the user named, through whatever symlinks the path holds.
func openPath(name string) (*dir, error) {
	fd, err := posix.Open(unix.AT_FDCWD, name, openParent, 0)
	d := &dir{fd: fd}
	d.listed.Store(true) // openParent may not allow it
	return d, err
}

// open opens a directory in d.
func (d *dir) open(name string) (*dir, error) {
	fd, err := posix.OpenDir(d.fd, name)
	return &dir{fd: fd, depth: d.depth + 1, up: d, name: name}, err
}

// mkdir makes a directory that its owner may write in, and opens it. Mode is subject to the umask.
func (d *dir) mkdir(name string, mode fs.FileMode) (*dir, error) {
	if err := posix.Retry(func() error { return unix.Mkdirat(d.fd, name, uint32(mode)|0o700) }); err != nil {
		return nil, err
	}
	return d.open(name)
}

// create makes a file and opens it to be written. Mode is subject to the umask.
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

// closeFile closes fd. After EINTR it is closed all the same (Linux), or its number may be in use again.
func closeFile(fd int) error {
	if err := unix.Close(fd); err != unix.EINTR {
		return err
	}
	return nil
}

// deep reports whether within closes d.
func (d *dir) deep() bool { return d != nil && d.depth >= keepOpen && d.depth%keepOpen != 0 }

// within calls f, which works in child, a directory in d, and closes child. If d is deep it is closed meanwhile, and
// opened again afterwards: then nobody else may use it.
func (d *dir) within(child *dir, f func() error) error {
	defer child.close()
	if !d.deep() {
		return f()
	}
	d.close()
	err := f()
	if rerr := d.reopen(); err == nil {
		err = rerr
	}
	return err
}

// reopen opens d again by the names that lead to it from the nearest directory above that is open. So it stays below
// that, whatever others move meanwhile: the parent of a child could be anywhere by now, and some file systems have no
// numbers by which one directory could be told from another.
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
			return fmt.Errorf("moved elsewhere meanwhile: %w", err)
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

// lstat describes an entry of d, if it is there.
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

// setTimes sets the times of an entry of d, or of d itself where name is ".". Nil times change nothing.
func (d *dir) setTimes(name string, times []unix.Timespec) error {
	if times == nil {
		return nil
	}
	return posix.Retry(func() error { return unix.UtimesNanoAt(d.fd, name, times, unix.AT_SYMLINK_NOFOLLOW) })
}

func (d *dir) symlink(target, name string) error {
	return posix.Retry(func() error { return unix.Symlinkat(target, d.fd, name) })
}

// pointsTo reports whether name is a symlink to target.
func (d *dir) pointsTo(name, target string) (bool, error) {
	buf := make([]byte, len(target)+1)
	n, err := posix.RetryValue(func() (int, error) { return unix.Readlinkat(d.fd, name, buf) })
	return err == nil && string(buf[:n]) == target, err
}

// rename gives the entry from of d the name to in another directory, and replaces what has it.
func (d *dir) rename(from string, in *dir, to string) error {
	return posix.Retry(func() error { return unix.Renameat(d.fd, from, in.fd, to) })
}

// renameNew is rename, but the error is EEXIST if the name is taken. File systems that cannot do that in one step leave
// a moment in which another process's file, though not its directory, could be replaced.
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

// names returns the names of all entries of d, in no order.
func (d *dir) names() ([]string, error) {
	fd, err := d.unread()
	if err != nil {
		return nil, err
	}
	defer d.doneWith(fd)
	var buf [listSize]byte
	return posix.ReadNames(fd, buf[:])
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

// unread returns a descriptor of d to list its entries from: the first time d's own, and later another one.
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

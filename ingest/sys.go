package ingest

import (
	"fmt"
	"io"

	"castar/ingest/ignore"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// stat describes an entry.
type stat struct {
	dev, ino     uint64
	links        uint64 // how many names it has
	allocated    uint64 // bytes of the disk
	uid, gid     uint32
	size         uint64
	mtime, ctime int64 // nanoseconds since 1970
	mode         uint32
}

func (s *stat) fill(u *unix.Stat_t) {
	*s = stat{
		dev: uint64(u.Dev), ino: u.Ino, links: uint64(u.Nlink), size: uint64(u.Size), mode: uint32(u.Mode),
		mtime: u.Mtim.Nano(), ctime: u.Ctim.Nano(), uid: u.Uid, gid: u.Gid, allocated: uint64(u.Blocks) * 512,
	}
}

// at makes s describe the entry name of the directory dirfd. It does not follow a symlink.
func (s *stat) at(dirfd int, name string) error {
	var u unix.Stat_t
	err := posix.Retry(func() error { return unix.Fstatat(dirfd, name, &u, unix.AT_SYMLINK_NOFOLLOW) })
	s.fill(&u)
	return err
}

// of makes s describe an open file. With an error s stays as it is.
func (s *stat) of(fd int) error {
	var u unix.Stat_t
	err := posix.Retry(func() error { return unix.Fstat(fd, &u) })
	if err == nil {
		s.fill(&u)
	}
	return err
}

func (s *stat) same(o *stat) bool {
	a, b := *s, *o
	a.links, b.links = 0, 0 // ctime shows a change of links, if there is a ctime
	a.allocated, b.allocated = 0, 0
	return a == b
}

// kind returns the bits of the mode that hold the kind of entry.
func (s *stat) kind() uint32 { return s.mode & unix.S_IFMT }

// executable reports whether the owner may execute the file. It is the only permission that the model has.
func (s *stat) executable() bool { return s.mode&unix.S_IXUSR != 0 }

// private reports whether others than the owner and the group may not read the entry.
func (s *stat) private() bool { return s.kind() != unix.S_IFLNK && s.mode&unix.S_IROTH == 0 }

// special says what an entry is that is not a file, directory or symlink.
func (s *stat) special() string {
	switch s.kind() {
	case unix.S_IFIFO:
		return "a pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR:
		return "a character device"
	case unix.S_IFBLK:
		return "a block device"
	}
	return fmt.Sprintf("of mode %o", s.mode)
}

// specialError is ErrSpecial with what the entry is. It is small, because there may be a million of them.
type specialError string

func (e specialError) Error() string { return ErrSpecial.Error() + ": it is " + string(e) }
func (e specialError) Unwrap() error { return ErrSpecial }

// reader reads an open file with plain system calls.
type reader int

func (fd reader) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err = posix.RetryValue(func() (int, error) { return unix.Read(int(fd), p) })
	if err == nil && n == 0 {
		err = io.EOF
	}
	return max(n, 0), err
}

// readlinkat returns the target of a symlink.
func readlinkat(dirfd int, name string) (string, error) {
	target, err := grow(func(buf []byte) (int, error) {
		n, err := unix.Readlinkat(dirfd, name, buf)
		if n == len(buf) {
			err = unix.ERANGE // there may be more
		}
		return n, err
	})
	return string(target), err
}

// grow calls get with longer buffers until one is long enough, and returns what get put into it. A get whose buffer is too
// short returns ERANGE.
func grow(get func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := posix.RetryValue(func() (int, error) { return get(buf) })
		if err == nil {
			return buf[:n], nil
		}
		if err != unix.ERANGE || size > 1<<20 {
			return nil, err
		}
	}
}

// readHead returns at most the first limit bytes of a regular file. The error is ignore.ErrNoFile for any other entry.
func readHead(dirfd int, name string, limit int) ([]byte, error) {
	var st stat
	if err := st.at(dirfd, name); err != nil {
		return nil, err
	}
	if st.kind() != unix.S_IFREG {
		return nil, ignore.ErrNoFile
	}
	fd, err := posix.OpenFile(dirfd, name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return io.ReadAll(io.LimitReader(reader(fd), int64(limit)))
}

package ingest

import (
	"errors"
	"fmt"
	"io"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// stat is what a walk needs to know of an entry.
type stat struct {
	dev, ino     uint64
	links        uint64 // how many names it has
	size         uint64
	mtime, ctime int64 // nanoseconds since 1970
	mode         uint32
}

func (s *stat) fill(u *unix.Stat_t) {
	*s = stat{
		dev: uint64(u.Dev), ino: u.Ino, links: uint64(u.Nlink), size: uint64(u.Size), mode: uint32(u.Mode),
		mtime: u.Mtim.Nano(), ctime: u.Ctim.Nano(),
	}
}

// at describes the entry of that name, itself where it is a symlink.
func (s *stat) at(dirfd int, name string) error {
	var u unix.Stat_t
	err := posix.Retry(func() error { return unix.Fstatat(dirfd, name, &u, unix.AT_SYMLINK_NOFOLLOW) })
	s.fill(&u)
	return err
}

// of describes an open file. With an error s is as it was.
func (s *stat) of(fd int) error {
	var u unix.Stat_t
	err := posix.Retry(func() error { return unix.Fstat(fd, &u) })
	if err == nil {
		s.fill(&u)
	}
	return err
}

// same reports whether s and o are of one file that did not change between them.
func (s *stat) same(o *stat) bool {
	a, b := *s, *o
	a.links, b.links = 0, 0 // a change of which changes ctime, where there is one
	return a == b
}

// kind returns the bits of the mode that say what the entry is.
func (s *stat) kind() uint32 { return s.mode & unix.S_IFMT }

// executable reports whether the owner may run it: the one permission that the model carries.
func (s *stat) executable() bool { return s.mode&unix.S_IXUSR != 0 }

// special names what is neither file, directory nor symlink.
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

// specialError is ErrSpecial with what the entry is, which takes little memory: there may be a million of them.
type specialError string

func (e specialError) Error() string { return ErrSpecial.Error() + ": it is " + string(e) }
func (e specialError) Unwrap() error { return ErrSpecial }

// isShortage reports whether err says that the process or the system has run out of descriptors or memory.
func isShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// errNotRegular says that what was to be read is no regular file.
var errNotRegular = errors.New("not a regular file")

// reader reads an open file by plain system calls. It is an io.Reader.
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

// readlinkat returns the target of a symlink, of any length.
func readlinkat(dirfd int, name string) (string, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := posix.RetryValue(func() (int, error) { return unix.Readlinkat(dirfd, name, buf) })
		if err != nil {
			return "", err
		}
		if n < size || size > store.MaxTargetLen {
			return string(buf[:n]), nil
		}
	}
}

// readHead returns at most limit bytes of a regular file. It is errNotRegular where the name is anything else.
func readHead(dirfd int, name string, limit int) ([]byte, error) {
	var st stat
	if err := st.at(dirfd, name); err != nil {
		return nil, err
	}
	if st.kind() != unix.S_IFREG {
		return nil, errNotRegular
	}
	fd, err := posix.OpenFile(dirfd, name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return io.ReadAll(io.LimitReader(reader(fd), int64(limit)))
}

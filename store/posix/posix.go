// Package posix makes the system calls that package os does not offer: on a name in an open directory, without
// following a symlink, repeated when a signal interrupts them. It also makes files without
// a name, and says which errors are a shortage of descriptors or memory. It imports nothing of castar, so every package may
// use it.
package posix

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Retry calls call again for as long as a signal interrupts it. Network file systems let that happen, and Go sends
// itself signals.
func Retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// RetryValue is Retry for a call that also returns a value.
func RetryValue[T any](call func() (T, error)) (T, error) {
	for {
		if v, err := call(); err != unix.EINTR {
			return v, err
		}
	}
}

// IsShortage reports whether err says that the process or the system has run out of descriptors or memory.
func IsShortage(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}

// Open opens name in the directory dirfd. The descriptor is closed on exec.
func Open(dirfd int, name string, flags int, mode uint32) (fd int, err error) {
	return RetryValue(func() (int, error) { return unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode) })
}

// OpenFile opens a file for reading. It does not follow a symlink, and it does not wait if a pipe or a terminal has
// taken the place of the file.
func OpenFile(dirfd int, name string) (fd int, err error) {
	return Open(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// OpenDir opens a directory for reading. It does not follow a symlink.
func OpenDir(dirfd int, name string) (fd int, err error) {
	return Open(dirfd, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_DIRECTORY, 0)
}

// Nameless returns a new file that has no name, for reading and writing, in the folder dir, or where temporary files go if
// dir is "". It is gone when it is closed, or when the process ends.
func Nameless(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".castar-*.tmp")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

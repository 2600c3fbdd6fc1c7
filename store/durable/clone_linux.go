package durable

import (
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// CloneTo implements store.Cloneable: ioctl_ficlonerange(2).
func (f *file) CloneTo(fd int, at, from, n int64) error {
	r := unix.FileCloneRange{Src_fd: int64(f.f.Fd()), Src_offset: uint64(from), Src_length: uint64(n), Dest_offset: uint64(at)}
	return posix.Retry(func() error { return unix.IoctlFileCloneRange(fd, &r) })
}

// Shares implements Sharer. A file system that cannot share blocks refuses even to share none.
func (f *file) Shares() bool { return f.CloneTo(int(f.f.Fd()), 0, 0, 0) == nil }

package posix

import "golang.org/x/sys/unix"

// What getdents64 writes: struct linux_dirent64.
const (
	direntLength = 16
	direntType   = 18
	direntName   = 19
	// zeroIsDeleted is false: FUSE and network file systems give existing files inode number 0.
	zeroIsDeleted = false
)

// IsMountRoot reports whether something is mounted on the entry name of the directory fd, or on fd itself if name is
// empty. It finds bind mounts of the same file system too. A device number of its own does not make an entry a mount
// point: overlayfs shows files with the device numbers of other file systems. The result is false if the kernel does not
// tell (before Linux 5.8).
func IsMountRoot(fd int, name string) bool {
	flags := unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	err := Retry(func() error { return unix.Statx(fd, name, flags, 0, &st) })
	return err == nil && st.Attributes_mask&st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

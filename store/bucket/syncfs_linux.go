package bucket

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// fileSystemSync returns a function that syncs the whole file system that holds dir, and one that releases it. The first
// is nil if syncfs(2) does not serve. Since Linux 5.8 syncfs reports the write errors that came after its descriptor was
// opened; before, it reported none. Only some file systems are known to make everything durable by it. Those in user space
// never hear of the call.
func fileSystemSync(dir string) (syncAll, end func() error) {
	none := func() error { return nil }
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || !atLeast(5, 8) {
		return nil, none
	}
	switch int64(fs.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC:
	default:
		return nil, none
	}
	f, err := os.Open(dir)
	if err != nil {
		return nil, none
	}
	return func() error {
		if err := unix.Syncfs(int(f.Fd())); err != nil {
			return fmt.Errorf("%s: syncfs: %w", dir, err)
		}
		return nil
	}, f.Close
}

// atLeast reports whether the kernel has the given version or a later one.
func atLeast(major, minor int) bool {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return false
	}
	var a, b int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a > major || a == major && b >= minor
}

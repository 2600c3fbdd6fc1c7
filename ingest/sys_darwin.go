package ingest

import (
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// bootID returns "", because identify never returns a mount.
func bootID() string { return "" }

// identify describes the file system of an open directory or file. isNative says that it keeps ctime and lasting inode
// numbers. name and mount are empty, because darwin does not tell.
func identify(fd int, _ uint64) (isNative bool, name, mount string) {
	var fs unix.Statfs_t
	if err := posix.Retry(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return false, "", ""
	}
	switch unix.ByteSliceToString(fs.Fstypename[:]) {
	case "apfs", "hfs":
		return true, "", ""
	}
	return false, "", ""
}

package ingest

import (
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// bootID returns "": nothing here needs it.
func bootID() string { return "" }

// identify returns whether the file system of an open directory or file, on the device dev, keeps ctime and lasting inode
// numbers; what is written in it that tells it from others, or ""; and what no other file system that was mounted since
// the boot has, or "", as darwin does not tell.
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

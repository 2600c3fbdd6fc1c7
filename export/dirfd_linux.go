package export

import (
	"strings"

	"golang.org/x/sys/unix"
)

// openParent opens a directory to reach its entries. The directory need not be readable.
const openParent = unix.O_PATH | unix.O_DIRECTORY

func renameNoReplace(fromDir int, from string, toDir int, to string) error {
	return unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
}

// hasAttributes reports whether fd has attributes that a new directory would lack: an access list, or those of a user.
func hasAttributes(fd int) bool {
	buf := make([]byte, 64<<10) // the kernel's limit
	n, err := unix.Flistxattr(fd, buf)
	if err != nil {
		return false // the file system has none
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if strings.HasPrefix(name, "system.posix_acl_") || strings.HasPrefix(name, "user.") {
			return true
		}
	}
	return false
}

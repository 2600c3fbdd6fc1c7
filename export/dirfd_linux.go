package export

import (
	"os"
	"strconv"
	"strings"
	"unsafe"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// openParent opens a directory to reach its entries. The directory need not be readable.
const openParent = unix.O_PATH | unix.O_DIRECTORY

// nameless makes a file without a name in d, if the file system can do that, and opens it for writing.
func (d *dir) nameless() (int, error) {
	return posix.Open(d.fd, ".", unix.O_TMPFILE|unix.O_WRONLY, 0o600)
}

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

// accessTime returns the time of access that goes with a time of modification: none, so that it stays.
func accessTime(unix.Timespec) unix.Timespec { return unix.Timespec{Nsec: unix.UTIME_OMIT} }

// umask returns the umask of the process. It is all bits if the system does not tell.
func umask() uint32 {
	status, err := os.ReadFile("/proc/self/status") // unix.Umask would change it for a moment
	if err == nil {
		for line := range strings.Lines(string(status)) {
			if value, ok := strings.CutPrefix(line, "Umask:"); ok {
				if mask, err := strconv.ParseUint(strings.TrimSpace(value), 8, 32); err == nil {
					return uint32(mask)
				}
			}
		}
	}
	return 0o777
}

// setOpenTimes sets the times of the open file fd, which is name in d.
func (d *dir) setOpenTimes(fd int, _ string, times *[2]unix.Timespec) error {
	return posix.Retry(func() error { // without a name, which package unix demands, the system need not look it up
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(times)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
}

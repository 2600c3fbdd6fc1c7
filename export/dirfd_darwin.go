package export

import "golang.org/x/sys/unix"

const openParent = unix.O_RDONLY | unix.O_DIRECTORY

// nameless is not known to darwin.
func (d *dir) nameless() (int, error) { return -1, unix.ENOTSUP }

func renameNoReplace(fromDir int, from string, toDir int, to string) error {
	return unix.RenameatxNp(fromDir, from, toDir, to, unix.RENAME_EXCL)
}

// hasAttributes returns false, because darwin itself gives attributes to directories.
func hasAttributes(int) bool { return false }

// accessTime returns the time of access that goes with a time of modification: the same, because there is no way to keep
// it.
func accessTime(mtime unix.Timespec) unix.Timespec { return mtime }

// umask returns all bits, because the system does not tell.
func umask() uint32 { return 0o777 }

// setOpenTimes sets the times of the open file fd, which is name in d.
func (d *dir) setOpenTimes(_ int, name string, times *[2]unix.Timespec) error {
	return d.setTimes(name, times[:])
}

package export

import "golang.org/x/sys/unix"

const openParent = unix.O_RDONLY | unix.O_DIRECTORY

func renameNoReplace(fromDir int, from string, toDir int, to string) error {
	return unix.RenameatxNp(fromDir, from, toDir, to, unix.RENAME_EXCL)
}

// hasAttributes returns false, because darwin itself gives attributes to directories.
func hasAttributes(int) bool { return false }

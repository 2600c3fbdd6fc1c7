package export

import "golang.org/x/sys/unix"

const openParent = openDir

func renameNoReplace(fromDir int, from string, toDir int, to string) error {
	return unix.RenameatxNp(fromDir, from, toDir, to, unix.RENAME_EXCL)
}

// isMountRoot: darwin has no bind mounts, so that the numbers of the devices say it all.
func isMountRoot(int, string) bool { return false }

// hasAttributes: darwin gives attributes to directories of its own accord.
func hasAttributes(int) bool { return false }

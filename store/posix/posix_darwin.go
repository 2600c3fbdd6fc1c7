package posix

// What getdirentries writes: struct dirent.
const (
	direntLength = 16
	direntType   = 20
	direntName   = 21
	// zeroIsDeleted is true: the manual says that entries with inode number 0 are deleted files.
	zeroIsDeleted = true
)

// IsMountRoot returns false: darwin has no bind mounts and mounts on directories only, so device numbers tell all.
func IsMountRoot(int, string) bool { return false }

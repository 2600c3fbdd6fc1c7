//go:build !linux

package bucket

// fileSystemSync returns nil in place of a function that syncs a whole file system: only Linux has one that waits and
// reports errors.
func fileSystemSync(string) (syncAll, end func() error) {
	return nil, func() error { return nil }
}

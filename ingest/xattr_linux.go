package ingest

import (
	"fmt"
	"slices"
	"strings"

	"castar/store/listing"

	"golang.org/x/sys/unix"
)

// readXattrs returns the extended attributes of the entry name of the directory fd, without following a symlink, in the
// order of their names. ACLs are among them. A file system without attributes has none.
func readXattrs(fd int, name string) ([]listing.Xattr, error) {
	path := name
	if fd != unix.AT_FDCWD {
		path = fmt.Sprintf("/proc/self/fd/%d/%s", fd, name) // there is no call that takes a descriptor and a name
	}
	list, err := grow(func(buf []byte) (int, error) { return unix.Llistxattr(path, buf) })
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil || len(list) == 0 {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	slices.Sort(names)
	var all []listing.Xattr
	for _, name := range names {
		value, err := grow(func(buf []byte) (int, error) { return unix.Lgetxattr(path, name, buf) })
		if err == unix.ENODATA { // it was removed
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("attribute %s: %w", name, err)
		}
		all = append(all, listing.Xattr{Name: name, Value: value})
	}
	return all, nil
}

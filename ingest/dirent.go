package ingest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// errListing says that what the system gave as the names in a directory makes no sense.
var errListing = errors.New("malformed directory listing")

// readNames returns the names in an open directory, in no order. It reads through buf. The names that were read
// together share their memory, so that a million of them cost little more than their bytes.
func readNames(fd int, buf []byte) (names []string, err error) {
	for {
		var n int
		err := retry(func() (err error) {
			n, err = unix.ReadDirent(fd, buf)
			return err
		})
		if err != nil {
			return nil, err
		}
		if n <= 0 {
			return names, nil
		}
		if names, err = parseNames(buf[:n], names); err != nil {
			return nil, err
		}
	}
}

// parseNames appends the names of the entries in buf, but for . and .., to names. Package unix has a parser too, which
// drops entries with inode number 0 everywhere.
func parseNames(buf []byte, names []string) ([]string, error) {
	size, count := 0, 0
	for rest := buf; len(rest) > 0; {
		name, next, err := cutEntry(rest)
		if err != nil {
			return nil, err
		}
		size, rest = size+len(name), next
		if len(name) > 0 {
			count++
		}
	}
	var all strings.Builder
	all.Grow(size)
	first := len(names)
	for rest := buf; len(rest) > 0; {
		var name []byte
		name, rest, _ = cutEntry(rest)
		all.Write(name)
		if len(name) > 0 {
			names = append(names, all.String()[all.Len()-len(name):])
		}
	}
	return names[:first+count], nil
}

// cutEntry returns the name of the first entry in buf, which the system filled, and the bytes after that entry. The
// name is empty where the entry is to be passed over: . and .. and, where the system marks them so, deleted ones.
func cutEntry(buf []byte) (name, rest []byte, err error) {
	if len(buf) <= direntName {
		return nil, nil, errListing
	}
	length := int(binary.NativeEndian.Uint16(buf[direntLength:]))
	if length <= direntName || length > len(buf) {
		return nil, nil, errListing
	}
	name, rest = buf[direntName:length], buf[length:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	switch {
	case len(name) == 0:
		return nil, nil, errListing
	case zeroIsDeleted && binary.NativeEndian.Uint64(buf) == 0, string(name) == ".", string(name) == "..":
		return nil, rest, nil
	}
	return name, rest, nil
}

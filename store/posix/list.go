package posix

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrListing is the error for a directory listing from the system that makes no sense.
var ErrListing = errors.New("malformed directory listing")

// Entry is a name in a directory.
type Entry struct {
	Name string
	Type uint8 // a DT_ constant of package unix; DT_UNKNOWN if the file system does not say
}

// AppendNames appends the names in the open directory fd that were not read from it yet, in no order. It reads through
// buf, which must hold at least one entry. Names that are read together share memory, so a million of them take little
// more than their bytes.
func AppendNames(names []string, fd int, buf []byte) ([]string, error) {
	err := read(fd, buf, func(name string, _ uint8) { names = append(names, name) })
	return names, err
}

// ReadEntries returns the names that AppendNames appends, with types.
func ReadEntries(fd int, buf []byte) (entries []Entry, err error) {
	err = read(fd, buf, func(name string, kind uint8) { entries = append(entries, Entry{name, kind}) })
	return entries, err
}

// read calls add for the entries of fd.
func read(fd int, buf []byte, add func(name string, kind uint8)) error {
	for {
		n, err := RetryValue(func() (int, error) { return unix.ReadDirent(fd, buf) })
		if err != nil || n <= 0 {
			return err
		}
		if err := parse(buf[:n], add); err != nil {
			return err
		}
	}
}

// parse calls add for the entries in a listing, except "." and "..". Package unix has a parser too, but on every system
// it drops entries with inode number 0.
func parse(listing []byte, add func(name string, kind uint8)) error {
	size := 0
	for rest := listing; len(rest) > 0; {
		name, _, next, err := cutEntry(rest)
		if err != nil {
			return err
		}
		size, rest = size+len(name), next
	}
	var all strings.Builder
	all.Grow(size)
	for rest := listing; len(rest) > 0; {
		name, kind, next, _ := cutEntry(rest)
		rest = next
		if len(name) > 0 {
			all.Write(name)
			add(all.String()[all.Len()-len(name):], kind)
		}
	}
	return nil
}

// cutEntry returns the name and type of the first entry in a listing, and the bytes after that entry. The name is empty
// for entries to skip: ".", ".." and, on systems that mark them so, deleted files.
func cutEntry(listing []byte) (name []byte, kind uint8, rest []byte, err error) {
	if len(listing) <= direntName {
		return nil, 0, nil, ErrListing
	}
	length := int(binary.NativeEndian.Uint16(listing[direntLength:]))
	if length <= direntName || length > len(listing) {
		return nil, 0, nil, ErrListing
	}
	name, rest = listing[direntName:length], listing[length:]
	if end := bytes.IndexByte(name, 0); end >= 0 {
		name = name[:end]
	}
	switch {
	case len(name) == 0:
		return nil, 0, nil, ErrListing
	case zeroIsDeleted && binary.NativeEndian.Uint64(listing) == 0, string(name) == ".", string(name) == "..":
		return nil, 0, rest, nil
	}
	return name, listing[direntType], rest, nil
}

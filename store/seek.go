package store

import (
	"errors"
	"fmt"
	"io"
)

// SeekTo returns the offset to which Seek(offset, whence) moves in a Blob of size bytes that is read at the offset at,
// all in bytes. It may be past the end, as with any io.Seeker. Another whence than those of package io, and an offset
// before the beginning, are errors.
func SeekTo(at, size uint64, offset int64, whence int) (uint64, error) {
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += int64(at)
	case io.SeekEnd:
		offset += int64(size)
	default:
		return 0, fmt.Errorf("seek: invalid whence %d", whence)
	}
	if offset < 0 {
		return 0, errors.New("seek: negative position")
	}
	return uint64(offset), nil
}

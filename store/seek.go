package store

import (
	"errors"
	"fmt"
	"io"
)

// SeekTo returns the offset that Seek(offset, whence) moves to in a Blob of size bytes whose current offset is at. It
// may be past the end, as with any io.Seeker. A whence that package io does not have is an error, and so is an offset
// before the beginning.
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

package store

import (
	"bytes"
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

// BytesBlob returns a Blob of bytes in memory, which the caller has checked. It keeps data.
func BytesBlob(data []byte) Blob { return bytesBlob{bytes.NewReader(data)} }

type bytesBlob struct{ *bytes.Reader }

func (b bytesBlob) Size() uint64 { return uint64(b.Reader.Size()) }
func (b bytesBlob) Close() error { return nil }

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

// Extent is where bytes of a blob lie, as they are, in a file of this machine.
type Extent struct {
	File   Cloneable // stays open for as long as the call lasts that gives the extent
	Offset int64     // in the file
}

// Cloneable is an open file whose blocks other files can share. Its method may be called concurrently.
type Cloneable interface {
	// CloneTo makes n bytes of the open file fd, from an offset on, share their blocks with those at from: both files have
	// the same bytes there, and each keeps them when the other is changed or removed. If n is 0, it clones all that follows
	// from. Offsets and n must be multiples of the blocks of the file system, except that n may end with the file. The error is
	// a syscall.Errno: EINVAL if just these bytes cannot be shared, and most often EOPNOTSUPP or EXDEV if none can.
	CloneTo(fd int, at, from, n int64) error
}

// ExtentWriter is a Writer that wants to know where bytes lie. The WriteTo of a Blob tells it.
type ExtentWriter interface {
	io.Writer
	// WriteExtent is Write of bytes that lie at e, too. What was checked is p.
	WriteExtent(p []byte, e Extent) (int, error)
}

// WriteFrom writes p to w. If p lies at e, which may be nil, it tells an ExtentWriter.
func WriteFrom(w io.Writer, p []byte, e *Extent) (int, error) {
	if to, ok := w.(ExtentWriter); ok && e != nil {
		return to.WriteExtent(p, *e)
	}
	return w.Write(p)
}

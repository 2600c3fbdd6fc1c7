package store

import "io"

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

package export

import (
	"bytes"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// holeSize is the least hole that Sparse leaves, in bytes, and what its place is a multiple of. It is a block of nearly
// every file system, so that a file takes no more room than where it came from.
const holeSize = 4 << 10

// writeSparse writes p at the end of the file, all but blocks of zeros: what is not written of a new file reads as
// zeros. Of a block that comes in parts, those are left out that are zeros.
func (w *fileWriter) writeSparse(p []byte) (n int, err error) {
	for n < len(p) {
		at := w.written + uint64(n)
		run, zero := runOf(p[n:], at)
		if !zero {
			if err := w.writeAt(p[n:n+run], at); err != nil {
				return n, err
			}
		}
		w.hole = zero
		n += run
	}
	return n, nil
}

// runOf returns how many bytes p begins with that are blocks of zeros, or that are other blocks. at is the place of p in
// the file.
func runOf(p []byte, at uint64) (n int, zero bool) {
	var zeros [holeSize]byte
	for n < len(p) {
		block := p[n:min(len(p), n+holeSize-int((at+uint64(n))%holeSize))]
		is := bytes.Equal(block, zeros[:len(block)]) // as fast as memory is read
		if n > 0 && is != zero {
			break
		}
		zero = is
		n += len(block)
	}
	return n, zero
}

func (w *fileWriter) writeAt(p []byte, at uint64) error {
	for len(p) > 0 {
		n, err := posix.RetryValue(func() (int, error) { return unix.Pwrite(w.fd, p, int64(at)) })
		if err != nil {
			return err
		}
		p, at = p[n:], at+uint64(n)
	}
	return nil
}

// end gives a file that ends with a hole its length. Where the file system cannot, writing the last byte does.
func (w *fileWriter) end() error {
	if !w.hole {
		return nil
	}
	err := posix.Retry(func() error { return unix.Ftruncate(w.fd, int64(w.written)) })
	switch err {
	case unix.ENOTSUP, unix.EPERM, unix.EINVAL, unix.ENOSYS:
		err = w.writeAt([]byte{0}, w.written-1)
	}
	return err
}

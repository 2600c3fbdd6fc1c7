package export

import (
	"bytes"

	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// holeSize is the size of the smallest hole that Sparse leaves, in bytes. Holes start at multiples of it. It is the block
// size of nearly every file system, so a file takes no more room than the original.
const holeSize = 4 << 10

// writeSparse writes p at the end of the file, except for blocks of zeros: parts of a new file that are never written
// read as zeros. If a block comes in several parts, each part of zeros is left out.
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

// runOf returns how many bytes at the start of p are blocks of zeros, or are other blocks if the first block is not of
// zeros. at is the offset of p in the file.
func runOf(p []byte, at uint64) (n int, zero bool) {
	var zeros [holeSize]byte
	for n < len(p) {
		block := p[n:min(len(p), n+holeSize-int((at+uint64(n))%holeSize))]
		is := bytes.Equal(block, zeros[:len(block)]) // runs at the speed of memory
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

// end writes the tail, or sets the length of a file that ends with a hole. If the file system cannot do that, end writes the
// last byte.
func (w *fileWriter) end() error {
	if err := w.flush(); err != nil || !w.hole {
		return err
	}
	err := posix.Retry(func() error { return unix.Ftruncate(w.fd, int64(w.written)) })
	switch err {
	case unix.ENOTSUP, unix.EPERM, unix.EINVAL, unix.ENOSYS:
		err = w.writeAt([]byte{0}, w.written-1)
	}
	return err
}

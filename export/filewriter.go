package export

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"castar/store"
	"castar/store/posix"

	"golang.org/x/sys/unix"
)

// sizedWriter takes the contents of a file. It refuses more bytes than the file should have, and keeps the first error.
type sizedWriter struct {
	ctx     context.Context
	node    *store.Node
	to      io.Writer
	written uint64
	err     error
}

func (w *sizedWriter) Write(p []byte) (int, error) { return w.add(p, w.to.Write) }

// add takes p by a call of put.
func (w *sizedWriter) add(p []byte, put func(p []byte) (int, error)) (n int, err error) {
	if w.err == nil {
		w.err = w.ctx.Err()
	}
	if w.err == nil && uint64(len(p)) > w.node.Size-w.written {
		w.err = fmt.Errorf("size mismatch: blob %s is recorded with %d bytes and has more", w.node.Digest, w.node.Size)
	}
	if w.err != nil {
		return 0, w.err
	}
	n, w.err = put(p)
	w.written += uint64(n)
	return n, w.err
}

// fill writes a blob to a writer around w, and checks its digest and length.
func (w *sizedWriter) fill(around io.Writer, blob store.Blob) error {
	_, err := blob.WriteTo(around) // checks the digest
	switch {
	case w.err != nil:
		return w.err // without the context that the store added
	case err != nil:
		return store.About("blob", w.node.Digest, err)
	case w.written != w.node.Size:
		return sizeMismatch(w.node, w.written)
	}
	return nil
}

func sizeMismatch(n *store.Node, size uint64) error {
	return fmt.Errorf("size mismatch: blob %s is recorded with %d bytes and has %d", n.Digest, n.Size, size)
}

// fileWriter writes a blob to a file. The length that it has written includes the tail.
type fileWriter struct {
	sizedWriter
	fd      int
	done    *Progress
	links   *reflinks
	tail    []byte       // what follows the last clone, and is not in the file yet
	tailEnd store.Extent // where it ends in the store
	sparse  bool         // leave holes
	hole    bool         // the file ends with a hole
}

func (w *fileWriter) Write(p []byte) (int, error) { return w.count(w.add(p, w.put)) }

// count counts what was written of the contents of files.
func (w *fileWriter) count(n int, err error) (int, error) {
	w.done.Bytes.Add(uint64(n))
	return n, err
}

// put writes p at the end of the file.
func (w *fileWriter) put(p []byte) (int, error) {
	if err := w.flush(); err != nil {
		return 0, err
	}
	if w.sparse {
		return w.writeSparse(p)
	}
	if err := writeAt(w.fd, p, w.written); err != nil {
		return 0, err
	}
	return len(p), nil
}

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
			if err := writeAt(w.fd, p[n:n+run], at); err != nil {
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

// writeAt writes all of p to a file at an offset.
func writeAt(fd int, p []byte, at uint64) error {
	for len(p) > 0 {
		n, err := posix.RetryValue(func() (int, error) { return unix.Pwrite(fd, p, int64(at)) })
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
		err = writeAt(w.fd, []byte{0}, w.written-1)
	}
	return err
}

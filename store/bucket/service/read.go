package service

import (
	"bytes"
	"io"
)

// readMost returns what r has, or its first n bytes. It expects size bytes, and believes that of the first few MiB.
func readMost(r io.Reader, n, size int64) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(int(min(max(size, 0), n, 4<<20)) + bytes.MinRead)
	_, err := io.Copy(&b, io.LimitReader(r, n))
	return b.Bytes(), err
}

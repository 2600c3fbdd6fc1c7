package objects

import (
	"context"
	"io"
)

// reader reads an object from its beginning to its end, in ranges.
type reader struct {
	ctx    context.Context
	q      *queue
	name   string
	offset int64
	buf    []byte // bytes read and not yet returned
	ended  bool   // buf has the last bytes
	err    error  // of the Bucket
}

// rangeSize is the number of bytes that one call gets of a large object.
const rangeSize = 4 << 20

// newReader opens an object and gets its first range.
func (q *queue) newReader(ctx context.Context, name string) (*reader, error) {
	r := &reader{ctx: ctx, q: q, name: name}
	return r, r.fill()
}

func (r *reader) fill() error {
	if r.buf, r.err = r.q.get(r.ctx, r.name, r.offset, rangeSize); r.err != nil {
		return r.err
	}
	r.offset += int64(len(r.buf))
	r.ended = len(r.buf) < rangeSize
	return nil
}

func (r *reader) Read(p []byte) (int, error) {
	for len(r.buf) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf)
	r.buf = r.buf[n:]
	return n, nil
}

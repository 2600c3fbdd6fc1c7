package chunk

import "io"

// readSize is the least that a Splitter has room to read at once, in bytes.
const readSize = 1 << 20

// Splitter cuts what an io.Reader returns. It keeps one buffer, of 1 MiB or twice the longest chunk, and allocates
// nothing for a chunk. It is not for concurrent use.
type Splitter struct {
	cutter     *Cutter
	r          io.Reader
	err        error // of r, io.EOF included, once it has ended
	buf        []byte
	start, end int // of what was read and not yet returned
}

// NewSplitter returns a Splitter of r. The cut points do not depend on how r splits what it returns.
func NewSplitter(c *Cutter, r io.Reader) *Splitter {
	return &Splitter{cutter: c, r: r, buf: make([]byte, max(readSize, 2*c.params.Max))}
}

// Reset makes the Splitter begin anew with r, in the buffer that it has.
func (s *Splitter) Reset(r io.Reader) {
	s.r, s.err = r, nil
	s.start, s.end = 0, 0
}

// Next returns the next chunk, which stays valid until the next call, or io.EOF after the last one. An empty input has
// no chunks. Any other error is the reader's; what was read after the last chunk is lost then, for where it would have
// been cut is not known.
func (s *Splitter) Next() ([]byte, error) {
	if s.end-s.start < s.cutter.params.Max && s.err == nil {
		s.fill()
	}
	left := s.buf[s.start:s.end]
	if s.err != nil && (s.err != io.EOF && len(left) < s.cutter.params.Max || len(left) == 0) {
		return nil, s.err
	}
	n := s.cutter.Cut(left)
	s.start += n
	return left[:n:n], nil
}

// fill moves what is left to the front of the buffer and reads until that is full or the reader ends.
func (s *Splitter) fill() {
	s.end = copy(s.buf, s.buf[s.start:s.end])
	s.start = 0
	n, err := io.ReadFull(s.r, s.buf[s.end:])
	s.end += n
	if err == io.ErrUnexpectedEOF {
		err = io.EOF
	}
	s.err = err
}

package packed

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"castar/store"
)

const (
	// maxLine is the length of the longest record that is written or read, in bytes: memory must not follow what a file
	// claims. The longest path that a system call takes is 4096.
	maxLine = 1 << 20
	// maxBadRuns is how many runs of lines that cannot be read are told apart.
	maxBadRuns = 100
)

// logReader reads the log line by line.
type logReader struct {
	lines  *bufio.Reader
	where  string // its path
	number int    // of the line that was read last, from 1
	buf    []byte // that line

	// Lines that could not be read and were not reported yet:
	bad         int
	first, last int   // their numbers
	err         error // of the first
	runs        int   // that were reported
}

// next returns the next line that is not empty, until the one after it is read, or io.EOF after the last. The error is errLong if there is too much of it.
func (r *logReader) next() ([]byte, error) {
	for {
		line, err := r.line()
		if errors.Is(err, errLong) || len(bytes.TrimSpace(line)) > 0 {
			return line, err
		}
		if err != nil {
			return nil, err
		}
	}
}

// errLong says that a line is longer than maxLine.
var errLong = errors.New("line is too long")

// line returns the next line. An error of the file comes after the last line.
func (r *logReader) line() (line []byte, err error) {
	r.number++
	length := 0
	defer func() { r.buf = line[:0] }()
	line = r.buf
	for {
		part, err := r.lines.ReadSlice('\n')
		if length += len(part); length <= maxLine {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && err != io.EOF, err == io.EOF && length == 0:
			return line, err
		case length > maxLine:
			return line, fmt.Errorf("%w: %d bytes, want %d or fewer", errLong, length, maxLine)
		}
		return line, nil
	}
}

// spoiled takes in that the line that was read last is damaged.
func (r *logReader) spoiled(err error) {
	if r.bad == 0 {
		r.first, r.err = r.number, err
	}
	r.bad++
	r.last = r.number
}

// report returns what is to be said of the damaged lines before this one, or nil: a run of them is one error, and so are
// all after the first runs, once the log has ended. Millions of lines are not worth a line each.
func (r *logReader) report(ended bool) error {
	if r.bad == 0 || r.runs >= maxBadRuns && !ended {
		return nil
	}
	c := &store.CorruptError{Where: fmt.Sprintf("%s line %d", r.where, r.first), Err: r.err}
	if r.bad > 1 {
		c.Where = fmt.Sprintf("%s lines %d to %d", r.where, r.first, r.last)
		c.Err = fmt.Errorf("%d lines cannot be read, the first: %w", r.bad, r.err)
	}
	r.bad = 0
	r.runs++
	return c
}

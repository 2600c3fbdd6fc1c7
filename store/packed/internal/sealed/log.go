package sealed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"castar/store"
	"castar/store/record"
)

// maxBadRuns is how many runs of lines that cannot be read are told apart.
const maxBadRuns = 100

// LogReader reads the log line by line.
type LogReader struct {
	Lines  *bufio.Reader
	Where  string // its path
	number int    // of the line that was read last, from 1
	read   int64  // bytes, up to the end of that line
	buf    []byte // that line
}

// LogLine is a line of the log.
type LogLine struct {
	Tag  store.Tag
	Text []byte // without its newline; valid until the next one is read
}

// All yields the lines that can be read, and an error for each run of those that cannot. An error of the file is the last.
func (r *LogReader) All(ctx context.Context) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		var bad, newer badRun
		for ctx.Err() == nil {
			text, err := r.next()
			ended := err != nil && !errors.Is(err, errLong)
			l := LogLine{Text: bytes.TrimSuffix(text, []byte("\n"))}
			if err == nil {
				l.Tag, err = record.DecodeTag(record.OneLine, text)
			}
			if errors.Is(err, store.ErrNewer) {
				newer.add(r.number, err)
				continue
			} else if err != nil && !ended {
				bad.add(r.number, err)
				continue
			}
			for _, run := range []*badRun{&bad, &newer} {
				if err := run.report(r.Where, ended); err != nil && !yield(LogLine{}, err) {
					return
				}
			}
			if ended && err == io.EOF || !yield(l, err) || ended {
				return
			}
		}
	}
}

// next returns the next line that is not empty, valid until the one after it is read, or io.EOF after the last. The error is
// errLong if there is too much of it.
func (r *LogReader) next() ([]byte, error) {
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

// errLong says that a line is longer than record.Max.
var errLong = errors.New("line is too long")

// line returns the next line. An error of the file comes after the last line.
func (r *LogReader) line() (line []byte, err error) {
	line, length, err := readLine(r.Lines, r.buf[:0], record.Max)
	r.number++
	r.read += int64(length)
	r.buf = line
	switch {
	case err != nil && err != io.EOF, err == io.EOF && length == 0:
		return line, err
	case length > record.Max:
		return line, fmt.Errorf("%w: %d bytes, want at most %d", errLong, length, record.Max)
	}
	return line, nil
}

// badRun is lines that cannot be read, all damaged or all of a newer program, and were not reported yet.
type badRun struct {
	n           int
	first, last int   // their numbers
	err         error // of the first
	reported    int   // runs
}

func (b *badRun) add(number int, err error) {
	if b.n == 0 {
		b.first, b.err = number, err
	}
	b.n++
	b.last = number
}

// report returns what is to be said of the lines, or nil: a run of them is one error, and so are all after the first runs,
// once the log has ended. Millions of lines are not worth a line each.
func (b *badRun) report(where string, ended bool) error {
	if b.n == 0 || b.reported >= maxBadRuns && !ended {
		return nil
	}
	err := record.At(fmt.Sprintf("%s line %d", where, b.first), b.err)
	if b.n > 1 {
		err = record.At(fmt.Sprintf("%s lines %d to %d", where, b.first, b.last),
			fmt.Errorf("%d lines cannot be read, the first: %w", b.n, b.err))
	}
	b.n = 0
	b.reported++
	return err
}

// Range is a part of a file.
type Range struct{ From, To int64 }

// Forgotten returns where in a log the lines are that isGone reports, and the empty ones, in order. found says that there
// are some of the former.
func Forgotten(ctx context.Context, log io.Reader, isGone func(store.Tag) bool) (gone []Range, found bool, err error) {
	lines := &LogReader{Lines: bufio.NewReader(log)}
	for from := int64(0); ; from = lines.read {
		if err := ctx.Err(); err != nil {
			return nil, false, err
		}
		text, err := lines.line()
		if errors.Is(err, errLong) {
			continue
		}
		if err == io.EOF {
			return gone, found, nil
		}
		if err != nil {
			return nil, false, err
		}
		empty := string(text) == "\n"
		tag, err := record.DecodeTag(record.OneLine, text)
		switch last := len(gone) - 1; {
		case !empty && (err != nil || !isGone(tag)):
			continue
		case last >= 0 && gone[last].To == from:
			gone[last].To = lines.read
		default:
			gone = append(gone, Range{from, lines.read})
		}
		found = found || !empty
	}
}

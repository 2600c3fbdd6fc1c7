// Package sealed keeps the small files of a packed store, whose lines have checksums of their own (store/record): the
// config, the lines of the log, and the quarantine, which says where damaged objects are.
package sealed

import (
	"bufio"
	"errors"
	"iter"

	"castar/store"
	"castar/store/durable"
	"castar/store/record"
)

// The files of a store, all below its folder; FORMAT.md says what is in them.
const (
	ConfigName  = "config"   // what the store is; its presence makes a folder a store
	LockName    = "lock"     // empty; flock: shared for using the store, exclusive for removing from it
	LogName     = "log"      // a line for each ingest
	GivenUpName = "given-up" // lines that were removed from the log, and tags, since the last gc
	TagsDir     = "tags"
)

// TagPath returns the path of a tag in its store.
func TagPath(tagName string) string { return TagsDir + "/" + store.Sum([]byte(tagName)).String() }

// mostLine is how many bytes a line of the quarantine has at most. One is for all items of a frame.
const mostLine = 128 << 20

// ReadSmall returns the contents of a small file: config, a tag, or what verify remembers. One that is longer than any is a *store.CorruptError.
func ReadSmall(fsys durable.FS, name string) ([]byte, error) {
	b, err := durable.ReadFile(fsys, name, record.Max)
	if errors.Is(err, durable.ErrTooLong) {
		if inner := errors.Unwrap(err); inner != nil {
			err = inner // it says where as well
		}
		err = &store.CorruptError{Where: fsys.Path(name), Err: err}
	}
	return b, err
}

// readLine appends the next line to the empty buf, with its newline, if it has one, and returns how long the line is. What
// it has beyond most bytes is passed over. The error is that of r, io.EOF with or without a last line.
func readLine(r *bufio.Reader, buf []byte, most int) (line []byte, length int, err error) {
	line = buf
	for {
		part, err := r.ReadSlice('\n')
		if length += len(part); length <= most {
			line = append(line, part...)
		}
		if err != bufio.ErrBufferFull {
			return line, length, err
		}
	}
}

// FirstNewer returns the first error that is store.ErrNewer, or nil.
func FirstNewer(errs iter.Seq[error]) error {
	for err := range errs {
		if errors.Is(err, store.ErrNewer) {
			return err
		}
	}
	return nil
}

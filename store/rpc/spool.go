package rpc

import (
	"bytes"
	"io"
	"os"

	"castar/store/posix"
)

// Some things must be seen whole before anything can be done with them: a blob that comes without chunks or a proof must
// be checked first, and one that is sent as one stream needs its digest first. They wait in a nameless file.

// spool keeps bytes in the order in which they are added: the last in memory, and those before them in a nameless file. It
// must be dropped in the end.
type spool struct {
	most   int // how many bytes of memory it takes, if nothing longer is added
	file   *os.File
	filed  int64 // the length of the file
	memory []byte
}

// size returns how many bytes the spool has.
func (s *spool) size() int64 { return s.filed + int64(len(s.memory)) }

// add adds all of b, or nothing if it fails.
func (s *spool) add(b []byte) (err error) {
	if len(s.memory) > 0 && len(s.memory)+len(b) > s.most {
		if s.file == nil {
			if s.file, err = posix.Nameless(""); err != nil {
				return err
			}
		}
		if _, err := s.file.WriteAt(s.memory, s.filed); err != nil {
			return err
		}
		s.filed = s.size()
		s.memory = make([]byte, 0, max(cap(s.memory), len(b))) // another, because at may have returned a part of this
	}
	s.memory = append(s.memory, b...)
	return nil
}

// at returns n bytes that were added at once, and begin at an offset. The caller must not change them.
func (s *spool) at(offset int64, n int) ([]byte, error) {
	if from := offset - s.filed; from >= 0 {
		return s.memory[from : from+int64(n) : from+int64(n)], nil
	}
	b := make([]byte, n)
	_, err := s.file.ReadAt(b, offset)
	return b, err
}

// reader returns a reader of all that was added so far.
func (s *spool) reader() io.Reader {
	if s.file == nil {
		return bytes.NewReader(s.memory)
	}
	return io.MultiReader(io.NewSectionReader(s.file, 0, s.filed), bytes.NewReader(s.memory))
}

// drop forgets everything.
func (s *spool) drop() (err error) {
	if s.file != nil {
		err = s.file.Close()
	}
	*s = spool{most: s.most}
	return err
}

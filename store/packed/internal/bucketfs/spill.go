package bucketfs

import "castar/store/durable"

// mostSpilled is how many blocks are kept in a file.
const mostSpilled = 256 << 20 / blockLen

// spill has blocks for which there was no room in memory, the latest of them, in a file on this machine without a name: an
// export comes back to some. Without the file, which cannot be made everywhere, it keeps nothing.
type spill struct {
	file   durable.File // nil until it is needed
	failed bool
	places map[part]place
	parts  []part // by place
	next   int    // the place that is overwritten next, once all are in use
}

// place is where a block lies in the file.
type place struct {
	n      int // in blocks
	length int // in bytes
}

func (s *spill) has(at part) bool {
	_, ok := s.places[at]
	return ok
}

// add keeps a block, unless it is there. create makes the file.
func (s *spill) add(at part, data []byte, create func() (durable.File, error)) {
	if s.failed || s.has(at) || len(data) == 0 {
		return
	}
	if s.file == nil {
		file, err := create()
		if err != nil {
			s.failed = true
			return
		}
		s.file, s.places = file, map[part]place{}
	}
	n := len(s.parts)
	if n < mostSpilled {
		s.parts = append(s.parts, at)
	} else {
		n = s.next
		s.next = (n + 1) % mostSpilled
		delete(s.places, s.parts[n])
		s.parts[n] = at
	}
	if _, err := s.file.WriteAt(data, int64(n)*blockLen); err != nil {
		s.failed = true // what is there stays
		return
	}
	s.places[at] = place{n, len(data)}
}

// get returns a block that add has kept, or nil.
func (s *spill) get(at part) []byte {
	there, ok := s.places[at]
	if !ok {
		return nil
	}
	b := make([]byte, there.length)
	if n, _ := s.file.ReadAt(b, int64(there.n)*blockLen); n < len(b) {
		delete(s.places, at)
		return nil
	}
	return b
}

func (s *spill) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}

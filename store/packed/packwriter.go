package packed

import (
	"bytes"
	"fmt"
	"math"
	"sync"

	"castar/store/durable"
	"castar/store/zstd"
)

// packWriter appends frames to one pack, which stays in tmp/ until it is committed. Its methods may be called
// concurrently.
type packWriter struct {
	id   packID
	file durable.File

	mu   sync.Mutex
	size int64
}

// reserve returns the offset of a new frame of that many bytes.
func (w *packWriter) reserve(length int64) (offset int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	offset = w.size
	w.size += length
	return offset
}

// newPack begins a pack in tmp/ and lets readers find it.
func (st *Store) newPack(r role) (*packWriter, error) {
	var id packID
	if err := id.random(); err != nil {
		return nil, err
	}
	f, err := st.fs.Create(tmpPath(id.String()))
	if err != nil {
		return nil, err
	}
	head := appendPackHead(nil, r)
	if _, err := f.WriteAt(head, 0); err != nil {
		f.Close()
		st.fs.Remove(tmpPath(id.String()))
		return nil, err
	}
	st.packs.pin(id, f)
	return &packWriter{id: id, file: f, size: int64(len(head))}, nil
}

// pack returns the pack of s that takes the next frame of a role.
func (s *session) pack(r role) (*packWriter, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.packs[r]
	if w != nil {
		w.mu.Lock()
		size := w.size
		w.mu.Unlock()
		if size < s.st.limits.pack {
			return w, nil
		}
		s.full = append(s.full, w)
		s.packs[r] = nil
	}
	w, err := s.st.newPack(r)
	if err == nil {
		s.packs[r] = w
	}
	return w, err
}

// write compresses a group and appends it to a pack. A group that add returned must be given to write, once. An error
// ends all writing to the store: objects that refer to the group may already be there.
func (s *session) write(g *group) error {
	f, err := s.appendFrame(g)
	if err != nil {
		err = s.st.fail(err)
		if !g.pooled {
			s.mu.Lock()
			g.raw = bytes.Clone(g.raw) // the caller's, who may change it now
			s.mu.Unlock()
		}
		s.writing.Done()
		return err
	}
	s.written(g, f)
	return nil
}

func (s *session) appendFrame(g *group) (f frameRef, err error) {
	if uint64(len(g.raw)) > math.MaxUint32 {
		return f, fmt.Errorf("object of %d bytes is too large for a frame", len(g.raw))
	}
	w, err := s.pack(g.kind.role())
	if err != nil {
		return f, err
	}
	head := frameHeadLen + len(g.items)*itemLen
	buf := s.st.buffer(head + len(g.raw) + len(g.raw)/128 + 1<<10) // more than zstd ever makes of it
	defer func() { s.st.release(buf) }()
	// The payload is put behind room for the head, so that one write does for both.
	buf = append(buf, make([]byte, head)...)
	if g.encoded != nil {
		buf = append(buf, g.encoded...)
	} else if buf, err = s.st.encoder.Append(buf, g.raw); err != nil {
		return f, err
	}
	h := frameHead{kind: g.kind, codec: codecZstd, raw: uint32(len(g.raw)), items: g.items}
	payload := buf[head:]
	if !zstd.Worthwhile(len(payload), len(g.raw)) {
		h.codec, payload = codecRaw, g.raw
	}
	h.start, h.stored, h.payloadSum = uint32(head), uint32(len(payload)), checksum(payload)
	offset := w.reserve(int64(head + len(payload)))
	if h.codec == codecZstd {
		appendFrameHead(buf[:0], &h)
		_, err = w.file.WriteAt(buf, offset)
	} else {
		_, err = w.file.WriteAt(appendFrameHead(nil, &h), offset)
		if err == nil {
			_, err = w.file.WriteAt(payload, offset+int64(head))
		}
	}
	return frameRef{w.id, offset, h.start, h.stored, h.raw, h.kind, h.codec}, err
}

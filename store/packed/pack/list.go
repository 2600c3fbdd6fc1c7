package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"castar/store"
)

// A chunk list is the digests and sizes of a blob's chunks, in order: list = { digest:[32] size:u32 }.

// AppendList appends the chunk list of chunks to b. Each chunk must be under 4 GiB.
func AppendList(b []byte, chunks []store.Chunk) []byte {
	for i := range chunks {
		b = append(b, chunks[i].Digest[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(chunks[i].Size))
	}
	return b
}

// CheckListSize reports why a chunk list is not n bytes long. It has at least two chunks: a blob of one is stored whole.
func CheckListSize(n int64) error {
	if n%ItemLen != 0 || n < 2*ItemLen || n > MaxList {
		return fmt.Errorf("chunk list of %d bytes", n)
	}
	return nil
}

// parseChunk reads the first chunk of a piece of a list.
func parseChunk(b []byte) (store.Chunk, error) {
	size := binary.LittleEndian.Uint32(b[store.DigestSize:])
	if size == 0 {
		return store.Chunk{}, errors.New("chunk list names an empty chunk")
	}
	return store.Chunk{Digest: store.Digest(b[:store.DigestSize]), Size: uint64(size)}, nil
}

// checkList reports what is wrong with a chunk list, as far as it tells by itself.
func checkList(b []byte) error {
	err := CheckListSize(int64(len(b)))
	for ; err == nil && len(b) > 0; b = b[ItemLen:] {
		_, err = parseChunk(b)
	}
	return err
}

// Chunks yields the chunks of the list at l or, if it is not written yet, in data. A long list is read piece by piece. An
// error is the last that is yielded, and a *store.CorruptError if the list is damaged.
func (p *Files) Chunks(l Location, data []byte) iter.Seq2[store.Chunk, error] {
	return func(yield func(store.Chunk, error) bool) {
		err := CheckListSize(int64(l.Size))
		switch {
		case err == nil && data == nil && l.Large() && l.Offset > MaxContents:
			err = p.Corrupt(l.Frame, ErrOutside)
		case err != nil:
			err = p.Corrupt(l.Frame, err)
		case data != nil:
			_, err = p.yieldChunks(l, data, yield)
		case l.Size <= MaxContents:
			err = p.Use(l, func(data []byte) error {
				_, err := p.yieldChunks(l, data, yield)
				return err
			})
		default:
			err = p.streamChunks(l, yield)
		}
		if err != nil {
			yield(store.Chunk{}, err)
		}
	}
}

// yieldChunks yields the chunks in a part of a list, and reports whether more are wanted.
func (p *Files) yieldChunks(l Location, part []byte, yield func(store.Chunk, error) bool) (more bool, err error) {
	for ; len(part) > 0; part = part[ItemLen:] {
		c, err := parseChunk(part)
		if err != nil {
			return false, p.Corrupt(l.Frame, err)
		}
		if !yield(c, nil) {
			return false, nil
		}
	}
	return true, nil
}

// streamChunks yields the chunks of a list that is too long for memory.
func (p *Files) streamChunks(l Location, yield func(store.Chunk, error) bool) error {
	s, err := p.stream(l.Frame)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := s.skip(int64(l.Offset)); err != nil {
		return err
	}
	part := make([]byte, 16<<10*ItemLen)
	for left := int64(l.Size); left > 0; left -= int64(len(part)) {
		part = part[:min(left, int64(len(part)))]
		if err := s.fill(part); err != nil {
			return err
		}
		if more, err := p.yieldChunks(l, part, yield); !more || err != nil {
			return err
		}
	}
	return nil
}

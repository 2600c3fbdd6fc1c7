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

// checkChunks reports what is wrong with a piece of a chunk list, as far as it tells by itself.
func checkChunks(b []byte) (err error) {
	for ; err == nil && len(b) > 0; b = b[ItemLen:] {
		_, err = parseChunk(b)
	}
	return err
}

// errStop ends the reading of a list when no more of it is wanted.
var errStop = errors.New("chunk list: no more is needed")

// Chunks yields the chunks of the list at l or, if it is not written yet, in data. A long list is read piece by piece. An
// error is the last that is yielded, and a *store.CorruptError if the list is damaged.
func (p *Files) Chunks(l Location, data []byte) iter.Seq2[store.Chunk, error] {
	return func(yield func(store.Chunk, error) bool) {
		yieldPart := func(part []byte) error {
			for ; len(part) > 0; part = part[ItemLen:] {
				c, err := parseChunk(part)
				if err != nil {
					return p.Corrupt(l.Frame, err)
				}
				if !yield(c, nil) {
					return errStop
				}
			}
			return nil
		}
		err := CheckListSize(int64(l.Size))
		switch {
		case err != nil:
			err = p.Corrupt(l.Frame, err)
		case data != nil:
			err = yieldPart(data)
		case l.Large() && l.Offset > MaxContents:
			err = p.Corrupt(l.Frame, ErrOutside)
		case l.Size <= MaxContents:
			err = p.Use(l, yieldPart)
		default: // too long for memory
			err = p.streamPieces(l, yieldPart)
		}
		if err != nil && err != errStop {
			yield(store.Chunk{}, err)
		}
	}
}

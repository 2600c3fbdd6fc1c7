package packed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"castar/store"
)

// list takes in the chunk lists of a frame that make up their blobs. A list is named by the digest of what it lists, and
// nothing but all of that can prove it.
func (s *salvage) list(ctx context.Context, f frameRef) error {
	h, err := s.st.headOf(f)
	if err != nil {
		return err
	}
	good := make([]bool, len(h.items))
	offset := uint32(0)
	for i, it := range h.items {
		err := s.makesUp(ctx, location{f, offset, it.size}, it.digest)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			good[i] = true
		case err != errLostChunk && !errors.Is(err, syscall.EIO):
			if !store.IsCorrupt(err) {
				return err
			}
			s.damage(f, fmt.Errorf("%s: %w", it.digest, reasonOf(err)))
		}
		offset += it.size
	}
	return s.add(f, h.items, good)
}

// makesUp reports why the chunk list at l does not lead to the blob d: errLostChunk where a chunk was not found, and
// otherwise a *store.CorruptError if it is damage.
func (s *salvage) makesUp(ctx context.Context, l location, d store.Digest) error {
	for c, err := range s.st.eachChunk(l, nil) { // before any is read
		if err != nil {
			return err
		}
		if _, ok := s.chunk(c); !ok {
			return errLostChunk
		}
	}
	load := func(c store.Chunk, buf []byte) ([]byte, *cachedFrame, error) {
		at, _ := s.chunk(c)
		return s.st.view(at, buf)
	}
	sum, _, err := s.st.joinChunks(ctx, s.st.eachChunk(l, nil), load, io.Discard)
	if err == nil && sum != d {
		err = &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return err
}

// chunk returns where a chunk was found.
func (s *salvage) chunk(c store.Chunk) (l location, ok bool) {
	if l, ok = s.locate(c.Digest); !ok && s.rescued != nil {
		l, ok = s.rescued(c.Digest)
	}
	return l, ok && l.frame.kind != kindList && uint64(l.size) == c.Size
}

package care

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"castar/store"
	"castar/store/packed/pack"
)

// listsOf takes in the chunk lists of a frame that make up their blobs. A list is named by the digest of what it lists,
// and nothing but all of that can prove it.
func (s *salvage) listsOf(ctx context.Context, f pack.Frame) error {
	h, _, err := s.st.Packs.LoadHead(f)
	if err != nil {
		return err
	}
	good := make([]bool, len(h.Items))
	for n, l := range h.Locations(f) {
		d := h.Items[n].Digest
		err := s.makesUp(ctx, l, d)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			good[n] = true
		case err != errLostChunk && !errors.Is(err, syscall.EIO):
			if !store.IsCorrupt(err) {
				return err
			}
			s.damage(f, fmt.Errorf("%s: %w", d, reasonOf(err)))
		}
	}
	return s.add(f, &h, good)
}

// makesUp reports why the chunk list at l does not lead to the blob d: errLostChunk where a chunk was not found, and
// otherwise a *store.CorruptError if it is damage.
func (s *salvage) makesUp(ctx context.Context, l pack.Location, d store.Digest) error {
	for c, err := range s.st.Packs.Chunks(l, nil) { // before any is read
		if err != nil {
			return err
		}
		if _, ok := s.chunk(c); !ok {
			return errLostChunk
		}
	}
	load := func(c store.Chunk, buf []byte) ([]byte, *pack.Cached, error) {
		at, _ := s.chunk(c)
		return s.st.Packs.View(at, buf)
	}
	sum, _, err := s.st.JoinChunks(ctx, s.st.Packs.Chunks(l, nil), load, io.Discard)
	if err == nil && sum != d {
		err = &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return err
}

// chunk returns where a chunk was found.
func (s *salvage) chunk(c store.Chunk) (l pack.Location, ok bool) {
	if l, ok = s.objects.Find(pack.KindData, &c.Digest); !ok && s.rescued != nil {
		l, ok = s.rescued(c.Digest)
	}
	return l, ok && l.Frame.Kind != pack.KindList && uint64(l.Size) == c.Size
}

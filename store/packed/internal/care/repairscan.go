package care

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"syscall"

	"castar/store"
	"castar/store/chunk"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// salvage reads all packs from end to end and finds every object that is whole, whatever the indexes say. Frames describe
// themselves; where one does not, the next is looked for. What it finds goes to sorted runs in tmp/.
type salvage struct {
	st       Store
	progress *store.Progress

	objects *index.Builder // that are whole
	free    *sync.Pool     // of *pack.Loaded

	mu    sync.Mutex
	lists []pack.Frame // of chunk lists, which are believed only when their chunks are there
	packs map[pack.ID]*salvagedPack

	rescued func(store.Digest) (pack.Location, bool) // where chunks are that only an index leads to; may be nil
}

// salvagedPack is what was found out about a pack.
type salvagedPack struct {
	damage []error // of its first places
	places int     // that are damaged
	kept   bool    // the disk failed: it is not to be removed
	size   int64
}

func newSalvage(st Store, progress *store.Progress) *salvage {
	return &salvage{
		st: st, progress: progress, packs: make(map[pack.ID]*salvagedPack),
		objects: index.NewBuilder(st.Fs, st.Limits.Objects), free: newLoadedPool(),
	}
}

func (s *salvage) close() error { return s.objects.Close() }

// run reads the packs, several frames at once.
func (s *salvage) run(ctx context.Context, ids []pack.ID) error {
	for _, id := range ids {
		s.packs[id] = &salvagedPack{}
	}
	var scanned error
	frames := func(yield func(pack.Frame) bool) {
		for _, id := range ids {
			more := true
			s.packs[id].size, scanned = s.st.Packs.Scan(ctx, id, s.damage, func(f pack.Frame) bool { more = yield(f); return more })
			if scanned != nil || !more {
				return
			}
		}
	}
	if err := runParallel(ctx, cap(s.st.Slots), frames, s.frame); err != nil {
		return err
	}
	if scanned != nil {
		return scanned
	}
	return runParallel(ctx, cap(s.st.Slots), slices.Values(s.lists), func(f pack.Frame) error { return s.listsOf(ctx, f) })
}

func (s *salvage) damage(f pack.Frame, err error) {
	err = causeOf(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packs[f.Pack]
	p.places++
	if len(p.damage) < sealed.MaxPlaces {
		p.damage = append(p.damage, fmt.Errorf("offset %d: %w", f.Offset, err))
	}
	p.kept = p.kept || errors.Is(err, syscall.EIO)
}

// frame takes in what of a frame is whole. Chunk lists wait until all chunks are known.
func (s *salvage) frame(f pack.Frame) error {
	l := s.free.Get().(*pack.Loaded)
	defer s.free.Put(l)
	err := s.st.Packs.Check(f, l, func(int, pack.Location) bool { return f.Kind != pack.KindList })
	if store.IsCorrupt(err) {
		s.damage(f, err)
		return nil
	}
	if err != nil {
		return err
	}
	if !l.Padded {
		s.damage(f, pack.ErrPadding)
	}
	if l.Cut != nil {
		s.damage(f, l.Cut)
	} else if !l.Sound {
		s.damage(f, pack.ErrPayload)
	}
	if f.Kind == pack.KindList {
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.Sound {
			s.lists = append(s.lists, f)
		}
		return nil
	}
	good := make([]bool, len(l.Head.Items))
	for n, err := range l.Wrong {
		if good[n] = err == nil; err != nil && l.Cut == nil {
			s.damage(f, fmt.Errorf("%s: %w", l.Head.Items[n].Digest, err))
		}
	}
	return s.add(f, &l.Head, good)
}

// add records where the good ones of the items of a frame are.
func (s *salvage) add(f pack.Frame, h *pack.FrameHead, good []bool) error {
	if s.progress != nil {
		s.progress.Objects.Add(uint64(len(h.Items)))
		s.progress.Bytes.Add(uint64(f.Length()))
	}
	_, err := s.objects.Add(f, h, good)
	return err
}

// index returns all that was found as an index, whose file is gone once it is closed.
func (s *salvage) index(epoch uint32) (*index.Index, error) {
	var packs []pack.Length
	seen := make(map[pack.ID]bool)
	for _, f := range s.objects.Frames() {
		if !seen[f.Pack] {
			seen[f.Pack] = true
			packs = append(packs, pack.Length{ID: f.Pack, Bytes: s.packs[f.Pack].size})
		}
	}
	return s.objects.Temp(packs, epoch)
}

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
	load := func(_ context.Context, c store.Chunk) (p chunk.Piece, err error) {
		at, _ := s.chunk(c)
		v, err := s.st.Packs.View(at)
		return chunk.Piece{Data: v.Data, Release: v.Release}, err
	}
	sum, _, err := chunk.Join(ctx, s.st.Packs.Chunks(l, nil), s.st.Ahead(), load, io.Discard)
	if err == nil && sum != d {
		err = &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return err
}

func (s *salvage) chunk(c store.Chunk) (l pack.Location, ok bool) {
	if l, ok = s.objects.Find(pack.KindData, &c.Digest); !ok && s.rescued != nil {
		l, ok = s.rescued(c.Digest)
	}
	return l, ok && l.Frame.Kind != pack.KindList && uint64(l.Size) == c.Size
}

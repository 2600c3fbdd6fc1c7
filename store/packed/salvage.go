package packed

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"syscall"

	"castar/store"
	"castar/store/durable"
	"castar/store/table"
)

// salvage reads all packs from end to end and finds every object that is whole, whatever the indexes say. Frames describe
// themselves; where one does not, the next is looked for. What it finds goes to sorted runs in tmp/.
type salvage struct {
	st       *Store
	progress *store.RepairProgress

	mu     sync.Mutex
	frames []frameRef
	lists  []frameRef // of chunk lists, which are believed only when their chunks are there
	blobs  *table.Builder
	dirs   *table.Builder
	packs  map[packID]*salvagedPack

	rescued func(store.Digest) (location, bool) // where chunks are that only an index leads to; may be nil
}

// salvagedPack is what was found out about a pack.
type salvagedPack struct {
	damage []error // of its first places
	places int     // that are damaged
	kept   bool    // the disk failed: it is not to be removed
	size   int64
}

func newSalvage(st *Store, progress *store.RepairProgress) *salvage {
	s := &salvage{st: st, progress: progress, packs: make(map[packID]*salvagedPack)}
	create := func() (table.Spill, error) { return newSpill(st.fs) }
	s.blobs, _ = table.NewBuilder(indexShape, s.st.limits.objects, create) // the shape is valid
	s.dirs, _ = table.NewBuilder(indexShape, s.st.limits.objects, create)
	return s
}

func (s *salvage) close() error { return errors.Join(s.blobs.Close(), s.dirs.Close()) }

// run reads the packs, several frames at once.
func (s *salvage) run(ctx context.Context, ids []packID) error {
	for _, id := range ids {
		s.packs[id] = &salvagedPack{}
	}
	var scanned error
	frames := func(yield func(frameRef) bool) {
		for _, id := range ids {
			more := true
			scanned = s.scan(ctx, id, func(f frameRef) bool { more = yield(f); return more })
			if scanned != nil || !more {
				return
			}
		}
	}
	if err := runParallel(ctx, cap(s.st.slots), frames, s.frame); err != nil {
		return err
	}
	if scanned != nil {
		return scanned
	}
	return runParallel(ctx, cap(s.st.slots), slices.Values(s.lists), func(f frameRef) error { return s.list(ctx, f) })
}

// damage records a damaged place.
func (s *salvage) damage(f frameRef, err error) {
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		err = c.Err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.packs[f.pack]
	p.places++
	if len(p.damage) < maxPlaces {
		p.damage = append(p.damage, fmt.Errorf("offset %d: %w", f.offset, err))
	}
	p.kept = p.kept || errors.Is(err, syscall.EIO)
}

// maxPlaces is how many damaged places of a pack are told apart.
const maxPlaces = 10

// scan yields the frames of a pack. An error is not damage, but a reason to stop.
func (s *salvage) scan(ctx context.Context, id packID, yield func(frameRef) bool) error {
	p, err := s.st.packs.acquire(id)
	if err != nil {
		return s.st.unreadable(frameRef{pack: id}, err)
	}
	defer s.st.packs.release(p)
	size, err := p.file.Size()
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.packs[id].size = size
	s.mu.Unlock()
	role, err := s.packRole(id, p.file)
	if !s.isDamage(frameRef{pack: id}, err) && err != nil {
		return err
	}
	sound := err == nil
	for at := int64(packHeadLen); at < size; {
		h, err := s.st.readHead(p.file, id, at, size)
		f := h.ref(id, at)
		if err == nil && sound && h.kind.role() != role {
			err = s.st.corrupt(f, errors.New("frame of another role"))
		}
		if s.isDamage(frameRef{pack: id, offset: at}, err) {
			at, err = s.st.nextFrame(ctx, p.file, id, at+1, size)
			if err == nil {
				continue
			}
		}
		if err != nil {
			return err
		}
		if !yield(f) {
			return nil
		}
		at = f.end()
	}
	return nil
}

// isDamage reports whether an error is damage, and records it.
func (s *salvage) isDamage(f frameRef, err error) bool {
	ok := store.IsCorrupt(err)
	if ok {
		s.damage(f, err)
	}
	return ok
}

// packRole reads the head of a pack. Damage is a *store.CorruptError.
func (s *salvage) packRole(id packID, f durable.File) (r role, err error) {
	var head [packHeadLen]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return 0, s.st.unreadable(frameRef{pack: id}, err)
	}
	if r, err = parsePackHead(head[:]); err != nil {
		err = s.st.corrupt(frameRef{pack: id}, err)
	}
	return r, err
}

// readHead reads the head of the frame at an offset of a pack of that size. Damage is a *store.CorruptError.
func (st *Store) readHead(f durable.File, id packID, at, size int64) (h frameHead, err error) {
	where := frameRef{pack: id, offset: at}
	if at < packHeadLen || at >= size {
		return h, st.corrupt(where, errors.New("pack is cut short"))
	}
	need := min(64<<10, size-at)
	for {
		b := make([]byte, need)
		if _, err := f.ReadAt(b, at); err != nil {
			return h, st.unreadable(where, err)
		}
		var more int
		if h, more, err = parseFrameHead(b); err == nil {
			if end := h.ref(id, at).end(); end > size {
				err = st.corrupt(where, errors.New("pack is cut short"))
			}
			return h, err
		}
		if !errors.Is(err, errFrameTooShort) || int64(more) <= need || int64(more) > size-at {
			return h, st.corrupt(where, err)
		}
		need = int64(more)
	}
}

// nextFrame returns the first offset from at on where a frame begins, or size. What looks like one by chance does not have
// the right checksum.
func (st *Store) nextFrame(ctx context.Context, f durable.File, id packID, at, size int64) (int64, error) {
	const window = 1 << 20
	buf := make([]byte, max(min(window, size-at), 0))
	for ; at < size; at += window - int64(len(frameMagic)) + 1 {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b := buf[:min(window, size-at)]
		if _, err := f.ReadAt(b, at); errors.Is(err, syscall.EIO) {
			continue // what the disk cannot read is passed over
		} else if err != nil {
			return 0, err
		}
		for i := 0; ; i++ {
			j := bytes.Index(b[i:], []byte(frameMagic))
			if j < 0 {
				break
			}
			i += j
			_, err := st.readHead(f, id, at+int64(i), size)
			if !store.IsCorrupt(err) {
				return at + int64(i), err
			}
		}
	}
	return size, nil
}

// frame takes in what of a frame is whole.
func (s *salvage) frame(f frameRef) error {
	if f.streamed() {
		return s.largeFrame(f)
	}
	stored, h, raw, sound, err := s.st.loadFrame(f)
	defer s.st.release(stored)
	if store.IsCorrupt(err) {
		s.damage(f, err)
		return nil
	}
	if err != nil {
		return err
	}
	if _, err := checkFrameHead(f, stored[:f.start]); err != nil { // its padding: the rest was looked at
		s.damage(f, err)
	}
	if h.kind == kindList {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.lists = append(s.lists, f)
		return nil
	}
	if !sound {
		s.damage(f, errors.New("frame does not match its checksum"))
	}
	good := make([]bool, len(h.items))
	offset := uint32(0)
	for i, it := range h.items {
		land := s.st.weigh(it.size)
		err := wholeObject(h.kind, it.digest, raw[offset:][:it.size])
		land()
		if err != nil {
			s.damage(f, fmt.Errorf("%s: %w", it.digest, err))
		} else {
			good[i] = true
		}
		offset += it.size
	}
	return s.add(f, h.items, good)
}

// largeFrame takes in what is whole of a frame that is too large to be decoded as a whole.
func (s *salvage) largeFrame(f frameRef) error {
	r, err := s.st.checkLarge(f, func(item, int) bool { return true })
	if err == nil && r.err != nil {
		s.damage(f, r.err)
	} else if err == nil && !r.sound {
		s.damage(f, errPayload)
	}
	if store.IsCorrupt(err) {
		s.damage(f, err)
		return nil
	}
	if err != nil {
		return err
	}
	for i, it := range r.head.items {
		if !r.good[i] && r.err == nil && (r.sound || f.kind != kindList) {
			s.damage(f, fmt.Errorf("%s: %w", it.digest, store.ErrDigestMismatch))
		}
	}
	if f.kind != kindList {
		return s.add(f, r.head.items, r.good)
	}
	if r.sound {
		s.mu.Lock()
		s.lists = append(s.lists, f)
		s.mu.Unlock()
	}
	return nil
}

// add records where the good ones of the items of a frame are.
func (s *salvage) add(f frameRef, items []item, good []bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.progress != nil {
		s.progress.Objects.Add(uint64(len(items)))
		s.progress.Bytes.Add(uint64(f.end() - f.offset))
	}
	objects := s.blobs
	if f.kind == kindDirectory {
		objects = s.dirs
	}
	number, offset := uint32(len(s.frames)), uint32(0)
	s.frames = append(s.frames, f)
	le := binary.LittleEndian
	for i := range items {
		if good[i] {
			value := le.AppendUint32(make([]byte, 0, valueLen), number)
			value = le.AppendUint32(le.AppendUint32(value, offset), items[i].size)
			if err := objects.Add(items[i].digest[:], value); err != nil {
				return err
			}
		}
		offset += items[i].size
	}
	return nil
}

// objects returns how many were found.
func (s *salvage) objects() int64 {
	return int64(table.Count(s.blobs.Sources()...) + table.Count(s.dirs.Sources()...))
}

// index returns all that was found as an index, whose file is gone once it is closed.
func (s *salvage) index(epoch uint32) (x *index, err error) {
	var packs []packRef
	seen := make(map[packID]bool)
	for _, f := range s.frames {
		if !seen[f.pack] {
			seen[f.pack] = true
			packs = append(packs, packRef{f.pack, s.packs[f.pack].size})
		}
	}
	name := tmpPath(durable.TempName())
	f, err := s.st.fs.Create(name)
	if err != nil {
		return nil, err
	}
	defer s.st.fs.Remove(name)
	w := bufio.NewWriterSize(f, 64<<10)
	err = writeIndex(w, epoch, []indexPart{{
		packs: packs, frames: len(s.frames), frame: func(n int) (frameRef, bool) { return s.frames[n], true },
		blobs: s.blobs.Sources(), dirs: s.dirs.Sources(),
	}})
	var data []byte
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		data, err = f.Map()
	}
	if err == nil {
		x, err = parseIndex(data)
	}
	if cerr := f.Close(); err == nil { // the map stays
		err = cerr
	}
	if err != nil {
		return nil, errors.Join(err, f.Unmap(data))
	}
	x.file = f
	return x, nil
}

// packsIn returns the packs that are regular files.
func (st *Store) packsIn() (ids []packID, err error) {
	entries, err := st.fs.ReadDir(packsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if id, ok := parsePackName(e.Name()); ok && e.Type().IsRegular() {
			ids = append(ids, id)
		}
	}
	return ids, err
}

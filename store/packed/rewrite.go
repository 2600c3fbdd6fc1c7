package packed

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"castar/store"
	"castar/store/table"
)

// rewriter moves what is alive in some packs to new ones: frames of which all is alive as they are, and what is left of
// others in new frames. Everything is checked on the way. Where things are now is kept in sorted runs in tmp/, so that
// memory does not grow with the number of objects.
type rewriter struct {
	sweep   *sweep
	plan    *plan
	st      *Store
	session *session // whose packs are written; its maps stay empty

	mu      sync.Mutex
	frames  []frameRef
	blobs   *table.Builder
	dirs    *table.Builder
	open    [kindDirectory + 1]*group
	moved   int // objects of frames that are not damaged
	extra   int // objects that no frame of the plan has
	damaged map[packID]bool
}

func newRewriter(s *sweep, p *plan) *rewriter {
	w := &rewriter{sweep: s, plan: p, st: s.st, session: newSession(s.st), damaged: make(map[packID]bool)}
	spill := func() (table.Spill, error) { return newSpill(s.st.fs) }
	w.blobs, _ = table.NewBuilder(indexShape, w.st.limits.objects, spill) // the shape is valid
	w.dirs, _ = table.NewBuilder(indexShape, w.st.limits.objects, spill)
	return w
}

// close removes what is not part of the store, with the error of the round that ends. Where there was no room, also the
// new packs go, which no index can name: open files would take their room for as long as the sweep lasts.
func (w *rewriter) close(failed error) error {
	err := errors.Join(w.blobs.Close(), w.dirs.Close())
	for _, p := range w.session.packWriters() {
		w.st.fs.Remove(tmpPath(p.id.String())) // it is there only after an error, which is the one to report
		if isFull(failed) {
			w.st.packs.forget(p.id)
			w.st.fs.Remove(packPath(p.id))
		}
	}
	return err
}

// part returns what was moved, for a new index.
func (w *rewriter) part() indexPart {
	return indexPart{
		packs: w.session.packRefs(), frames: len(w.frames),
		frame: func(n int) (frameRef, bool) { return w.frames[n], true },
		blobs: w.blobs.Sources(), dirs: w.dirs.Sources(),
	}
}

// frameJob is a frame to be moved: number n of index i.
type frameJob struct{ i, n int }

// run moves all that the plan says, several frames at once.
func (w *rewriter) run(ctx context.Context) error {
	if err := w.takeRescued(w.sweep.rescued); err != nil {
		return err
	}
	if err := runParallel(ctx, cap(w.st.slots), w.jobs, w.move); err != nil {
		return err
	}
	for _, g := range w.open {
		if g == nil {
			continue
		}
		if err := w.write(g); err != nil {
			return err
		}
	}
	return nil
}

// jobs yields the frames to move.
func (w *rewriter) jobs(yield func(frameJob) bool) {
	for i, live := range w.plan.live {
		for n := range live {
			f, _ := w.plan.indexes[i].frame(n)
			pack := w.plan.packs[f.pack]
			if live[n] > 0 && pack != nil && pack.rewrite && !yield(frameJob{i, n}) {
				return
			}
		}
	}
}

// move moves what is alive in a frame. Damage is no error: what is damaged stays where it is.
func (w *rewriter) move(j frameJob) error {
	f, _ := w.plan.indexes[j.i].frame(j.n)
	if f.streamed() {
		return w.moveLarge(j, f)
	}
	stored, h, raw, sound, err := w.st.loadFrame(f)
	defer w.st.release(stored)
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		w.damage(f, c.Err)
		return nil
	}
	if err != nil {
		return err
	}
	var alive []int // numbers of items
	known := w.st.quarantine.Load()
	offset, bad, weight := uint32(0), error(nil), uint64(0)
	for n, it := range h.items {
		if w.alive(j, h.kind, it, offset) {
			weight += uint64(it.size) + itemLen
			if known.holds(&it.digest, location{f, offset, it.size}) {
				bad = errQuarantined // at this place: of a list that is whole, chunks may not be
			} else if err := checkItem(h.kind, it.digest, raw[offset:][:it.size]); err != nil {
				bad = fmt.Errorf("%s: %w", it.digest, err)
			} else {
				alive = append(alive, n)
			}
		}
		offset += it.size
	}
	if bad == nil && weight != w.plan.live[j.i][j.n] {
		bad = errLacks
	}
	if bad != nil {
		w.damage(f, bad)
	} else {
		w.mu.Lock()
		w.moved += len(alive)
		w.mu.Unlock()
	}
	if sound && len(alive) == len(h.items) {
		return w.copy(h, stored[f.start:])
	}
	return w.regroup(h, raw, alive)
}

// errLacks is what is wrong with a frame that does not have, by its head, what the index says.
var errLacks = errors.New("frame lacks objects that the index has in it")

// damage records that a frame stays.
func (w *rewriter) damage(f frameRef, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweep.report(f, err)
	w.damaged[f.pack] = true
}

// alive reports whether an item at an offset of a frame is what the index means, and to be kept.
func (w *rewriter) alive(j frameJob, k kind, it item, offset uint32) bool {
	t := w.plan.indexes[j.i].table(k)
	n, ok := t.Search(it.digest[:])
	if !ok {
		return false
	}
	frame, at, size := splitValue(t.Record(n)[store.DigestSize:])
	return int(frame) == j.n && at == offset && size == it.size && w.plan.alive(j.i, k, n)
}

// checkItem reports why data is not the object d. A chunk list is named by the digest of what it lists, and so it is only
// looked at; the checksum of its frame has been checked.
func checkItem(k kind, d store.Digest, data []byte) error {
	if k == kindList {
		return checkList(data)
	}
	if store.Sum(data) != d {
		return store.ErrDigestMismatch
	}
	return nil
}

// loadFrame reads a whole frame, head and payload, as it is stored, and decodes it. The head must be what f says; damage is
// a *store.CorruptError. sound says that the payload is what was written. Where it is not, what is in it may yet be whole,
// but for chunk lists, which nothing else vouches for. stored is to be released, also after an error; raw may be a part of
// it.
func (st *Store) loadFrame(f frameRef) (stored []byte, h frameHead, raw []byte, sound bool, err error) {
	p, err := st.packs.acquire(f.pack)
	if err != nil {
		return nil, h, nil, false, st.unreadable(f, err)
	}
	defer st.packs.release(p)
	if err := checkSizes(f, p.file); err != nil {
		return nil, h, nil, false, st.unreadable(f, err)
	}
	stored = resize(st.buffer(int(f.end()-f.offset)), int(f.end()-f.offset))
	if _, err = p.file.ReadAt(stored, f.offset); err != nil {
		return stored, h, nil, false, st.unreadable(f, err)
	}
	if h, _, err = parseFrameHead(stored); err == nil && h.ref(f.pack, f.offset) != f {
		err = errors.New("frame is not what the index says")
	}
	if err == nil {
		sound = checksum(stored[h.start:]) == h.payloadSum
		if !sound && h.kind == kindList {
			err = errors.New("frame does not match its checksum")
		}
	}
	if err == nil {
		raw, err = st.decodePayload(&h, stored[h.start:])
	}
	if err != nil {
		return stored, h, nil, false, st.corrupt(f, err)
	}
	return stored, h, raw, sound, nil
}

// ref returns where a frame is.
func (h *frameHead) ref(id packID, offset int64) frameRef {
	return frameRef{id, offset, h.start, h.stored, h.raw, h.kind, h.codec}
}

// decodePayload decodes the stored payload of a frame.
func (st *Store) decodePayload(h *frameHead, payload []byte) ([]byte, error) {
	if h.codec == codecRaw {
		return payload, nil
	}
	raw := make([]byte, h.raw)
	if err := st.decoder.Decode(raw, payload); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	return raw, nil
}

// copy appends a frame as it is stored.
func (w *rewriter) copy(h frameHead, payload []byte) error {
	f, err := w.session.copyFrame(h, payload)
	if err != nil {
		return w.sweep.fail(orFull(err))
	}
	return w.add(f, h.items)
}

// copyFrame appends a frame whose payload is encoded already.
func (s *session) copyFrame(h frameHead, payload []byte) (f frameRef, err error) {
	p, err := s.pack(h.kind.role())
	if err != nil {
		return f, err
	}
	h.start = uint32(frameHeadLen + len(h.items)*itemLen)
	offset := p.reserve(int64(h.start) + int64(len(payload)))
	_, err = p.file.WriteAt(append(appendFrameHead(nil, &h), payload...), offset)
	return h.ref(p.id, offset), err
}

// regroup puts items of a frame into others.
func (w *rewriter) regroup(h frameHead, raw []byte, items []int) error {
	offset, next := 0, 0
	for _, n := range items {
		for ; next < n; next++ {
			offset += int(h.items[next].size)
		}
		it := h.items[n]
		if g := w.append(h.kind, it, raw[offset:][:it.size]); g != nil {
			if err := w.write(g); err != nil {
				return err
			}
		}
	}
	return nil
}

// append adds an object to a group, which it returns when it is full.
func (w *rewriter) append(k kind, it item, data []byte) *group {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.open[k]
	if g == nil {
		g = &group{kind: k, raw: w.st.buffer(smallBuffer)}
		w.open[k] = g
	}
	g.items = append(g.items, it)
	g.raw = w.st.extend(g.raw, data)
	if len(g.raw) < groupLimit(k) {
		return nil
	}
	w.open[k] = nil
	return g
}

// write compresses a group into a new frame.
func (w *rewriter) write(g *group) error {
	f, err := w.session.appendFrame(g)
	if err != nil {
		return w.sweep.fail(orFull(err))
	}
	w.st.release(g.raw)
	return w.add(f, g.items)
}

// add records where the items of a new frame are.
func (w *rewriter) add(f frameRef, items []item) error {
	all := make([]int, len(items))
	for i := range all {
		all[i] = i
	}
	return w.addSome(f, items, all)
}

// addSome records where some items of a new frame are, whose numbers are in ascending order.
func (w *rewriter) addSome(f frameRef, items []item, some []int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweep.result.Rewritten += uint64(f.end() - f.offset)
	if p := w.sweep.o.Progress; p != nil {
		p.Objects.Add(uint64(len(some)))
		p.Bytes.Add(uint64(f.end() - f.offset))
	}
	objects := w.blobs
	if f.kind == kindDirectory {
		objects = w.dirs
	}
	number, offset, next := uint32(len(w.frames)), uint32(0), 0
	w.frames = append(w.frames, f)
	le := binary.LittleEndian
	for _, i := range some {
		for ; next < i; next++ {
			offset += items[next].size
		}
		value := le.AppendUint32(make([]byte, 0, valueLen), number)
		value = le.AppendUint32(le.AppendUint32(value, offset), items[i].size)
		if err := objects.Add(items[i].digest[:], value); err != nil {
			return w.sweep.fail(orFull(err))
		}
	}
	return nil
}

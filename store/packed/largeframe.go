package packed

import (
	"errors"
	"io"

	"castar/store"
)

// largeFrame is what was found out about a frame that is too large to be decoded as a whole.
type largeFrame struct {
	head  frameHead
	good  []bool // of each item that was asked for: it is whole
	sound bool   // the payload is what was written; where it is not, no chunk list is whole
	err   error  // why what follows the last good item is not known, or nil
}

// checkLarge reads a frame from end to end as a stream, and checks the items that wanted names, in order. Damage to the
// head is an error, a *store.CorruptError.
func (st *Store) checkLarge(f frameRef, wanted func(it item, offset int) bool) (r largeFrame, err error) {
	if r.head, err = st.headOf(f); err != nil {
		return r, err
	}
	s, err := st.stream(f)
	if err != nil {
		return r, err
	}
	defer s.Close()
	r.good = make([]bool, len(r.head.items))
	offset := 0
	for i, it := range r.head.items {
		if !wanted(it, offset) {
			r.err = s.skip(int64(it.size))
		} else {
			r.good[i], r.err = s.check(it, f.kind)
		}
		if r.err != nil {
			break
		}
		if f.kind == kindDirectory && r.good[i] {
			l := location{f, uint32(offset), it.size}
			r.good[i] = st.use(l, func(data []byte) error { return wholeObject(f.kind, it.digest, data) }) == nil
		}
		offset += int(it.size)
	}
	if r.err == nil {
		var sum uint32
		sum, r.err = s.end()
		r.sound = r.err == nil && sum == r.head.payloadSum
	}
	if r.err != nil && !store.IsCorrupt(r.err) {
		return r, r.err
	}
	if f.kind == kindList && !r.sound {
		clear(r.good)
	}
	return r, nil
}

// check reads an item and reports whether it is whole: of a directory whether it has its digest, of a chunk list whether
// it is one.
func (s *frameStream) check(it item, k kind) (good bool, err error) {
	var h store.Hasher
	good = k != kindList || checkListSize(int64(it.size)) == nil
	part := make([]byte, min(int64(it.size), 16<<10*itemLen))
	for left := int64(it.size); left > 0; left -= int64(len(part)) {
		part = part[:min(left, int64(len(part)))]
		if err := s.fill(part); err != nil {
			return false, err
		}
		if k != kindList {
			h.Write(part)
			continue
		}
		for b := part; good && len(b) > 0; b = b[itemLen:] {
			_, err := parseChunk(b)
			good = err == nil
		}
	}
	return good && (k == kindList || h.Sum() == it.digest), nil
}

// headOf reads the head of a frame, which must be what f says. Damage is a *store.CorruptError.
func (st *Store) headOf(f frameRef) (h frameHead, err error) {
	p, err := st.packs.acquire(f.pack)
	if err != nil {
		return h, st.unreadable(f, err)
	}
	defer st.packs.release(p)
	size, err := p.file.Size()
	if err != nil {
		return h, err
	}
	if h, err = st.readHead(p.file, f.pack, f.offset, size); err == nil && h.ref(f.pack, f.offset) != f {
		err = st.corrupt(f, errors.New("frame is not what the index says"))
	}
	return h, err
}

// listed reports why the head of a frame does not have the object d at l. Damage is a *store.CorruptError.
func (st *Store) listed(l location, d *store.Digest) error {
	h, err := st.headOf(l.frame)
	if err != nil {
		return err
	}
	offset := uint32(0)
	for _, it := range h.items {
		if it.digest == *d && it.size == l.size && offset == l.offset {
			return nil
		}
		offset += it.size
	}
	return st.corrupt(l.frame, errLacks)
}

// copyLarge appends a frame of which the payload is not to be in memory.
func (w *rewriter) copyLarge(f frameRef, h frameHead) (frameRef, error) {
	p, err := w.st.packs.acquire(f.pack)
	if err != nil {
		return f, err
	}
	defer w.st.packs.release(p)
	to, err := w.session.pack(h.kind.role())
	if err != nil {
		return f, w.st.fail(err)
	}
	h.start = uint32(frameHeadLen + len(h.items)*itemLen)
	offset := to.reserve(int64(h.start) + int64(h.stored))
	if _, err := to.file.WriteAt(appendFrameHead(nil, &h), offset); err != nil {
		return f, w.st.fail(err)
	}
	src := &payloadReader{file: p.file, at: f.offset + int64(f.start), end: f.end()}
	part := make([]byte, 1<<20)
	for at := offset + int64(h.start); ; {
		n, err := io.ReadFull(src, part)
		if err == io.EOF {
			break
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return f, w.st.fail(err)
		}
		if _, err := to.file.WriteAt(part[:n], at); err != nil {
			return f, w.st.fail(err)
		}
		at += int64(n)
	}
	if src.sum != h.payloadSum {
		return f, w.st.fail(errors.New("frame changed while it was copied"))
	}
	return h.ref(to.id, offset), nil
}

// moveLarge moves what is alive of a frame that is too large to be decoded as a whole: with a large object all of the
// frame, as it is stored, and otherwise the small ones.
func (w *rewriter) moveLarge(j frameJob, f frameRef) error {
	r, err := w.st.checkLarge(f, func(it item, offset int) bool { return w.alive(j, f.kind, it, uint32(offset)) })
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		w.damage(f, c.Err)
		return nil
	}
	if err != nil {
		return err
	}
	var items []int
	known, bad, weight := w.st.quarantine.Load(), error(nil), uint64(0)
	offset, large := uint32(0), false
	for n, it := range r.head.items {
		if w.alive(j, f.kind, it, offset) {
			weight += uint64(it.size) + itemLen
			items = append(items, n)
			large = large || it.size > maxContents
			switch {
			case known.holds(&it.digest, location{f, offset, it.size}):
				bad = errQuarantined
			case !r.good[n]:
				bad = store.ErrDigestMismatch
			}
		}
		offset += it.size
	}
	switch {
	case bad == nil && weight != w.plan.live[j.i][j.n]:
		bad = errLacks
	case bad == nil && !r.sound:
		bad = errPayload
	}
	if bad != nil {
		w.damage(f, bad)
		return nil
	}
	w.mu.Lock()
	w.moved += len(items)
	w.mu.Unlock()
	return w.takeLarge(f, r.head, items, large)
}

// takeLarge puts items of a frame, all of which is sound, into the new packs.
func (w *rewriter) takeLarge(f frameRef, h frameHead, items []int, whole bool) error {
	if whole {
		to, err := w.copyLarge(f, h)
		if err != nil {
			return err
		}
		return w.addSome(to, h.items, items)
	}
	offset, next := 0, 0
	for _, n := range items {
		for ; next < n; next++ {
			offset += int(h.items[next].size)
		}
		it := h.items[n]
		err := w.st.use(location{f, uint32(offset), it.size}, func(data []byte) error {
			if g := w.append(h.kind, it, data); g != nil {
				return w.write(g)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

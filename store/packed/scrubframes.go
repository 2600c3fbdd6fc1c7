package packed

import (
	"errors"
	"fmt"
	"sync"

	"castar/store"
)

// readFrames goes over the plan. Directories and chunk lists are always read to the end, and of file contents one frame
// at least, or runs that are short of time would never come to an end.
func (s *scrubber) readFrames() {
	meta, data := s.plan[:s.meta], s.plan[s.meta:]
	free := sync.Pool{New: func() any { return new(scrubFrame) }}
	s.each(len(meta), func() bool { return false }, func(i int) {
		w := free.Get().(*scrubFrame)
		s.readFrame(w, meta[i])
		free.Put(w)
	})
	a := s.newAssembler()
	begun := false
	enough := func() bool {
		late := begun && s.late()
		begun = true
		return late
	}
	done := s.each(len(data), enough, func(i int) {
		w := free.Get().(*scrubFrame)
		s.readFrame(w, data[i])
		free.Put(a.take(i, w))
	})
	if done < len(data) && s.ctx.Err() == nil {
		s.stopAt(s.frame(data[done]), false)
	}
}

// readFrame checks one frame and marks the records of what is whole in it. Why something is not is for judge to find out.
func (s *scrubber) readFrame(w *scrubFrame, at frameAt) {
	w.whole = w.whole[:0]
	f := s.frame(at)
	s.looked[at.index].set(int(at.n))
	s.progress.Bytes.Add(s.cost(f))
	if s.lost(f) {
		return
	}
	p, err := s.st.packs.acquire(f.pack)
	if err != nil {
		return
	}
	defer s.st.packs.release(p)
	if err := checkSizes(f, p.file); err != nil {
		if errors.Is(err, errImpossible) {
			s.oddFrame(f, err)
		}
		return
	}
	if f.streamed() {
		s.readLarge(f)
		return
	}
	w.stored = resize(w.stored, int(s.cost(f)))
	if _, err := p.file.ReadAt(w.stored, f.offset); err != nil {
		return
	}
	h, err := checkFrameHead(f, w.stored[:f.start])
	if err != nil {
		s.oddFrame(f, err)
		if err != errPadding {
			return
		}
	}
	if s.o.Structure && f.kind == kindData {
		s.markItems(f, h, func(n, offset int) bool { // what was damaged is read all the same
			return !s.known.holds(&h.items[n].digest, location{f, uint32(offset), h.items[n].size})
		})
		return
	}
	s.readPayload(w, f, h)
}

// readLarge checks a frame that is too large to be decoded as a whole.
func (s *scrubber) readLarge(f frameRef) {
	r, err := s.st.checkLarge(f, func(it item, offset int) bool {
		return len(s.recordsOf(f.kind, location{f, uint32(offset), it.size}, &it.digest)) > 0
	})
	if err != nil {
		if c, ok := errors.AsType[*store.CorruptError](err); ok {
			s.oddFrame(f, c.Err)
		}
		return
	}
	if !r.sound {
		s.oddFrame(f, errPayload)
	}
	s.markItems(f, r.head, func(n, _ int) bool { return r.good[n] })
}

// readPayload checks what is behind the head of a frame, which w holds.
func (s *scrubber) readPayload(w *scrubFrame, f frameRef, h frameHead) {
	payload := w.stored[f.start:]
	sound := checksum(payload) == h.payloadSum
	if !sound {
		s.oddFrame(f, errPayload)
		if f.kind == kindList {
			return // their contents have no digests: it takes the blobs to tell
		}
	}
	if f.codec == codecZstd {
		w.raw = resize(w.raw, int(f.raw))
		if err := s.st.decoder.Decode(w.raw, payload); err != nil {
			if sound {
				s.oddFrame(f, errors.New("payload does not decode to its size"))
			}
			return
		}
		payload = w.raw
	}
	s.markItems(f, h, func(n, offset int) bool {
		it := h.items[n]
		data := payload[offset:][:it.size]
		if f.kind == kindDirectory {
			defer s.st.weigh(it.size)()
		}
		if wholeObject(f.kind, it.digest, data) != nil {
			return false
		}
		w.whole = append(w.whole, wholeItem{it.digest, data})
		return true
	})
}

// checkFrameHead reads the head, items and padding of a frame and compares them with what the index says.
func checkFrameHead(f frameRef, b []byte) (h frameHead, err error) {
	h, _, err = parseFrameHead(b)
	switch {
	case err != nil:
		return h, err
	case h.kind != f.kind || h.codec != f.codec || h.start != f.start || h.stored != f.stored || h.raw != f.raw:
		return h, errors.New("frame is not the one that the index says")
	}
	for _, c := range b[frameHeadLen+len(h.items)*itemLen:] {
		if c != 0 {
			return h, errPadding
		}
	}
	return h, nil
}

// What may be wrong with a frame of which all objects that were asked for are whole.
var (
	errPadding = errors.New("padding is not zero")
	errPayload = errors.New("payload does not match its checksum")
)

// wholeObject reports what is wrong with the bytes of an object.
func wholeObject(k kind, d store.Digest, data []byte) (err error) {
	switch {
	case k == kindList:
		err = checkList(data)
	case store.Sum(data) != d:
		err = store.ErrDigestMismatch
	case k == kindDirectory:
		_, err = store.DecodeDirectory(data)
	}
	return err
}

// markItems marks the records that lead to those items of a frame that are whole.
func (s *scrubber) markItems(f frameRef, h frameHead, whole func(n, offset int) bool) {
	offset := 0
	for n, it := range h.items {
		records := s.recordsOf(f.kind, location{f, uint32(offset), it.size}, &it.digest)
		switch {
		case len(records) == 0:
		case whole(n, offset):
			s.markWhole(records)
		default:
			s.progress.Damaged.Add(1)
		}
		offset += int(it.size)
	}
}

// markWhole marks the records of one object.
func (s *scrubber) markWhole(records []recordAt) {
	isNew := false
	for _, at := range records {
		isNew = s.whole.add(at) && s.asked(at) || isNew
	}
	if isNew {
		s.progress.Objects.Add(1)
	}
}

// recordsOf returns the records of an object that lead to a place.
func (s *scrubber) recordsOf(k kind, l location, d *store.Digest) (records []recordAt) {
	for i, x := range s.indexes {
		n, ok := x.table(k).Search(d[:])
		if !ok {
			continue
		}
		if _, at, ok := x.record(k, n); ok && at == l {
			records = append(records, recordAt{i, k, n})
		}
	}
	return records
}

// oddFrame remembers damage in a frame, which may or may not be to its objects.
func (s *scrubber) oddFrame(f frameRef, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odd[f.key()] = err
}

// frameDamage is damage in a frame that is to none of its objects.
func (s *scrubber) frameDamage(key frameKey, err error) store.Damage {
	where := fmt.Sprintf("%s offset %d", s.st.fs.Path(packPath(key.pack)), key.offset)
	return store.Damage{What: store.WhatFrame, Where: where, Err: err}
}

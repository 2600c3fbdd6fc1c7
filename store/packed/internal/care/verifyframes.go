package care

import (
	"sync"

	"castar/store/packed/index"
	"castar/store/packed/pack"
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
	next, n := ahead{s: s, frames: data}, 0
	enough := func() bool { // of what was read before frame n
		if n > 0 && s.late() {
			return true
		}
		next.reading(n)
		n++
		return false
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
	s.looked[at.index].Add(int(at.n))
	s.progress.Bytes.Add(s.cost(f))
	if s.lost(f) {
		return
	}
	if s.o.Structure && f.Kind == pack.KindData {
		s.readHead(w, f)
	} else {
		s.readWhole(w, f)
	}
}

// readHead checks the head of a frame, and takes what is in it for whole, unless it was damaged before.
func (s *scrubber) readHead(w *scrubFrame, f pack.Frame) {
	var err error
	if w.Head, w.Padded, err = s.st.Packs.LoadHead(f); err != nil {
		s.contradicts(f, err)
		return
	}
	if !w.Padded {
		s.oddFrame(f, pack.ErrPadding)
	}
	for n, l := range w.Head.Locations(f) {
		d := &w.Head.Items[n].Digest
		if !s.known.Holds(d, l) { // otherwise it is read all the same
			s.markWhole(index.RecordsOf(s.indexes, f.Kind, l, d))
		}
	}
}

// readWhole checks all of a frame, which w holds from then on.
func (s *scrubber) readWhole(w *scrubFrame, f pack.Frame) {
	w.records = w.records[:0]
	err := s.st.Packs.Check(f, &w.Loaded, func(n int, l pack.Location) bool {
		w.records = append(w.records, index.RecordsOf(s.indexes, f.Kind, l, &w.Head.Items[n].Digest))
		return len(w.records[n]) > 0
	})
	if err != nil {
		s.contradicts(f, err) // of a chunk list in it, the blob would have to tell whether it is whole
		return
	}
	if !w.Padded {
		s.oddFrame(f, pack.ErrPadding)
	}
	if !w.Sound {
		s.oddFrame(f, pack.ErrPayload)
	}
	for n, l := range w.Head.Locations(f) {
		switch {
		case n >= len(w.records) || len(w.records[n]) == 0:
		case w.Wrong[n] != nil:
			s.progress.Damaged.Add(1)
		default:
			s.markWhole(w.records[n])
			if !f.Streamed() {
				w.whole = append(w.whole, wholeItem{w.Head.Items[n].Digest, w.Bytes(l)})
			}
		}
	}
}

// contradicts takes down damage in a frame that was read. What was not read now is read again by judge.
func (s *scrubber) contradicts(f pack.Frame, err error) {
	if err := pack.Contradicts(err); err != nil {
		s.oddFrame(f, err)
	}
}

func (s *scrubber) markWhole(records []index.At) {
	isNew := false
	for _, at := range records {
		isNew = s.whole.Add(at) && s.asked(at) || isNew
	}
	if isNew {
		s.progress.Objects.Add(1)
	}
}

// oddFrame remembers damage in a frame, which may or may not be to its objects.
func (s *scrubber) oddFrame(f pack.Frame, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odd[f.Key()] = err
}

// ahead makes a bucket send frames before they are read. The frames of the next pack are then on their way while those of the
// one before are read.
type ahead struct {
	s           *scrubber
	frames      []frameAt // in the order of reading
	next        int       // the first that was not asked for
	asked, read int64     // bytes
}

// reading says that frame i is read now. It is called for each frame once, in order.
func (a *ahead) reading(i int) {
	const most, atOnce = 16 << 20, 4 << 20 // bytes
	if a.s.st.Bucket == nil || a.s.o.Structure {
		return
	}
	for a.next < len(a.frames) && a.asked-a.read < most {
		first := a.s.frame(a.frames[a.next])
		end := first.End()
		for a.next++; a.next < len(a.frames) && end-first.Offset < atOnce; a.next++ {
			f := a.s.frame(a.frames[a.next])
			if f.Pack != first.Pack || f.Offset != end {
				break
			}
			end = f.End()
		}
		a.s.st.Bucket.Want(first.Pack.Path(), first.Offset, end)
		a.asked += end - first.Offset
	}
	a.read += a.s.frame(a.frames[i]).Length()
}

// early asks for the first frames that will be read, if these are known before the store's files are looked at.
func (s *scrubber) early() {
	if s.st.Bucket == nil || s.o.Structure || s.o.Parts > 0 || s.o.MaxDuration > 0 {
		return
	}
	if all, meta := s.frames(); meta < len(all) {
		a := ahead{s: s, frames: all[meta:]}
		a.reading(0)
	}
}

package care

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/pack"
)

// listAt is the record of a chunk list.
type listAt struct {
	at     index.At
	l      pack.Location
	digest store.Digest // of the blob
}

// checkLists looks for the chunks of every blob that has some, and puts the blob together. The lists come in the order
// in which they were written, and so do most of the chunks, so that frames that several share are decoded about once.
func (s *scrubber) checkLists() {
	var frames []pack.Frame
	for _, at := range s.plan[:s.meta] {
		if f := s.frame(at); f.Kind == pack.KindList {
			frames = append(frames, f)
		}
	}
	var assembled atomic.Int64
	inTime := s.result.Stopped == ""
	first := 0 // where to go on; that frame is done however late it is
	for first < len(frames) && s.from.Lists && !s.from.reached(frames[first]) {
		first++
	}
	stopped := len(frames) // where there was no more time
	s.each(len(frames), func() bool { return false }, func(i int) {
		s.mu.Lock()
		if i < stopped && (i > first || !s.from.Lists) && inTime && s.late() {
			stopped = i
		}
		whole := inTime && i < stopped && i >= first
		s.mu.Unlock()
		lists, err := s.listsIn(frames[i])
		if err != nil { // but it was read a moment ago
			s.oddFrame(frames[i], causeOf(err))
		}
		for _, list := range lists {
			assembled.Add(s.checkList(list, whole))
		}
	})
	for _, list := range s.chunkLists {
		assembled.Add(s.checkList(list, inTime && stopped == len(frames)))
	}
	s.result.Assembled = uint64(assembled.Load())
	if stopped < len(frames) {
		s.stopAt(frames[stopped], true)
	}
	s.st.Quarantine.Store(s.quarantine())
}

// listsIn returns the chunk lists of a frame that were found whole when it was read. The error is why that cannot be
// told. Damage is not an error, because then there are no lists.
func (s *scrubber) listsIn(f pack.Frame) (lists []listAt, err error) {
	if s.lost(f) {
		return nil, nil
	}
	h, _, err := s.st.Packs.LoadHead(f)
	if err != nil {
		if pack.Contradicts(err) != nil {
			err = nil
		}
		return nil, err
	}
	for n, l := range h.Locations(f) {
		for _, at := range index.RecordsOf(s.indexes, f.Kind, l, &h.Items[n].Digest) {
			if s.whole.Has(at) && s.asked(at) {
				lists = append(lists, listAt{at, l, h.Items[n].Digest})
				break // any other leads to the same place
			}
		}
	}
	return lists, nil
}

// checkList looks for the chunks of a blob. If whole is set and it is the turn of this blob, checkList also assembles
// it. It always assembles a blob in the quarantine, because only a blob that was found whole may leave it. It returns
// how many were assembled.
func (s *scrubber) checkList(list listAt, whole bool) int64 {
	if s.known.IsSwept(&list.digest, list.l) {
		return 0
	}
	turn := whole && !s.o.Structure && s.inPart(list.digest[:], 0) || s.known.Holds(&list.digest, list.l)
	if !s.checkChunks(list) || !turn {
		return 0
	}
	if s.assembled.Has(list.at) {
		return 1
	}
	n, err := s.st.WriteChunks(s.ctx, list.digest, s.st.Packs.Chunks(list.l, nil), io.Discard)
	s.progress.Bytes.Add(uint64(n))
	s.progress.Total.Add(uint64(n))
	if err != nil && s.ctx.Err() == nil {
		s.isBad(badObject{at: list.at, l: list.l, digest: list.digest, what: store.DamageAssembly, err: err})
	}
	return 1
}

// errLostChunk is what is wrong with a blob that has a damaged or missing chunk.
var errLostChunk = errors.New("a chunk of it is lost")

// checkChunks reports whether all chunks of a blob are there, and of the right size.
func (s *scrubber) checkChunks(list listAt) (ok bool) {
	b := badObject{at: list.at, l: list.l, digest: list.digest}
	for c, err := range s.st.Packs.Chunks(list.l, nil) {
		if err != nil { // but it was whole a moment ago
			b.what, b.err = store.DamageObject, err
			s.isBad(b)
			return false
		}
		l, found, damaged := s.elsewhere(pack.KindData, &c.Digest)
		switch {
		case !found:
			s.lostChunk(b, c.Digest, damaged)
			return false
		case l.Frame.Kind != pack.KindData:
			b.what, b.err = store.DamageMissing, fmt.Errorf("chunk %s is a list of chunks", c.Digest)
		case uint64(l.Size) != c.Size:
			b.what, b.err = store.DamageSize, fmt.Errorf("chunk %s has %d bytes, want %d", c.Digest, l.Size, c.Size)
		}
		if b.err != nil {
			b.err = &store.CorruptError{Err: b.err}
			s.isBad(b)
			return false
		}
	}
	return true
}

// lostChunk takes down that a blob is lost with a chunk. The blob is put into the quarantine too, as otherwise nobody
// would store it, and with it the chunk, again. A chunk that is not there at all may never have been: where the list is in
// a damaged frame, or was found by a damaged index, it is to blame.
func (s *scrubber) lostChunk(b badObject, chunk store.Digest, damaged bool) {
	if cause := s.doubt(b); cause != nil && !damaged {
		b.what, b.err = store.DamageObject, &store.CorruptError{Err: fmt.Errorf("chunk list is wrong: %w", cause)}
		s.isBad(b)
		return
	}
	b.quiet, b.err = true, &store.CorruptError{Err: errLostChunk}
	if _, known := s.st.Quarantine.Load().Find(s.indexes, pack.KindData, &chunk); damaged && !known {
		b.err = errLostChunk // it could only not be read
	}
	s.isBad(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.also[chunk] = append(s.also[chunk], b.digest)
	if _, ok := s.missing[chunk]; !damaged && !ok {
		s.missing[chunk] = s.st.Fs.Path(b.l.String())
	}
}

// doubt returns why a chunk list that looks well may not be, or nil.
func (s *scrubber) doubt(b badObject) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.odd[b.l.Frame.Key()]; err != nil {
		return err
	}
	return s.damaged[s.indexes[b.at.Index]]
}

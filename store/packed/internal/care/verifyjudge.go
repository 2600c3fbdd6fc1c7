package care

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// judge looks at every record that should have been marked and was not, as a reader would. What is known from earlier
// to be damaged, and was not looked at now, still is.
func (s *scrubber) judge() {
	suspects, rest := s.unmarked()
	slices.SortFunc(suspects, func(a, b badObject) int { return compareLocations(a.l, b.l) })
	tried := pack.Attempts{}
	for _, b := range suspects {
		if s.ctx.Err() != nil {
			return
		}
		if b.err = s.st.Packs.Corrupt(b.l.Frame, pack.ErrOutside); !tried.Enough(b.l) {
			b.err = s.examine(b)
		}
		if b.err != nil {
			s.isBad(b)
			continue
		}
		s.checkHead(b)
		s.whole.Add(b.at)
		s.progress.Objects.Add(1)
		if readAs(b.at.Kind, b.l) == pack.KindList {
			s.chunkLists = append(s.chunkLists, listAt{b.at, b.l, b.digest})
		}
	}
	for _, b := range rest {
		b.err = &store.CorruptError{Err: sealed.ErrQuarantined}
		s.isBad(b)
	}
	s.st.Quarantine.Store(s.quarantine())
}

// unmarked returns the records that were to be looked at and are not marked, and those that were not to be looked at and
// are in the quarantine.
func (s *scrubber) unmarked() (suspects, rest []badObject) {
	sweeping := s.known != nil && s.known.Swept != nil
	for at := range index.Records(s.indexes) {
		asked, whole := s.asked(at), s.whole.Has(at)
		if whole && asked && !sweeping {
			continue
		}
		x := s.indexes[at.Index]
		frame, l, ok := x.Record(at.Kind, at.N)
		b := badObject{at: at, l: l, digest: *x.Digest(at.Kind, at.N), what: store.DamageObject}
		switch {
		case sweeping && ok && s.known.IsSwept(&b.digest, l):
			s.bad.Add(at) // nobody has it any more
		case whole && asked:
		case !ok: // the index is damaged, which is reported
		case whole && readAs(at.Kind, l) != pack.KindList: // a chunk list is not whole by itself
		case asked && s.looked[at.Index].Has(frame):
			suspects = append(suspects, b)
		case s.known.Holds(&b.digest, l):
			b.quiet = !asked
			rest = append(rest, b)
		}
	}
	return suspects, rest
}

// examine reads one object and returns what is wrong with it.
func (s *scrubber) examine(b badObject) error {
	if p := s.packs[b.l.Frame.Pack]; p != nil && p.lost != nil {
		return p.lost
	}
	k := readAs(b.at.Kind, b.l)
	if k == pack.KindList {
		for _, err := range s.st.Packs.Chunks(b.l, nil) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	return s.st.Packs.Use(b.l, func(data []byte) error {
		if err := pack.CheckDecoded(k, b.digest, data); err != nil {
			return &store.CorruptError{Err: err}
		}
		return nil
	})
}

// readAs is what a record of a table of kind k leads to, whatever else the frame may say that it is.
func readAs(k pack.Kind, l pack.Location) pack.Kind {
	if k != pack.KindDirectory && l.Frame.Kind == pack.KindList {
		return pack.KindList
	}
	return k
}

// checkHead takes down why the frame of an object that is whole, where the index says, does not say so itself: without the
// index it would be lost.
func (s *scrubber) checkHead(b badObject) {
	if c, ok := errors.AsType[*store.CorruptError](s.st.Packs.Listed(b.l, &b.digest)); ok {
		s.oddFrame(b.l.Frame, c.Err)
	}
}

func (s *scrubber) isBad(b badObject) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range index.RecordsOf(s.indexes, b.at.Kind, b.l, &b.digest) {
		s.bad.Add(at)
	}
	if (b.what == store.DamageObject || b.what == store.DamageAssembly) && !store.IsCorrupt(b.err) {
		b.what = store.DamageUnreadable
	}
	s.badObjects = append(s.badObjects, b)
}

// quarantine returns the places of all that is damaged.
func (s *scrubber) quarantine() *sealed.Quarantine {
	q := sealed.NewQuarantine()
	for id, p := range s.packs {
		if store.IsCorrupt(p.lost) && p.want > 0 {
			q.Packs[id] = true
		}
	}
	for _, b := range s.badObjects {
		if store.IsCorrupt(b.err) && !q.Packs[b.l.Frame.Pack] {
			q.Packs[b.l.Frame.Pack] = false
			q.Places[sealed.PlaceOf(&b.digest, b.l)] = struct{}{}
		}
	}
	if s.known != nil && s.known.Swept != nil { // that is for the next sweep
		swept := *s.known.Swept
		swept.Swept = s.known.Swept
		q = q.With(&swept)
	}
	if len(q.Packs) == 0 {
		return nil
	}
	q.Inherit(s.known)
	return q
}

// swept reports whether a sweep was removing a pack.
func (s *scrubber) swept(id pack.ID) bool {
	return s.known != nil && s.known.Swept != nil && s.known.Swept.Packs[id]
}

// elsewhere returns the first record of an object that is not damaged, in the order in which lookups go over them, and
// whether there is one before it that is. There may be none.
func (s *scrubber) elsewhere(k pack.Kind, d *store.Digest) (l pack.Location, ok, behind bool) {
	for i, x := range s.indexes {
		n, found := x.Table(k).Search(d[:])
		if !found {
			continue
		}
		if s.bad.Has(index.At{Index: i, Kind: k, N: n}) {
			behind = true
		} else if _, l, ok = x.Record(k, n); ok {
			return l, true, behind
		}
	}
	return l, false, behind
}

// report tells of all damage to packs, frames and objects.
func (s *scrubber) report(found func(store.Damage)) {
	s.reportPacks(found)
	told := map[object]bool{}
	slices.SortStableFunc(s.badObjects, func(a, b badObject) int { return compareLocations(a.l, b.l) })
	for _, b := range s.badObjects {
		if o := (object{b.at.Kind, b.digest}); !b.quiet && !told[o] {
			told[o] = true
			found(s.objectDamage(b))
		}
	}
	for d, where := range s.missing {
		blobs := s.lostWith(d)
		found(store.Damage{What: store.DamageMissing, Kind: store.KindFile, Digest: d, Also: blobs, Where: where,
			Err: errors.New("a chunk that is not in the store"), Harmless: len(blobs) == 0})
	}
}

func (s *scrubber) objectDamage(b badObject) store.Damage {
	d := store.Damage{What: b.what, Kind: b.at.Kind.Object(), Digest: b.digest, Doubtful: true}
	d.Where, d.Err = s.st.explain(s.st.Fs.Path(b.l.String()), b.err)
	for i, x := range s.indexes {
		if n, ok := x.Table(b.at.Kind).Search(b.digest[:]); ok && s.bad.Has(index.At{Index: i, Kind: b.at.Kind, N: n}) {
			d.Doubtful = d.Doubtful && s.damaged[x] != nil
		}
	}
	if b.at.Kind != pack.KindDirectory {
		d.Also = s.lostWith(b.digest)
	}
	_, whole, behind := s.elsewhere(b.at.Kind, &b.digest)
	d.Harmless = whole
	if whole && (s.o.NoRecord || !store.IsCorrupt(b.err)) {
		d.Harmless = !behind // otherwise readers still meet the damaged one
	}
	return d
}

// lostWith returns the blobs that are lost with a chunk, and not stored once more in another way.
func (s *scrubber) lostWith(chunk store.Digest) (blobs []store.Digest) {
	for _, d := range s.also[chunk] {
		if _, ok, _ := s.elsewhere(pack.KindData, &d); !ok {
			blobs = append(blobs, d)
		}
	}
	return blobs
}

// reportPacks tells of damage to packs and frames that is not explained by their objects. Where all that is in them is
// also elsewhere, it is harmless.
func (s *scrubber) reportPacks(found func(store.Damage)) {
	for _, b := range s.badObjects {
		if !b.quiet {
			delete(s.odd, b.l.Frame.Key())
		}
	}
	packs := map[pack.ID]error{}
	for id, p := range s.packs {
		if err := cmp.Or(p.lost, p.err); err != nil && p.want > 0 && !s.swept(id) {
			packs[id] = err
		}
	}
	if len(packs) == 0 && len(s.odd) == 0 {
		return
	}
	neededPacks, neededFrames := s.needed(packs)
	for id, err := range packs {
		d := s.st.fileDamage(store.DamagePack, id.Path(), err)
		d.Harmless = !neededPacks[id]
		found(d)
	}
	for key, err := range s.odd {
		others := s.only != nil && err == pack.ErrPayload // it may be to what nobody asked for
		if packs[key.Pack] == nil && !others {
			where := fmt.Sprintf("%s offset %d", s.st.Fs.Path(key.Pack.Path()), key.Offset)
			found(store.Damage{What: store.DamageFrame, Where: where, Err: err, Harmless: !neededFrames[key]})
		}
	}
}

// needed returns those of the packs, and of the odd frames, that hold an object without a whole copy elsewhere.
func (s *scrubber) needed(packs map[pack.ID]error) (map[pack.ID]bool, map[pack.Key]bool) {
	neededPacks, neededFrames := map[pack.ID]bool{}, map[pack.Key]bool{}
	for at := range index.Records(s.indexes) {
		x := s.indexes[at.Index]
		_, l, ok := x.Record(at.Kind, at.N)
		key := l.Frame.Key()
		if !ok || packs[key.Pack] == nil && s.odd[key] == nil || !s.asked(at) {
			continue
		}
		if other, ok, _ := s.elsewhere(at.Kind, x.Digest(at.Kind, at.N)); !ok || other == l {
			neededPacks[key.Pack], neededFrames[key] = true, true
		}
	}
	return neededPacks, neededFrames
}

// record puts what is damaged into the quarantine, in the place of what was known.
func (s *scrubber) record(files []string, unread bool) {
	q := s.quarantine()
	s.st.Quarantine.Store(q)
	for _, b := range s.badObjects {
		if q.Holds(&b.digest, b.l) && !s.known.Holds(&b.digest, b.l) {
			s.result.Recorded++
		}
	}
	s.result.Released = s.released()
	switch {
	case s.result.Recorded == 0 && s.result.Released == 0 && !unread:
	case s.st.ReadOnly:
		s.result.NotRecorded = store.ErrReadOnly
	case s.held != nil && !s.o.NoRecord:
		s.result.NotRecorded = s.held
	case !s.o.NoRecord:
		s.result.NotRecorded = errors.Join(s.result.NotRecorded, sealed.WriteQuarantine(s.st.Fs, q, files))
	}
}

// released counts the whole objects that were in the quarantine.
func (s *scrubber) released() (n int) {
	if s.known == nil {
		return 0
	}
	for at := range index.Records(s.indexes) {
		x := s.indexes[at.Index]
		if _, l, ok := x.Record(at.Kind, at.N); ok && !s.bad.Has(at) && s.known.Holds(x.Digest(at.Kind, at.N), l) {
			n++
		}
	}
	return n
}

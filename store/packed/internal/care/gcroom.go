package care

import (
	"cmp"
	"fmt"
	"slices"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// A sweep must work where the disk is full: nothing else frees space. A round needs room for a new index at least, and
// where there is none, these steps need less. Each frees space for the next, and after each a crash leaves a store that
// has all that is kept, and no chunk list without its chunks:
//
//  1. Packs that no index names go before anything is written.
//  2. Mostly dead packs are moved one after the other, the smallest first, and small ones are left unmerged.
//  3. An index that has all that is dead, and nothing else, is removed, which takes no room at all. Its packs follow.
//  4. The quarantine takes the packs in which nothing is alive, a few at a time: a file that names them makes them void at
//     once, and they can go while an index still names them. It is a block for fifty packs.

// blockSize is about how much room a small file takes.
const blockSize = 4 << 10

// noRoom is the error for work that takes need bytes for a time.
func (st Store) noRoom(err error, need int64) error {
	free, ferr := st.Fs.Free()
	if ferr != nil || free >= need { // it is a quota, or there are no more inodes
		return fmt.Errorf("%w: needs about %s for a while", err, store.HumanBytes(uint64(need)))
	}
	return fmt.Errorf("%w: needs about %s for a while; %s is free", err, store.HumanBytes(uint64(need)), store.HumanBytes(uint64(free)))
}

// removeUnnamed removes the packs that no index names.
func (s *sweep) removeUnnamed() error {
	ids, err := s.st.Packs.IDs()
	if err != nil {
		return err
	}
	indexes := *s.st.Indexes.Load()
	named := index.NamedPacks(indexes)
	p := &plan{indexes: indexes, packs: make(map[pack.ID]*sweptPack)}
	for _, id := range ids {
		if !named[id] {
			p.packs[id] = &sweptPack{id: id}
		}
	}
	if err := s.leaveNewer(p); err != nil {
		return err
	}
	return s.removePacks(p)
}

// makeRoom does what a round that failed for want of room can do with less. It returns nil where that is worth another
// round.
func (s *sweep) makeRoom(p *plan, full error) error {
	moving, live := p.moving()
	switch {
	case moving > 0 && !s.tight:
		s.tight = true
		return nil
	case moving > 1:
		s.room = live / 2
		return nil
	case moving == 1: // the least of all
		s.room, s.short = 0, s.st.noRoom(full, live+p.indexSize())
		return nil
	case p.lone() != nil:
		return s.removeIndex(p)
	case len(p.dead()) > 0:
		return s.setApart(p, full)
	case p.kept < p.records:
		return s.st.noRoom(full, p.indexSize())
	}
	s.unmerged = true
	return nil
}

// moving returns how many packs a round is to move, and how many bytes.
func (p *plan) moving() (n int, live int64) {
	for _, pk := range p.packs {
		if pk.rewrite {
			n++
			live += pk.live
		}
	}
	return n, live
}

// indexSize returns about how long an index of what is kept is.
func (p *plan) indexSize() (size int64) {
	for _, x := range p.indexes {
		size += x.Bytes()
	}
	return int64(float64(size)*float64(p.kept)/float64(max(1, p.records))) + blockSize
}

// lone returns the one index that has anything dead, if nothing in it is alive.
func (p *plan) lone() (lone *index.Index) {
	for i, x := range p.indexes {
		switch {
		case p.keptOf[i] == x.Len():
		case p.keptOf[i] > 0 || lone != nil:
			return nil
		default:
			lone = x
		}
	}
	return lone
}

// removeIndex removes the lone index of a plan, and then the packs that none names any more. What was removed before must
// not come back after it is gone: with the last index of an epoch the older ones would count again.
func (s *sweep) removeIndex(p *plan) error {
	st, lone := s.st, p.lone()
	if err := st.Fs.SyncDir(index.Dir); err != nil {
		return st.Fail(err)
	}
	if err := st.Fs.Remove(index.Path(lone.Name)); err != nil {
		return st.Fail(err)
	}
	left := slices.DeleteFunc(slices.Clone(p.indexes), func(x *index.Index) bool { return x == lone })
	st.UseIndexes(left)
	if err := st.Fs.SyncDir(index.Dir); err != nil {
		return st.Fail(err)
	}
	return s.removeUnnamed()
}

// dead returns the packs in which nothing is alive and that an index names: those with chunk lists and directories first.
func (p *plan) dead() (dead []*sweptPack) {
	for id := range index.NamedPacks(p.indexes) {
		if pk := p.packs[id]; pk != nil && pk.live == 0 {
			dead = append(dead, pk)
		}
	}
	slices.SortFunc(dead, func(a, b *sweptPack) int {
		return cmp.Or(-cmp.Compare(a.role, b.role), -cmp.Compare(a.size, b.size), slices.Compare(a.id[:], b.id[:]))
	})
	return dead
}

// setApart puts the dead packs of a plan into the quarantine and removes them. No chunk list is left without what it
// lists, in no state: those that are dead go first.
func (s *sweep) setApart(p *plan, full error) error {
	const atFirst = 8
	dead, freed := p.dead(), false
	void := sealed.NewQuarantine()
	void.Places = p.deadLists()
	for pl := range void.Places {
		void.Packs[pl.Pack] = false
	}
	for n := atFirst; len(dead) > 0; n *= 2 {
		now := dead[:min(n, len(dead))]
		dead = dead[len(now):]
		for _, pk := range now {
			void.Packs[pk.id] = true
		}
		void.Swept = &sealed.Quarantine{Packs: void.Packs, Places: void.Places}
		err := live.OrFull(sealed.WriteQuarantine(s.st.Fs, void, nil))
		switch {
		case live.IsFull(err) && freed:
			return nil
		case live.IsFull(err):
			return s.least(full, void)
		case err != nil:
			return s.st.Fail(err)
		}
		s.st.Quarantine.Store(s.st.Quarantine.Load().With(void))
		gone := make(map[pack.ID]*sweptPack)
		for _, pk := range now {
			gone[pk.id] = pk
		}
		if err := s.removePacks(&plan{packs: gone}); err != nil {
			return err
		}
		freed = true
		void = sealed.NewQuarantine()
	}
	return nil
}

// least is the error where there is not even room to set packs apart.
func (s *sweep) least(full error, void *sealed.Quarantine) error {
	b, err := void.Encode()
	if err != nil {
		return err
	}
	need := (int64(len(b)) + blockSize - 1) / blockSize * blockSize
	if _, err := s.st.Fs.Stat(sealed.QuarantineDir); err != nil {
		need += blockSize
	}
	return s.st.noRoom(full, need)
}

// deadLists returns where the dead chunk lists are in packs that stay.
func (p *plan) deadLists() map[sealed.Place]struct{} {
	places := make(map[sealed.Place]struct{})
	for at := range index.Records(p.indexes) {
		x := p.indexes[at.Index]
		_, l, ok := x.Record(at.Kind, at.N)
		if !ok || l.Frame.Kind != pack.KindList || p.alive(at) {
			continue
		}
		if pk := p.packs[l.Frame.Pack]; pk != nil && pk.live > 0 {
			places[sealed.PlaceOf(x.Digest(at.Kind, at.N), l)] = struct{}{}
		}
	}
	return places
}

// unmark forgets which packs were set apart, once no index names them. What is left of it does no harm.
func (s *sweep) unmark() error {
	st := s.st
	if known := st.Quarantine.Load(); known == nil || known.Swept == nil {
		return nil
	}
	q, files, damage, err := sealed.ReadQuarantine(st.Fs)
	if err != nil || len(damage) > 0 {
		return err // a line that cannot be read is for verify to find
	}
	q = q.WithoutSwept()
	if err := live.OrFull(sealed.WriteQuarantine(st.Fs, q, files)); err != nil && !live.IsFull(err) {
		return st.Fail(err)
	}
	st.Quarantine.Store(q)
	return nil
}

package packed

import (
	"cmp"
	"fmt"
	"io/fs"
	"slices"

	"castar/store"
)

// plan says what is alive in each frame and pack, and what a round does.
type plan struct {
	indexes []*index
	keep    *set       // nil: everything
	live    [][]uint64 // of each index and frame: the bytes of what is alive, with their records
	packs   map[packID]*sweptPack
	records int // in all indexes
	kept    int // of those
}

// sweptPack is a pack in a plan.
type sweptPack struct {
	id      packID
	role    role
	size    int64
	live    int64 // bytes, as stored, about
	rewrite bool
	stays   bool // although it is to be rewritten, for some of it could not be read
	spare   bool // not to be removed, whatever is moved out of it
}

// alive reports whether record n of a table of index i is to be kept.
func (p *plan) alive(i int, k kind, n int) bool { return p.keep == nil || p.keep.member(i, k, n) }

// plan counts what is alive.
func (s *sweep) plan(indexes []*index, keep *set) (*plan, error) {
	p := &plan{indexes: indexes, keep: keep, packs: make(map[packID]*sweptPack)}
	entries, err := s.st.fs.ReadDir(packsDir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		id, ok := parsePackName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			return nil, err
		}
		p.packs[id] = &sweptPack{id: id, size: fi.Size()}
	}
	for i, x := range p.indexes {
		p.live = append(p.live, make([]uint64, x.frames()))
		for _, k := range []kind{kindData, kindDirectory} {
			p.count(i, k)
		}
		s.weigh(p, i)
	}
	return p, s.leaveNewer(p)
}

// count adds up what is alive in the frames of an index.
func (p *plan) count(i int, k kind) {
	t := p.indexes[i].table(k)
	p.records += t.Len()
	for n := range t.Len() {
		if p.alive(i, k, n) {
			frame, _, size := splitValue(t.Record(n)[store.DigestSize:])
			p.live[i][frame] += uint64(size) + itemLen
			p.kept++
		}
	}
}

// weigh adds what is alive in the frames of an index to their packs.
func (s *sweep) weigh(p *plan, i int) {
	for n, live := range p.live[i] {
		f, _ := p.indexes[i].frame(n)
		pack := p.packs[f.pack]
		if live == 0 {
			continue
		}
		if pack == nil { // it is gone: the records stay, so that verify and repair can say what was lost
			s.report(frameRef{pack: f.pack}, fs.ErrNotExist) // once
			continue
		}
		pack.role = f.kind.role()
		whole := uint64(f.start) - frameHeadLen + uint64(f.raw)
		pack.live += max(1, int64(float64(f.end()-f.offset)*min(1, float64(live)/float64(whole))))
	}
}

const (
	// deadShare is the part of a pack that may be dead: one in so many bytes.
	deadShare = 4
	// smallShare is which part of a full pack is a small one, and manySmall how many of a role are merged.
	smallShare = 8
	manySmall  = 8
	// roundPacks bounds what a round moves, and so the space that it needs for a time, in full packs.
	roundPacks = 8
)

// choose decides which packs to rewrite: none while there are dead ones to drop, whose space may be needed.
func (s *sweep) choose(p *plan) {
	var all, small []*sweptPack
	dropping := false
	for _, pack := range p.packs {
		dropping = dropping || pack.live == 0
		if pack.live == 0 || s.done[pack.id] {
			continue
		}
		switch {
		case pack.size-pack.live-packHeadLen > pack.size/deadShare:
			all = append(all, pack)
		case pack.size < s.st.limits.pack/smallShare:
			small = append(small, pack)
		}
	}
	if dropping && !s.o.DryRun {
		return
	}
	for _, r := range []role{roleData, roleMeta} {
		of := slices.DeleteFunc(slices.Clone(small), func(p *sweptPack) bool { return p.role != r })
		if len(of) >= manySmall && !s.tight {
			all = append(all, of...)
		}
	}
	slices.SortFunc(all, func(a, b *sweptPack) int {
		return cmp.Or(cmp.Compare(a.live, b.live), slices.Compare(a.id[:], b.id[:]))
	})
	room := s.room
	for i, pack := range all {
		if pack.rewrite = room >= pack.live || i == 0 && room > 0 || s.o.DryRun; pack.rewrite {
			room -= pack.live
		}
	}
}

// needed reports whether there is anything to do: records or packs that must go, or indexes to be merged.
func (s *sweep) needed(p *plan) bool {
	for _, pack := range p.packs {
		if pack.live == 0 || pack.rewrite {
			return true
		}
	}
	return p.kept < p.records || len(p.indexes) > 1 && !s.unmerged
}

// checkRoles reports a frame of an index that, by its kind, is not of the pack that it is said to be in. What a chunk list
// leads to would be taken for dead.
func (st *Store) checkRoles(x *index) error {
	roles := make(map[packID]role)
	for n := range x.frames() {
		f, _ := x.frame(n)
		r, ok := roles[f.pack]
		if !ok {
			r = st.roleOf(f.pack, f.kind.role())
			roles[f.pack] = r
		}
		if r != f.kind.role() {
			return fmt.Errorf("frame %d: its kind is not that of the pack %s", n, f.pack)
		}
	}
	return nil
}

// roleOf returns the role of a pack, or another where that cannot be told.
func (st *Store) roleOf(id packID, other role) role {
	p, err := st.packs.acquire(id)
	if err != nil {
		return other
	}
	defer st.packs.release(p)
	var head [packHeadLen]byte
	if _, err := p.file.ReadAt(head[:], 0); err != nil {
		return other
	}
	r, err := parsePackHead(head[:])
	if err != nil {
		return other
	}
	return r
}

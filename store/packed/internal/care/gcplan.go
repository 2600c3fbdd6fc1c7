package care

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// plan says what is alive in each frame and pack, and what a round does.
type plan struct {
	indexes []*index.Index
	keep    *live.Set  // nil: everything
	live    [][]uint64 // of each index and frame: the bytes of what is alive, with their records
	packs   map[pack.ID]*sweptPack
	records int   // in all indexes
	kept    int   // of those
	keptOf  []int // the same of each index
}

// sweptPack is a pack in a plan.
type sweptPack struct {
	id      pack.ID
	role    pack.Role
	size    int64
	live    int64 // bytes, as stored, about
	rewrite bool
	stays   bool // although it is to be rewritten, for some of it could not be read
	spare   bool // not to be removed, whatever is moved out of it
}

func (pk *sweptPack) goes() bool { return !pk.spare && (pk.live == 0 || pk.rewrite && !pk.stays) }

func (p *plan) alive(at index.At) bool { return p.keep == nil || p.keep.Marks.Has(at) }

// plan counts what is alive.
func (s *sweep) plan(indexes []*index.Index, keep *live.Set) (*plan, error) {
	p := &plan{indexes: indexes, keep: keep, packs: make(map[pack.ID]*sweptPack), keptOf: make([]int, len(indexes))}
	entries, err := s.st.Fs.ReadDir(pack.Dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		id, ok := pack.ParseName(e.Name())
		if !ok || !e.Type().IsRegular() {
			continue
		}
		fi, err := e.Info()
		if err != nil {
			return nil, err
		}
		p.packs[id] = &sweptPack{id: id, size: fi.Size()}
	}
	for _, x := range p.indexes {
		p.live = append(p.live, make([]uint64, x.Frames()))
		p.records += x.Len()
	}
	for at := range index.Records(p.indexes) {
		if p.alive(at) {
			v := p.indexes[at.Index].Value(at.Kind, at.N)
			p.live[at.Index][v.Frame] += uint64(v.Size) + pack.ItemLen
			p.kept++
			p.keptOf[at.Index]++
		}
	}
	for i := range p.indexes {
		s.weigh(p, i)
	}
	return p, s.leaveNewer(p)
}

// weigh adds what is alive in the frames of an index to their packs.
func (s *sweep) weigh(p *plan, i int) {
	for n, live := range p.live[i] {
		f, _ := p.indexes[i].Frame(n)
		pk := p.packs[f.Pack]
		if pk != nil {
			pk.role = f.Kind.Role()
		}
		if live == 0 {
			continue
		}
		if pk == nil { // it is gone: the records stay, so that verify and repair can say what was lost
			s.report(pack.Frame{Pack: f.Pack}, fs.ErrNotExist) // once
			continue
		}
		whole := uint64(f.Start) - pack.FrameHeadLen + uint64(f.Raw)
		pk.live += max(1, int64(float64(f.End()-f.Offset)*min(1, float64(live)/float64(whole))))
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
	for _, pk := range p.packs {
		dropping = dropping || pk.live == 0
		if pk.live == 0 || s.done[pk.id] {
			continue
		}
		switch {
		case pk.size-pk.live-pack.PackHeadLen > pk.size/deadShare:
			all = append(all, pk)
		case pk.size < s.st.Limits.Pack/smallShare:
			small = append(small, pk)
		}
	}
	if dropping && !s.o.DryRun && s.st.Bucket == nil {
		return
	}
	for _, r := range []pack.Role{pack.RoleData, pack.RoleMeta} {
		of := slices.DeleteFunc(slices.Clone(small), func(p *sweptPack) bool { return p.role != r })
		if len(of) >= manySmall && !s.tight {
			all = append(all, of...)
		}
	}
	slices.SortFunc(all, func(a, b *sweptPack) int {
		return cmp.Or(cmp.Compare(a.live, b.live), slices.Compare(a.id[:], b.id[:]))
	})
	room := s.room
	for i, pk := range all {
		if pk.rewrite = room >= pk.live || i == 0 && room > 0 || s.o.DryRun || s.st.Bucket != nil; pk.rewrite {
			room -= pk.live
		}
	}
}

// needed reports whether there is anything to do: records or packs that must go, or indexes to be merged.
func (s *sweep) needed(p *plan) bool {
	for _, pk := range p.packs {
		if pk.live == 0 || pk.rewrite {
			return true
		}
	}
	return p.kept < p.records || len(p.indexes) > 1 && !s.unmerged
}

// checkRoles reports a frame of an index that, by its kind, is not of the pack that it is said to be in. What a chunk list
// leads to would be taken for dead.
func (st Store) checkRoles(x *index.Index) error {
	roles := make(map[pack.ID]pack.Role, len(x.Packs))
	var mu sync.Mutex
	err := runParallel(context.Background(), waiters, slices.Values(x.Packs), func(p pack.Length) error {
		r, err := st.Packs.Role(p.ID)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			roles[p.ID] = r
		}
		return nil
	})
	if err != nil {
		return err
	}
	for n := range x.Frames() {
		f, _ := x.Frame(n)
		if r, ok := roles[f.Pack]; ok && r != f.Kind.Role() {
			return fmt.Errorf("frame %d: its kind is not that of the pack %s", n, f.Pack)
		}
	}
	return nil
}

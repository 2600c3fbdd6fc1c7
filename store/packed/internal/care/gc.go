package care

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// Sweep implements store.Sweeper, in rounds: first it removes packs in which nothing is alive; then it rewrites mostly
// dead packs, a few at a time, so that it needs little space. Every round makes its changes in this order, each step
// after the last has succeeded:
//
//  1. new packs are synced, renamed into packs/, and packs/ synced;
//  2. one new index of all that is alive, of the next epoch, is written, synced and renamed into index/: the commit;
//  3. index/ is synced, and the new index is read back and checked;
//  4. the old indexes are removed, and the packs that the new one does not name.
//
// A crash before step 3 ends leaves either index, and the packs of both are there. After step 3, the epoch of the new
// index makes the old ones void, even if a crash leaves some of them.
func (st Store) Sweep(ctx context.Context, keep store.ObjectSet, o store.SweepOptions) (r store.SweepResult, err error) {
	k, ok := keep.(*live.Set)
	if !ok || !slices.Equal(k.Indexes, *st.Indexes.Load()) {
		return r, fmt.Errorf("the store has changed since the set to keep was made: %w", store.ErrChanged)
	}
	if err := st.beforeSweep(ctx, k, o); err != nil {
		return r, err
	}
	for _, x := range k.Indexes {
		if err := cmp.Or(x.Check(), st.checkRoles(x)); err != nil {
			return r, &store.CorruptError{Where: st.Fs.Path(index.Path(x.Name)), Err: err}
		}
	}
	s := st.newSweep()
	s.o, s.generation = o, k.Generation
	before, err := s.diskUse()
	if err != nil {
		return r, err
	}
	work := s.rounds
	if st.Bucket != nil {
		work = s.shared
	} else if !o.DryRun {
		if err := s.removeUnnamed(); err != nil {
			return s.result, st.Fail(err)
		}
	}
	if err := work(ctx, k); err != nil {
		if after, derr := s.diskUse(); live.IsFull(err) && derr == nil && after < before {
			err = fmt.Errorf("%w; %d bytes were freed", err, before-after)
		}
		return s.result, err
	}
	after := before - min(before, s.estimate)
	if !o.DryRun {
		if err = st.Tags().DropGivenUp(); err == nil && o.TagsLost {
			err = st.Tags().ForgetLost()
		}
		if err == nil {
			after, err = s.diskUse()
		}
		if err != nil {
			return s.result, err
		}
	}
	s.result.FreedBytes, s.result.KeptBytes = uint64(before-min(before, after)), uint64(after)
	return s.result, nil
}

// GivenUp implements store.Sweeper.
func (st Store) GivenUp(ctx context.Context) []store.Tag { return st.Tags().GivenUp(ctx) }

// beforeSweep reports why a sweep must not begin, and finishes what an interrupted one left.
func (st Store) beforeSweep(ctx context.Context, k *live.Set, o store.SweepOptions) error {
	if err := st.newerLine(ctx); err != nil || o.DryRun {
		return err
	}
	if err := st.Writable(); err != nil {
		return err
	}
	if !st.Exclusive {
		return store.ErrNotAlone
	}
	if err := st.Tags().Lost(); err != nil && !o.TagsLost {
		return err
	}
	if st.Bucket != nil {
		return nil
	}
	// What an interrupted sweep renamed into place may not be durable yet, and what it replaced still there.
	err := st.Fs.SyncDir(index.Dir)
	if err == nil {
		err = st.removeAll(index.Dir, func(file string) bool { return !k.Covers(file) && strings.HasSuffix(file, index.Ext) })
	}
	if err != nil {
		return st.Fail(err)
	}
	return nil
}

// sweep is one call of Sweep.
type sweep struct {
	st         Store
	o          store.SweepOptions
	done       map[pack.ID]bool // packs that no further round is to rewrite
	damaged    map[pack.Frame]bool
	generation uint64             // of the head of the bucket from which the sweep begins
	estimate   int64              // bytes that a dry run would free
	rescued    map[object]rescued // by a repair
	result     store.SweepResult

	// Where room is short; see makeRoom.
	room     int64 // what a round may move, in bytes
	tight    bool  // small packs are not merged
	unmerged bool  // nor are indexes
	short    error // why mostly dead packs stay
}

func (st Store) newSweep() *sweep {
	return &sweep{st: st, done: make(map[pack.ID]bool), damaged: make(map[pack.Frame]bool), room: roundPacks * st.Limits.Pack}
}

func (s *sweep) diskUse() (sum int64, err error) {
	for _, dir := range []string{pack.Dir, index.Dir} {
		entries, err := s.st.Fs.ReadDir(dir)
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			fi, err := e.Info()
			if err != nil {
				return 0, err
			}
			sum += fi.Size()
		}
	}
	return sum, nil
}

// rounds sweeps until nothing is left to do. After the first, all that is in the index is alive.
func (s *sweep) rounds(ctx context.Context, keep *live.Set) error {
	for first := true; ; first = false {
		p, err := s.plan(*s.st.Indexes.Load(), keep)
		if err != nil {
			return err
		}
		s.choose(p)
		if first {
			s.result.FreedObjects = uint64(p.records - p.kept)
		}
		s.result.KeptObjects = uint64(p.kept)
		if s.o.DryRun {
			s.foresee(p)
			return nil
		}
		if !s.needed(p) {
			return cmp.Or(s.unmark(), s.short)
		}
		switch err := s.round(ctx, p); {
		case live.IsFull(err):
			if err := s.makeRoom(p, err); err != nil {
				return err
			}
			if slices.Equal(p.indexes, *s.st.Indexes.Load()) {
				continue // the set is of these indexes
			}
		case err != nil:
			return err
		}
		keep = nil
	}
}

func (s *sweep) foresee(p *plan) {
	for _, pk := range p.packs {
		if pk.live == 0 || pk.rewrite {
			s.estimate += pk.size - pk.live
			s.result.FreedPacks++
			s.result.Rewritten += uint64(pk.live)
		}
	}
}

func (s *sweep) round(ctx context.Context, p *plan) (err error) {
	w := &rewriter{
		sweep: s, plan: p, st: s.st, out: s.st.NewWriter(), new: index.NewBuilder(s.st.Fs, s.st.Limits.Objects),
		damaged: make(map[pack.ID]bool),
	}
	defer func() { err = errors.Join(err, w.close(err)) }()
	if err := w.run(ctx); err != nil {
		return err
	}
	for _, pk := range p.packs {
		pk.stays = pk.rewrite && w.damaged[pk.id]
	}
	if err := w.out.Publish(); err != nil {
		return s.fail(live.OrFull(err)) // no index names them
	}
	for _, ref := range w.out.Lengths() {
		s.done[ref.ID] = true
	}
	if err := s.publish(p, w); err != nil {
		return s.fail(err)
	}
	return s.removePacks(p)
}

// fail remembers an error after which nothing more may be written. That there is no room is none, and neither is that another
// process was faster.
func (s *sweep) fail(err error) error {
	if live.IsFull(err) || errors.Is(err, store.ErrChanged) {
		return err
	}
	return s.st.Fail(err)
}

// publish makes an index of what is alive, and of nothing else, the only one.
func (s *sweep) publish(p *plan, w *rewriter) error {
	st := s.st
	parts, left := []index.Part{w.new.Part(w.out.Lengths())}, 0
	for i := range p.indexes {
		parts = append(parts, s.part(p, i, &left))
	}
	epoch := index.NextEpoch(p.indexes)
	x, err := st.NewIndex(epoch, parts, func(x *index.Index) error {
		switch n := x.Len(); {
		case n != p.kept+w.extra || left != w.moved:
			return fmt.Errorf("new index has %d objects, %d of them moved, want %d and %d", n, left, p.kept+w.extra, w.moved)
		case epoch < index.LastEpoch:
			return x.Check()
		}
		return nil
	})
	if err != nil {
		return err
	}
	if st.Bucket != nil {
		return s.swapIn(x, p)
	}
	st.UseIndexes([]*index.Index{x})
	err = st.removeAll(index.Dir, func(file string) bool { return file != x.Name && strings.HasSuffix(file, index.Ext) })
	if err == nil && epoch == index.LastEpoch { // the others are as good as it: none may come back
		err = st.Fs.SyncDir(index.Dir)
	}
	return err
}

// removePacks removes the packs that no index names any more.
func (s *sweep) removePacks(p *plan) error {
	gone := make(map[string]bool)
	for _, pk := range p.packs {
		switch {
		case pk.goes():
			gone[pk.id.String()+pack.Ext] = true
			s.st.Packs.Forget(pk.id)
			s.result.FreedPacks++
		case pk.rewrite && !pk.spare:
			s.done[pk.id] = true
		}
	}
	if s.st.Bucket != nil {
		return nil // they are condemned
	}
	return s.st.removeAll(pack.Dir, func(file string) bool { return gone[file] })
}

// removeAll removes the files in a folder that gone names. No sync follows: one that comes back is void.
func (st Store) removeAll(dir string, gone func(file string) bool) error {
	entries, err := st.Fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if gone(e.Name()) {
			if err := st.Fs.Remove(dir + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// report tells of damage in a frame, once.
func (s *sweep) report(f pack.Frame, err error) {
	if !s.damaged[f] && s.o.Damaged != nil {
		s.o.Damaged(s.st.Packs.Corrupt(f, err))
	}
	s.damaged[f] = true
}

// part returns what is alive in an index, for a new one. Frames of packs that go are left out: what was moved from there
// is in an earlier part. left counts the records that must be.
func (s *sweep) part(p *plan, i int, left *int) index.Part {
	alive := func(k pack.Kind, n int) bool { return p.alive(index.At{Index: i, Kind: k, N: n}) }
	keep := func(n int, f pack.Frame) bool {
		swept := p.packs[f.Pack]
		return p.live[i][n] > 0 && (swept == nil || !swept.rewrite || s.damaged[f])
	}
	return p.indexes[i].Filter(alive, keep, left)
}

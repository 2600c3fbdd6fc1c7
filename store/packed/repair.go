package packed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"castar/store"
)

// Repair implements store.Repairer. All packs are read and every object in them is checked. Where an index is damaged or
// names what is gone, or a pack is damaged, one new index of what is whole replaces all others, in the order of Sweep;
// before that, what is whole in damaged packs is moved to new ones.
func (st *Store) Repair(ctx context.Context, o store.RepairOptions) (store.RepairResult, error) {
	r := &repair{st: st, o: o, room: blockSize}
	if err := st.writable(); err != nil {
		return r.result, err
	}
	if !st.alone {
		return r.result, errors.New("a repair needs the store to be opened exclusively")
	}
	for _, step := range []func(context.Context) error{r.newer, r.folders, r.config, r.objects, r.log, r.tags, r.quarantine} {
		if err := step(ctx); err != nil {
			if isFull(orFull(err)) {
				err = st.noRoom(err, r.room)
			}
			return r.result, st.fail(err)
		}
		if err := ctx.Err(); err != nil {
			return r.result, err
		}
	}
	return r.result, nil
}

// repair is one call of Repair.
type repair struct {
	st      *Store
	o       store.RepairOptions
	noTags  bool              // the folder of the tags was lost
	linked  map[string][]byte // the files in it, where a link in its place led to it
	records []store.Tag
	rescued map[rescuedKey]rescued
	unread  map[rescuedKey]location // what could not be read now, and keeps its record
	failed  map[frameRef]error      // frames that only an index leads to and that cannot be decoded
	result  store.RepairResult
	room    int64 // about what the step under way writes, in bytes
}

// did tells what was done.
func (r *repair) did(name, format string, args ...any) {
	if r.o.Did != nil {
		r.o.Did(r.st.fs.Path(name), fmt.Sprintf(format, args...))
	}
}

// objects finds what is whole, and makes index and packs anew where they are not.
func (r *repair) objects(ctx context.Context) (err error) {
	st := r.st
	if err := r.clearPacks(); err != nil {
		return err
	}
	ids, err := st.packsIn()
	if err != nil {
		return err
	}
	found := newSalvage(st, r.o.Progress)
	defer func() { err = errors.Join(err, found.close()) }()
	if err := found.run(ctx, ids); err != nil {
		return err
	}
	r.room = indexFootLen + int64(len(found.frames))*frameRefLen + found.objects()*(store.DigestSize+valueLen+2) + blockSize
	old := *st.indexes.Load()
	if err := r.rescue(ctx, found, old); err != nil {
		return err
	}
	x, err := found.index(epochOf(old))
	if err != nil {
		return err
	}
	defer func() {
		if !slices.Contains(st.retired, x) { // it is once it is replaced
			err = errors.Join(err, closeIndexes([]*index{x}))
		}
	}()
	r.result.Objects = uint64(x.blobs.Len() + x.dirs.Len() - len(r.unread) + len(r.rescued))
	sound, err := r.compare(found, x, old)
	if err != nil {
		return err
	}
	damaged := len(r.rescued) > 0
	for _, id := range ids {
		damaged = damaged || found.packs[id].places > 0
	}
	if sound && !damaged {
		return nil
	}
	return r.rebuild(ctx, found, x, old)
}

// clearPacks sets aside what is called like a pack and is none.
func (r *repair) clearPacks() error {
	entries, err := r.st.fs.ReadDir(packsDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := parsePackName(e.Name()); ok && !e.Type().IsRegular() {
			if err := r.setAside(packsDir+"/"+e.Name(), "not a regular file"); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare reports whether the indexes are sound and name nothing that was not found, and counts what they do.
func (r *repair) compare(found *salvage, x *index, old []*index) (sound bool, err error) {
	st := r.st
	sound = true
	entries, err := st.fs.ReadDir(indexDir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		known := slices.ContainsFunc(old, func(o *index) bool { return o.name == e.Name() })
		if known || !strings.HasSuffix(e.Name(), indexExt) {
			continue
		}
		replaced, err := st.openIndex(e.Name())
		corrupt := store.IsCorrupt(err)
		switch {
		case err != nil && !corrupt && e.Type().IsRegular() && !errors.Is(err, syscall.EIO):
			return false, err
		case err == nil && replaced.epoch >= epochOf(old):
			return false, errors.Join(fmt.Errorf("%s: could not be read when the store was opened, and now it can",
				st.fs.Path(indexPath(e.Name()))), closeIndexes([]*index{replaced}))
		case err != nil:
			sound = false
			r.did(indexPath(e.Name()), "%s: made anew from the packs", reasonOf(err))
			if e.IsDir() {
				if err := r.setAside(indexPath(e.Name()), "a folder where there should be none"); err != nil {
					return false, err
				}
			}
			continue
		}
		if err := closeIndexes([]*index{replaced}); err != nil {
			return false, err
		}
	}
	frames := make(map[frameRef]bool, len(found.frames))
	for _, f := range found.frames {
		frames[f] = true
	}
	for _, o := range old {
		err := o.check()
		if err == nil {
			err = found.contradicts(o, frames)
		}
		if err != nil {
			sound = false
			r.did(indexPath(o.name), "%s: made anew from the packs", err)
		}
		lost, moved, err := r.lostIn(o, x)
		if err != nil {
			return false, err
		}
		if lost > 0 || moved > 0 {
			sound = false
			r.result.Lost += uint64(lost)
		}
		if moved > 0 {
			r.did(indexPath(o.name), "%d objects are not where it says: made anew from the packs", moved)
		}
	}
	if known := st.quarantine.Load(); known != nil && known.swept != nil {
		sound = false
		r.did(indexDir, "a gc was interrupted: made anew from the packs")
	}
	if len(old) == 0 && r.result.Objects > 0 && sound {
		sound = false
		r.did(indexDir, "no index: made anew from the packs")
	}
	return sound, nil
}

// contradicts reports what an index says of packs and frames that they are not.
func (s *salvage) contradicts(x *index, frames map[frameRef]bool) error {
	for _, ref := range x.packs {
		switch p := s.packs[ref.id]; {
		case p == nil:
			return fmt.Errorf("names %s, which is not there", packPath(ref.id))
		case p.size != ref.length:
			return fmt.Errorf("names %s with %d bytes, which has %d", packPath(ref.id), ref.length, p.size)
		}
	}
	for n := range x.frames() {
		if f, ok := x.frame(n); !ok || !frames[f] {
			return fmt.Errorf("frame %d is not the one at %s offset %d", n, packPath(f.pack), f.offset)
		}
	}
	return nil
}

// lostIn counts the records of x that the index found does not have, and those that point at something else.
func (r *repair) lostIn(x, found *index) (lost, moved int, err error) {
	for _, k := range []kind{kindData, kindDirectory} {
		t := x.table(k)
		for n := range t.Len() {
			d := store.Digest(t.Record(n)[:store.DigestSize])
			if _, l, ok := x.record(k, n); ok && r.st.quarantine.Load().isSwept(&d, l) {
				continue
			}
			if _, ok := r.rescued[rescuedKey{k == kindDirectory, d}]; ok {
				continue
			}
			if _, ok := r.unread[rescuedKey{k == kindDirectory, d}]; ok {
				lost++
				continue
			}
			have, ok := found.find(k, &d)
			if !ok {
				lost++
				continue
			}
			if l, ok := x.locate(t.Record(n)[store.DigestSize:]); ok && l == have {
				continue
			} else if ok { // there may be two of it
				ok, err = r.same(&d, l, have)
				if err != nil {
					return 0, 0, err
				}
				if ok {
					continue
				}
			}
			moved++
		}
	}
	return lost, moved, nil
}

// same reports whether the object d is at l as well, with the bytes at have, which were found to be right.
func (r *repair) same(d *store.Digest, l, have location) (bool, error) {
	if l.size != have.size || (l.frame.kind == kindList) != (have.frame.kind == kindList) {
		return false, nil
	}
	if err := r.st.listed(l, d); err != nil {
		if store.IsCorrupt(err) {
			err = nil
		}
		return false, err
	}
	var sums [2]store.Digest
	for i, at := range []location{l, have} {
		err := r.st.use(at, func(data []byte) error { sums[i] = store.Sum(data); return nil })
		if store.IsCorrupt(err) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	return sums[0] == sums[1], nil
}

// rebuild replaces the indexes by one of what was found, after it has moved that out of damaged packs.
func (r *repair) rebuild(ctx context.Context, found *salvage, x *index, old []*index) error {
	st := r.st
	// First of all, for nobody is to trust the records of what could not be read.
	st.quarantine.Store(r.unreadable())
	if err := writeQuarantine(st.fs, r.unreadable(), nil); err != nil {
		return err
	}
	s := st.newSweep()
	s.rescued = r.rescued
	s.o.Damaged = func(err error) { r.did(packsDir, "%v", err) } // it was whole a moment ago
	p, err := s.plan([]*index{x}, nil)
	if err != nil {
		return err
	}
	for id, pack := range found.packs {
		if pack.places == 0 {
			if p.packs[id].live == 0 {
				p.packs[id].spare = true // gc may judge of what has nothing to do with damage
			}
			continue
		}
		p.packs[id].rewrite = p.packs[id].live > 0
		p.packs[id].spare = pack.kept
		for _, err := range pack.damage {
			r.did(packPath(id), "%v", err)
		}
		if more := pack.places - len(pack.damage); more > 0 {
			r.did(packPath(id), "and %d more damaged places", more)
		}
	}
	_, live := p.moving()
	r.room = live + p.indexSize()
	if err := s.round(ctx, p); err != nil {
		return err
	}
	r.room = blockSize
	st.retired = append(st.retired, old...)
	// A damaged index that a crash brings back would not be void: nobody can tell its epoch.
	if err := st.fs.SyncDir(indexDir); err != nil {
		return err
	}
	if err := st.resetEpoch(); err != nil {
		return err
	}
	if n := len(r.rescued); n > 0 {
		r.did(packsDir, "%d objects of which the heads of frames are damaged or wrong were found through the index", n)
	}
	for id, pack := range p.packs {
		if found.packs[id].places > 0 {
			r.did(packPath(id), "%d bytes of it are whole and were moved to a new pack", pack.live)
		}
	}
	return nil
}

// resetEpoch writes the only index anew where no other epoch can follow its own. Both have the same, so that it does not
// matter which one a crash leaves.
func (st *Store) resetEpoch() error {
	old := *st.indexes.Load()
	if len(old) != 1 || epochOf(old) < lastEpoch {
		return nil
	}
	name, err := st.writeIndexFile(1, []indexPart{old[0].part()})
	if err != nil {
		return err
	}
	x, err := st.openIndex(name)
	if err != nil {
		return err
	}
	if err := x.check(); err != nil {
		return errors.Join(err, closeIndexes([]*index{x}), st.fs.Remove(indexPath(name)))
	}
	st.indexes.Store(&[]*index{x})
	st.retired = append(st.retired, old[0])
	if err := st.fs.Remove(indexPath(old[0].name)); err != nil {
		return err
	}
	return st.fs.SyncDir(indexDir)
}

package care

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// Repair implements store.Repairer. All packs are read and every object in them is checked. Where an index is damaged or
// names what is gone, or a pack is damaged, one new index of what is whole replaces all others, in the order of Sweep;
// before that, what is whole in damaged packs is moved to new ones.
func (st Store) Repair(ctx context.Context, o store.RepairOptions) (store.RepairResult, error) {
	r := &repair{st: st, o: o, room: blockSize}
	if err := st.Writable(); err != nil {
		return r.result, err
	}
	if !st.Exclusive {
		return r.result, store.ErrNotAlone
	}
	for _, step := range []func(context.Context) error{r.newer, r.head, r.folders, r.config, r.objects, r.log, r.tags, r.quarantine} {
		if err := step(ctx); err != nil {
			if live.IsFull(live.OrFull(err)) {
				err = st.noRoom(err, r.room)
			}
			return r.result, st.Fail(err)
		}
		if err := ctx.Err(); err != nil {
			return r.result, err
		}
	}
	return r.result, nil
}

// repair is one call of Repair.
type repair struct {
	st         Store
	o          store.RepairOptions
	noTags     bool              // the folder of the tags was lost
	linked     map[string][]byte // the files in it, where a link in its place led to it
	records    []store.Tag
	found      *salvage // in the packs
	rescued    map[object]rescued
	unread     map[object]pack.Location // what could not be read now, and keeps its record
	failed     map[pack.Frame]error     // frames that only an index leads to and that cannot be decoded
	result     store.RepairResult
	generation uint64 // of the head of the bucket from which the repair begins
	room       int64  // about what the step under way writes, in bytes
}

func (r *repair) did(name, format string, args ...any) {
	if r.o.Did != nil {
		r.o.Did(r.st.Fs.Path(name), fmt.Sprintf(format, args...))
	}
}

// head makes a new head for a bucket where the old one is damaged, and remembers from which one the repair begins.
func (r *repair) head(context.Context) error {
	st := r.st
	if st.Bucket == nil {
		return nil
	}
	if h := st.Bucket.Head(); h != nil {
		r.generation = h.Generation
		return nil
	}
	_, err := st.Bucket.Reload()
	if err != nil && !store.IsCorrupt(err) {
		return err
	}
	if err != nil {
		r.did(bucketfs.HeadName, "%v: rebuilt from the indexes that there are", reasonOf(err))
	}
	if err := st.Bucket.MakeHead(st.Config.ID); err != nil {
		return err
	}
	r.generation = st.Bucket.Head().Generation
	return nil
}

// objects finds what is whole, and rebuilds index and packs where they are not.
func (r *repair) objects(ctx context.Context) (err error) {
	st := r.st
	if err := r.clearPacks(); err != nil {
		return err
	}
	ids, err := st.Packs.IDs()
	if err != nil {
		return err
	}
	r.found = &salvage{
		st: st, progress: r.o.Progress, objects: index.NewBuilder(st.Fs, st.Limits.Objects), packs: make(map[pack.ID]*salvagedPack),
	}
	defer func() { err = errors.Join(err, r.found.objects.Close()) }()
	if err := r.found.run(ctx, ids); err != nil {
		return err
	}
	r.room = index.FootLen + int64(len(r.found.objects.Frames()))*index.FrameLen + int64(r.found.objects.Len())*index.RecordLen + blockSize
	old := *st.Indexes.Load()
	if err := r.rescue(ctx, old); err != nil {
		return err
	}
	x, err := r.found.index(index.Epoch(old))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, index.Close(x)) }()
	r.result.Objects = uint64(x.Len() - len(r.unread) + len(r.rescued))
	sound, err := r.compare(x, old)
	if err != nil {
		return err
	}
	damaged := len(r.rescued) > 0
	for _, id := range ids {
		damaged = damaged || r.found.packs[id].places > 0
	}
	if sound && !damaged {
		return nil
	}
	return r.rebuild(ctx, x)
}

// clearPacks sets aside what is called like a pack and is none.
func (r *repair) clearPacks() error {
	entries, err := r.st.Fs.ReadDir(pack.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if _, ok := pack.ParseName(e.Name()); ok && !e.Type().IsRegular() {
			if err := r.setAside(pack.Dir+"/"+e.Name(), "not a regular file"); err != nil {
				return err
			}
		}
	}
	return nil
}

// unopened reports whether no index is damaged among those that the store, which opened old, has left out. It tells
// what is rebuilt, and sets folders aside.
func (r *repair) unopened(old []*index.Index) (sound bool, err error) {
	st := r.st
	sound = true
	entries, err := st.Fs.ReadDir(index.Dir)
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		known := slices.ContainsFunc(old, func(o *index.Index) bool { return o.Name == e.Name() })
		if known || !strings.HasSuffix(e.Name(), index.Ext) {
			continue
		}
		replaced, err := index.Open(st.Fs, e.Name())
		corrupt := store.IsCorrupt(err)
		switch {
		case err != nil && !corrupt && e.Type().IsRegular() && !errors.Is(err, syscall.EIO) && !errors.Is(err, fs.ErrNotExist):
			return false, err
		case err == nil && replaced.Epoch >= index.Epoch(old):
			return false, errors.Join(fmt.Errorf("%s: could not be read when the store was opened, but can be read now",
				st.Fs.Path(index.Path(e.Name()))), index.Close(replaced))
		case err != nil:
			sound = false
			r.did(index.Path(e.Name()), "%s: rebuilt from the packs", reasonOf(err))
			if e.IsDir() {
				if err := r.setAside(index.Path(e.Name()), "a folder where there should be none"); err != nil {
					return false, err
				}
			}
			continue
		}
		if err := index.Close(replaced); err != nil {
			return false, err
		}
	}
	return sound, nil
}

// compare reports whether the indexes are sound and name nothing that was not found, and counts what they do.
func (r *repair) compare(x *index.Index, old []*index.Index) (sound bool, err error) {
	if sound, err = r.unopened(old); err != nil {
		return false, err
	}
	frames := make(map[pack.Frame]bool, len(r.found.objects.Frames()))
	for _, f := range r.found.objects.Frames() {
		frames[f] = true
	}
	for _, o := range old {
		err := o.Check()
		if err == nil {
			err = r.found.contradicts(o, frames)
		}
		if err != nil {
			sound = false
			r.did(index.Path(o.Name), "%s: rebuilt from the packs", err)
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
			r.did(index.Path(o.Name), "%d objects are not where it says: rebuilt from the packs", moved)
		}
	}
	if known := r.st.Quarantine.Load(); known != nil && known.Swept != nil {
		sound = false
		r.did(index.Dir, "a gc was interrupted: rebuilt from the packs")
	}
	if len(old) == 0 && r.result.Objects > 0 && sound {
		sound = false
		r.did(index.Dir, "no index: rebuilt from the packs")
	}
	return sound, nil
}

// contradicts reports what an index says of packs and frames that they are not.
func (s *salvage) contradicts(x *index.Index, frames map[pack.Frame]bool) error {
	for _, ref := range x.Packs {
		switch p := s.packs[ref.ID]; {
		case p == nil:
			return fmt.Errorf("names %s, which is not there", ref.ID.Path())
		case p.size != ref.Bytes:
			return fmt.Errorf("names %s with %d bytes, which has %d", ref.ID.Path(), ref.Bytes, p.size)
		}
	}
	for n := range x.Frames() {
		if f, ok := x.Frame(n); !ok || !frames[f] {
			return fmt.Errorf("frame %d is not the one at %s offset %d", n, f.Pack.Path(), f.Offset)
		}
	}
	return nil
}

// lostIn counts the records of x that the index found does not have, and those that point at something else.
func (r *repair) lostIn(x, found *index.Index) (lost, moved int, err error) {
	for k := range index.Tables {
		for n := range x.Table(k).Len() {
			key := object{k, *x.Digest(k, n)}
			_, l, valid := x.Record(k, n)
			_, rescued := r.rescued[key]
			_, unread := r.unread[key]
			have, ok := found.Find(k, &key.digest)
			switch {
			case rescued, valid && r.st.Quarantine.Load().IsSwept(&key.digest, l):
				continue
			case unread, !ok:
				lost++
				continue
			case valid: // there may be two of it
				if same, err := r.same(&key.digest, l, have); err != nil {
					return 0, 0, err
				} else if same {
					continue
				}
			}
			moved++
		}
	}
	return lost, moved, nil
}

// same reports whether the object d is at l as well, with the bytes at have, which were found to be right.
func (r *repair) same(d *store.Digest, l, have pack.Location) (bool, error) {
	if l == have {
		return true, nil
	}
	if l.Size != have.Size || (l.Frame.Kind == pack.KindList) != (have.Frame.Kind == pack.KindList) {
		return false, nil
	}
	if err := r.st.Packs.Listed(l, d); err != nil {
		if store.IsCorrupt(err) {
			err = nil
		}
		return false, err
	}
	var sums [2]store.Digest
	for i, at := range []pack.Location{l, have} {
		err := r.st.Packs.Use(at, func(data []byte) error { sums[i] = store.Sum(data); return nil })
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
func (r *repair) rebuild(ctx context.Context, x *index.Index) error {
	st := r.st
	// This comes first, because no process may trust the records of what could not be read.
	st.Quarantine.Store(r.unreadable())
	if err := sealed.WriteQuarantine(st.Fs, r.unreadable(), nil); err != nil {
		return err
	}
	s := st.newSweep()
	s.rescued, s.generation = r.rescued, r.generation
	s.o.Damaged = func(err error) { r.did(pack.Dir, "%v", err) } // it was whole a moment ago
	p, err := s.plan([]*index.Index{x}, nil)
	if err != nil {
		return err
	}
	for id, pk := range r.found.packs {
		if pk.places == 0 {
			if p.packs[id].live == 0 {
				p.packs[id].spare = true // gc may judge of what has nothing to do with damage
			}
			continue
		}
		p.packs[id].rewrite = p.packs[id].live > 0
		p.packs[id].spare = pk.kept
		for _, err := range pk.damage {
			r.did(id.Path(), "%v", err)
		}
		if more := pk.places - len(pk.damage); more > 0 {
			r.did(id.Path(), "and %d more damaged places", more)
		}
	}
	_, live := p.moving()
	r.room = live + p.indexSize()
	if err := s.round(ctx, p); err != nil {
		return err
	}
	r.room = blockSize
	// A damaged index that a crash brings back would not be void: nobody can tell its epoch.
	if err := st.Fs.SyncDir(index.Dir); err != nil {
		return err
	}
	if err := st.resetEpoch(); err != nil {
		return err
	}
	if n := len(r.rescued); n > 0 {
		r.did(pack.Dir, "found %d objects through the index whose frame heads are damaged or wrong", n)
	}
	for id, pk := range p.packs {
		if r.found.packs[id].places > 0 {
			r.did(id.Path(), "%d bytes of it are whole and were moved to a new pack", pk.live)
		}
	}
	return nil
}

// resetEpoch rewrites the only index where no other epoch can follow its own. Both have the same, so that it does not
// matter which one a crash leaves.
func (st Store) resetEpoch() error {
	old := *st.Indexes.Load()
	if len(old) != 1 || index.Epoch(old) < index.LastEpoch {
		return nil
	}
	x, err := st.NewIndex(1, []index.Part{old[0].Part()}, (*index.Index).Check)
	if err != nil {
		return err
	}
	if st.Bucket != nil {
		s := st.newSweep()
		s.generation = st.Bucket.Head().Generation
		return s.swapIn(x, &plan{})
	}
	st.UseIndexes([]*index.Index{x})
	if err := st.Fs.Remove(index.Path(old[0].Name)); err != nil {
		return err
	}
	return st.Fs.SyncDir(index.Dir)
}

package live

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// A store in a bucket has no locks, and a gc may run beside its writers. The head says which indexes count. A commit is
// the replacement of the head by one that names a new index, provided that nobody has replaced it since. Whoever
// removes objects gives the head another epoch. A writer that finds another epoch than the one that it has worked in
// looks for everything on which it has relied, and stores again what is gone: a gc deletes packs only a day after it
// has dropped them. Only then does it commit. So at any time, a head that has a directory also has everything that the
// directory reaches.
//
// A root counts only when a tag or the log names it. While these are written, a pin in the head keeps it; see acknowledge.

// errMoved says that the epoch of the head is not the one that the indexes in use are of.
var errMoved = errors.New("epoch has changed")

// sharedLimits has packs that can be sent while others are made, and commits now and then, so that little is lost.
func sharedLimits() Limits {
	return Limits{Objects: 1 << 18, Bytes: 1 << 30, Pack: 32 << 20, Look: 10 * time.Second}
}

// openShared finds the head of the store, or makes it for one that was copied to the bucket.
func (st *Store) openShared() error {
	st.Limits = sharedLimits()
	st.Bucket.Length = st.packLength
	var err error
	if st.tolerate {
		_, err = sealed.ReadConfig(st.Fs)
	}
	if err == nil { // the config is not lost
		if err := st.Bucket.CheckStore(st.Config.ID); err != nil && !st.tolerate {
			return err
		}
	}
	h := st.Bucket.Head()
	if h == nil {
		if h, err = st.Bucket.Reload(); err == nil && h == nil && !st.ReadOnly {
			err = st.Bucket.MakeHead(st.Config.ID)
			h = st.Bucket.Head()
		}
		if err != nil && !st.tolerate {
			return err
		}
	}
	if h == nil {
		return nil // the indexes that there are count
	}
	st.Config.ID = h.Store // another only where the config is lost
	st.epoch.Store(h.Epoch)
	st.wholeEpoch, st.aged = h.Epoch, time.Now()
	return nil
}

// packLength implements bucketfs.FS.Length.
func (st *Store) packLength(id pack.ID) int64 {
	all := st.Indexes.Load()
	if all == nil {
		return math.MaxInt64 // not open yet
	}
	for _, x := range *all {
		if i := slices.IndexFunc(x.Packs, func(p pack.Length) bool { return p.ID == id }); i >= 0 {
			return x.Packs[i].Bytes
		}
	}
	return math.MaxInt64
}

// refreshShared is Refresh in a bucket. It asks the service once.
func (st *Store) refreshShared() bool {
	h, err := st.Bucket.Reload()
	if err != nil || h == nil || st.Uses(h) {
		return false
	}
	st.commit.Lock()
	defer st.commit.Unlock()
	return st.Uses(h) || st.adopt() == nil
}

// movedAway reports whether a pack could not be read because a gc has moved what is in it: then the object is to be looked up
// once more.
func (st *Store) movedAway(err error) bool {
	return st.Bucket != nil && errors.Is(err, fs.ErrNotExist) && st.refreshShared()
}

// Uses reports whether the indexes in use are those that a head names.
func (st *Store) Uses(h *bucketfs.Head) bool {
	all := *st.Indexes.Load()
	return len(all) == len(h.Indexes) && h.Epoch == st.epoch.Load() &&
		!slices.ContainsFunc(all, func(x *index.Index) bool { return !slices.Contains(h.Indexes, x.Name) })
}

// adopt uses the indexes of the head. The caller holds st.commit, or has the store alone.
func (st *Store) adopt() error {
	if err := st.reopenIndexes(st.tolerate); err != nil {
		return err
	}
	h := st.Bucket.Head() // which reopenIndexes may have loaded again
	if st.epoch.Swap(h.Epoch) != h.Epoch {
		st.moved = true
	}
	return nil
}

// commitShared commits all sessions whose packs are on their way, and pins p; see commitLocked. The caller holds st.commit.
func (st *Store) commitShared(p *bucketfs.Pin) error {
	st.mu.Lock()
	sessions := slices.Clone(st.closing)
	st.mu.Unlock()
	if !slices.ContainsFunc(sessions, func(s *session) bool { return !s.empty() }) {
		h, err := st.Bucket.Reload() // what was relied on may be gone
		if err != nil || h == nil || h.Epoch == st.epoch.Load() && h.Epoch == st.wholeEpoch {
			return err
		}
	}
	st.ageReliance()
	for {
		more, err := st.restore()
		if err != nil {
			return err
		}
		if more != nil {
			sessions = append(sessions, more)
		}
		switch err := st.swapIn(sessions, p); {
		case err == nil:
			for _, s := range sessions {
				st.committed(s)
			}
			return nil
		case !errors.Is(err, errMoved):
			return err
		}
	}
}

// swapIn makes an index of sessions, and puts it into the head, with a pin; see commitLocked.
func (st *Store) swapIn(sessions []*session, p *bucketfs.Pin) error {
	var parts []index.Part
	for _, s := range sessions {
		if !s.empty() {
			parts = append(parts, s.part())
		}
	}
	if len(parts) == 0 {
		return nil
	}
	x, merge, err := st.mergedIndex(parts...)
	if err != nil {
		return err
	}
	now, err := st.Bucket.Now()
	if err == nil {
		err = st.Bucket.Swap(context.Background(), func(h *bucketfs.Head) error {
			if h.Epoch != st.epoch.Load() {
				return errMoved
			}
			for _, p := range x.Packs {
				if h.Condemns(p.ID.Path()) {
					return fmt.Errorf("%s: %w", p.ID.Path(), store.ErrCollected)
				}
			}
			for _, o := range merge {
				h.Condemn(now, index.Path(o.Name))
			}
			h.AddIndex(x.Name)
			if p != nil && !st.moved {
				h.Pin(*p, now)
			}
			return nil
		})
	}
	if err != nil {
		return errors.Join(err, index.Close(x))
	}
	for _, s := range sessions {
		s.rely(x)
		st.Bucket.Arrived(s.out.Lengths())
	}
	st.insteadOf(x, merge)
	return nil
}

// rely says that this process relies on what it has stored.
func (s *session) rely(x *index.Index) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range index.Tables {
		for d := range s.objects[k.Table()] {
			x.Rely(k, &d)
		}
	}
}

// restore uses the indexes of the newest head, and stores again what this process has relied on and what is not in them any
// more. It returns the session of that, whose packs are on their way, or nil. The caller holds st.commit.
func (st *Store) restore() (*session, error) {
	h := st.Bucket.Head()
	if h.Epoch != st.epoch.Load() {
		if err := st.adopt(); err != nil {
			return nil, err
		}
	}
	if st.wholeEpoch == st.epoch.Load() {
		return nil, nil
	}
	if err := st.stillSent(); err != nil {
		return nil, err
	}
	for _, x := range st.Retired {
		for k := range index.Tables {
			for n := range x.Relied(k) {
				if err := st.putAgain(k, *x.Digest(k, n)); err != nil {
					return nil, err
				}
			}
		}
	}
	s := st.nextSession()
	if err := st.publishPacks(s); err != nil {
		return nil, err
	}
	st.wholeEpoch = st.epoch.Load()
	return s, nil
}

// stillSent returns an error if a pack that was sent, and that no index names yet, is gone: a gc takes one that nobody names
// for days for garbage.
func (st *Store) stillSent() error {
	waiting := st.Bucket.Waiting()
	objects, err := st.Bucket.Objects(pack.Dir)
	if err != nil {
		return err
	}
	for _, name := range waiting {
		if !slices.ContainsFunc(objects, func(o bucket.Object) bool { return o.Name == name }) {
			return fmt.Errorf("%s: %w", st.Fs.Path(name), store.ErrCollected)
		}
	}
	return nil
}

// ageReliance forgets after some hours what was relied on. A server would otherwise store again whatever it has seen since it
// was started. A gc leaves alone what was stored less than a day ago, so twice the period must be less. Whoever takes
// longer than that to record a root may be told to begin again, because all that the root reaches is looked for then.
func (st *Store) ageReliance() {
	const period = 8 * time.Hour
	if time.Since(st.aged) < period {
		return
	}
	st.aged = time.Now()
	for _, x := range slices.Concat(*st.Indexes.Load(), st.Retired) {
		x.AgeReliance()
	}
}

// putAgain stores an object that a gc has dropped, and all that it refers to, from where it was before.
func (st *Store) putAgain(k pack.Kind, d store.Digest) error {
	if st.Has(k, &d) {
		return nil // with all that it refers to
	}
	l, ok := st.findRetired(k, &d)
	if !ok {
		return fmt.Errorf("%s: %w", d, store.ErrCollected)
	}
	err := st.putReferences(k, d, l)
	if err == nil {
		err = st.Packs.Use(l, func(data []byte) error {
			if l.Frame.Kind != pack.KindList {
				if err := st.verify(d, l, data); err != nil {
					return err
				}
			}
			return st.Put(l.Frame.Kind, 0, d, data)
		})
	}
	if store.IsCorrupt(err) {
		err = fmt.Errorf("%w (%v)", store.ErrCollected, err)
	}
	return err
}

// findRetired returns where an object was by an index that is not in use any more.
func (st *Store) findRetired(k pack.Kind, d *store.Digest) (l pack.Location, ok bool) {
	for _, x := range slices.Backward(st.Retired) {
		if l, ok = x.Find(k, d); ok {
			return l, true
		}
	}
	return l, false
}

// putReferences stores what the object d at l refers to.
func (st *Store) putReferences(k pack.Kind, d store.Digest, l pack.Location) error {
	switch {
	case l.Frame.Kind == pack.KindList:
		for c, err := range st.Packs.Chunks(l, nil) {
			if err == nil {
				err = st.putAgain(pack.KindData, c.Digest)
			}
			if err != nil {
				return err
			}
		}
	case k == pack.KindDirectory:
		var dir store.Directory
		err := st.Packs.Use(l, func(data []byte) (err error) { dir, err = store.DecodeDirectory(data); return err })
		if err != nil {
			return &store.CorruptError{Digest: d, Where: st.Fs.Path(l.String()), Err: err}
		}
		for _, n := range dir {
			if n.Kind == store.KindSymlink {
				continue
			}
			if err := st.putAgain(pack.TableKind(n.Kind), n.Digest); err != nil {
				return err
			}
		}
	}
	return nil
}

// UseOnly uses an index in the place of all others, with which this process has made the head of a new epoch. The caller has
// the store alone, as far as this process is concerned.
func (st *Store) UseOnly(x *index.Index) {
	st.UseIndexes([]*index.Index{x})
	st.epoch.Store(st.Bucket.Head().Epoch)
	st.wholeEpoch = st.epoch.Load()
	st.Bucket.Arrived(x.Packs)
}

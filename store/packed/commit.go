package packed

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"slices"
	"strconv"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/table"
)

// Sync commits everything that was put before. In this order, each step after the last has succeeded:
//
//  1. the frames of the session are written, and its packs synced (fsync);
//  2. the packs are renamed from tmp/ to packs/, and packs/ synced: they have their names;
//  3. the new index is written to tmp/ and synced;
//  4. it is renamed into index/: the commit;
//  5. index/ is synced: the commit is durable;
//  6. indexes that were merged into the new one are removed.
//
// An error ends all writing to the store: what was synced in vain cannot be synced again.
func (st *Store) Sync(context.Context) error {
	st.commit.Lock()
	defer st.commit.Unlock()
	return st.commitLocked()
}

func (st *Store) commitLocked() error {
	if err := st.writable(); err != nil {
		if errors.Is(err, store.ErrReadOnly) {
			return nil // nothing can have been put
		}
		return err
	}
	st.mu.Lock()
	s := st.current
	st.current = newSession(st)
	st.sealed = append(slices.Clone(st.sealed), s)
	st.mu.Unlock()
	err := st.commitSession(s)
	st.mu.Lock()
	st.sealed = slices.DeleteFunc(slices.Clone(st.sealed), func(o *session) bool { return o == s && err == nil })
	st.mu.Unlock()
	if err != nil {
		return st.fail(err)
	}
	return nil
}

func (st *Store) commitSession(s *session) error {
	for _, g := range s.seal() {
		if err := s.write(g); err != nil {
			return err
		}
	}
	s.writing.Wait()
	if err := st.writable(); err != nil {
		return err // another writer's, perhaps
	}
	if s.empty() {
		return st.settle()
	}
	if err := st.publishPacks(s); err != nil {
		return err
	}
	if err := st.publishIndex(s.part()); err != nil {
		return err
	}
	return st.settle()
}

// settle makes durable what other processes committed and this one found: one that was killed between the renaming and
// the syncing left a store or an index behind that is there to be seen and that a power cut may still take away. So may it
// bring back a file of the quarantine, with what is whole and was taken for stored.
func (st *Store) settle() error {
	if err := st.fs.SyncDir("."); err != nil {
		return err
	}
	_, err := st.fs.Stat(quarantineDir)
	if err == nil {
		err = st.fs.SyncDir(quarantineDir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return st.fs.SyncDir(indexDir)
}

// publishPacks syncs the packs of a session and gives them their names.
func (st *Store) publishPacks(s *session) error {
	writers := s.packWriters()
	for _, w := range writers {
		if err := w.file.Sync(); err != nil {
			return err
		}
	}
	for _, w := range writers {
		if err := st.fs.Rename(tmpPath(w.id.String()), packPath(w.id)); err != nil {
			return err
		}
	}
	if err := st.fs.SyncDir(packsDir); err != nil {
		return err
	}
	for _, w := range writers {
		st.packs.unpin(w.id)
	}
	return nil
}

// publishIndex commits an index of part and of the smaller indexes that are there, which it replaces.
func (st *Store) publishIndex(part indexPart) error {
	old := *st.indexes.Load()
	merge := toMerge(st.mergeable(old), table.Count(part.blobs...)+table.Count(part.dirs...))
	parts := []indexPart{part}
	for _, x := range merge {
		parts = append(parts, x.part())
	}
	name, err := st.writeIndexFile(epochOf(old), parts)
	if err != nil {
		return err
	}
	x, err := st.openIndex(name)
	if err != nil {
		return err
	}
	all := []*index{x}
	for _, o := range old {
		if !slices.Contains(merge, o) {
			all = append(all, o)
		}
	}
	st.indexes.Store(&all)
	for _, o := range merge {
		// Another process may have merged and removed it too. One that stays is only searched in vain.
		st.fs.Remove(indexPath(o.name))
		o.file.Evict(o.data) // all of it was read just now
	}
	st.retired = append(st.retired, merge...)
	return nil
}

// writeIndexFile writes an index durably and returns its name. The error is a *fullError where there was no room for it,
// and nothing is left of it then.
func (st *Store) writeIndexFile(epoch uint32, parts []indexPart) (name string, err error) {
	name = st.newIndexName()
	f, err := st.fs.Create(tmpPath(name))
	if err != nil {
		return "", orFull(err)
	}
	w := bufio.NewWriterSize(f, 64<<10)
	if err = writeIndex(w, epoch, parts); err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = st.fs.Rename(tmpPath(name), indexPath(name))
	}
	if err != nil {
		st.fs.Remove(tmpPath(name)) // the first error is the one to report
		return "", orFull(err)
	}
	if err := st.fs.SyncDir(indexDir); err != nil {
		// It can be seen, and will perhaps never be durable: nobody may build on it.
		st.fs.Remove(indexPath(name))
		return "", err
	}
	return name, nil
}

// mergeable returns the indexes that have no records of damaged objects.
func (st *Store) mergeable(indexes []*index) []*index {
	damaged := st.quarantine.Load()
	return slices.DeleteFunc(slices.Clone(indexes), damaged.touches)
}

// newIndexName returns a name that sorts after those of all indexes here, also where the clock was set back.
func (st *Store) newIndexName() string {
	stamp := fmt.Sprintf("%016x", time.Now().UnixNano())
	for _, x := range *st.indexes.Load() {
		if len(x.name) < 16 || x.name[:16] < stamp {
			continue
		}
		if newest, err := strconv.ParseUint(x.name[:16], 16, 64); err == nil && newest < math.MaxUint64 {
			stamp = fmt.Sprintf("%016x", newest+1)
		}
	}
	return stamp + "-" + durable.TempName() + indexExt
}

// toMerge returns the indexes that a new one with that many objects should take in: from the smallest up, each that is
// not more than twice as large as what is merged before it. So sizes grow at least twofold from index to index, their
// number with the logarithm of the store, and each object is written again only as often. A damaged index is left
// alone: a merge would put its own checksum on the damage.
func toMerge(indexes []*index, objects int) (merge []*index) {
	size := func(x *index) int { return x.blobs.Len() + x.dirs.Len() }
	bySize := slices.SortedFunc(slices.Values(indexes), func(a, b *index) int { return cmp.Compare(size(a), size(b)) })
	for _, x := range bySize {
		if size(x) > 2*objects {
			break
		}
		if x.check() != nil {
			continue
		}
		objects += size(x)
		merge = append(merge, x)
	}
	// The newest first, as in the store: of an object in several, that copy is the one to keep.
	slices.SortFunc(merge, func(a, b *index) int { return cmp.Compare(b.name, a.name) })
	return merge
}

// Close releases the store. What was not synced is discarded.
func (st *Store) Close() error {
	st.commit.Lock()
	defer st.commit.Unlock()
	st.mu.Lock()
	sessions := append(slices.Clone(st.sealed), st.current)
	if st.failure == nil {
		st.failure = errors.New("store is closed")
	}
	st.mu.Unlock()
	err := st.packs.close()
	for _, s := range sessions {
		for _, w := range s.packWriters() {
			st.fs.Remove(tmpPath(w.id.String())) // the next who opens the store alone removes it otherwise
		}
	}
	err = errors.Join(err, closeIndexes(*st.indexes.Swap(new([]*index))), closeIndexes(st.retired))
	st.retired = nil
	err = errors.Join(err, st.lock.Close())
	if st.closeFS != nil {
		err = errors.Join(err, st.closeFS())
	}
	return err
}

package live

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// Sync commits everything that was put before. Each of these steps follows the success of the last:
//
//  1. the frames of the session are written, and its packs synced (fsync);
//  2. the packs are renamed from tmp/ to packs/, and packs/ synced: they have their names;
//  3. the new index is written to tmp/ and synced;
//  4. it is renamed into index/: the commit;
//  5. index/ is synced: the commit is durable;
//  6. indexes that were merged into the new one are removed.
//
// An error ends all writing to the store: after a sync that failed, another one proves nothing.
//
// In a bucket the commit is another one; see inbucket.go.
func (st *Store) Sync(context.Context) error {
	st.commit.Lock()
	defer st.commit.Unlock()
	return st.commitLocked(nil)
}

// commitLocked is Sync for a caller that holds st.commit. In a bucket it also pins p, unless p is nil or the epoch has changed.
func (st *Store) commitLocked(p *bucketfs.Pin) error {
	if err := st.Writable(); err != nil {
		if errors.Is(err, store.ErrReadOnly) {
			return nil // nothing can have been put
		}
		return err
	}
	s := st.nextSession()
	err := st.commitSession(s, p)
	if err != nil {
		return st.Fail(err)
	}
	st.committed(s)
	return nil
}

// nextSession begins another session and returns the one before, which is to be committed.
func (st *Store) nextSession() *session {
	st.mu.Lock()
	defer st.mu.Unlock()
	s := st.current
	st.current = newSession(st)
	st.closing = append(slices.Clone(st.closing), s)
	return s
}

// committed forgets a session whose objects are in the indexes.
func (st *Store) committed(s *session) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closing = slices.DeleteFunc(slices.Clone(st.closing), func(o *session) bool { return o == s })
}

func (st *Store) commitSession(s *session, p *bucketfs.Pin) error {
	if err := st.publishPacks(s); err != nil {
		return err
	}
	if st.Bucket != nil {
		return st.commitShared(p)
	}
	if s.empty() {
		return st.settle()
	}
	if err := st.publishIndex(s.part()); err != nil {
		return err
	}
	return st.settle()
}

// publishPacks gives the packs of a session their names, when all is in them.
func (st *Store) publishPacks(s *session) error {
	for _, g := range s.end() {
		if err := s.write(g); err != nil {
			return err
		}
	}
	s.writing.Wait()
	if err := st.Writable(); err != nil || s.empty() {
		return err // another writer's, perhaps
	}
	return s.out.Publish()
}

// settle makes durable what other processes committed and this one relies on. A process that is killed between a rename and
// its sync leaves a store, or an index, that others see and that a power cut may still take away. A power cut may also bring
// back a file of the quarantine, which names objects that are whole by now and count as stored.
func (st *Store) settle() error {
	if err := st.Fs.SyncDir("."); err != nil {
		return err
	}
	_, err := st.Fs.Stat(sealed.QuarantineDir)
	if err == nil {
		err = st.Fs.SyncDir(sealed.QuarantineDir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return st.Fs.SyncDir(index.Dir)
}

// publishIndex commits an index of part and of the smaller indexes of the store, which it replaces.
func (st *Store) publishIndex(part index.Part) error {
	x, merge, err := st.mergedIndex(part)
	if errors.Is(err, errReplaced) {
		return st.reopenIndexes(false)
	}
	if err != nil {
		return err
	}
	st.insteadOf(x, merge)
	for _, o := range merge {
		// Another process may have merged and removed it too. An index that stays only makes searches slower.
		st.Fs.Remove(index.Path(o.Name))
		o.Evict() // all of it was read just now
	}
	return nil
}

// reopenIndexes uses the indexes that there are now; see openIndexes. The caller holds st.commit, or has the store alone.
func (st *Store) reopenIndexes(tolerate bool) error {
	old := append([]*index.Index{}, *st.Indexes.Load()...) // not nil
	all, err := st.openIndexes(old, tolerate)
	if err == nil {
		st.UseIndexes(all)
	}
	return err
}

// errReplaced says that an index was committed, and that another process has merged it into its own and removed it since.
var errReplaced = errors.New("another process has replaced the index")

// mergedIndex makes an index of parts and of the smaller indexes of the store, which it can replace. The error is
// errReplaced if another process merged and removed the new index before it could be opened.
func (st *Store) mergedIndex(parts ...index.Part) (x *index.Index, merge []*index.Index, err error) {
	old, size := *st.Indexes.Load(), 0
	for _, p := range parts {
		size += p.Len()
	}
	merge = index.ToMerge(st.mergeable(old), size)
	for _, x := range merge {
		parts = append(parts, x.Part())
	}
	x, err = st.NewIndex(index.Epoch(old), parts, nil)
	return x, merge, err
}

// insteadOf uses an index in the place of others.
func (st *Store) insteadOf(x *index.Index, others []*index.Index) {
	rest := slices.DeleteFunc(slices.Clone(*st.Indexes.Load()), func(o *index.Index) bool { return slices.Contains(others, o) })
	st.UseIndexes(append([]*index.Index{x}, rest...))
}

// UseIndexes replaces the indexes in use. The replaced ones stay open until Close, because somebody may still read them. The
// caller holds st.commit or has the store alone.
func (st *Store) UseIndexes(all []*index.Index) {
	for _, x := range *st.Indexes.Swap(&all) {
		if !slices.Contains(all, x) {
			st.Retired = append(st.Retired, x)
		}
	}
}

// NewIndex writes an index durably and opens it. If check, which may be nil, finds fault with it, it is removed again.
func (st *Store) NewIndex(epoch uint32, parts []index.Part, check func(*index.Index) error) (*index.Index, error) {
	name, err := st.WriteIndexFile(epoch, parts)
	if err != nil {
		return nil, err
	}
	x, err := index.Open(st.Fs, name)
	if err == nil && st.Bucket != nil {
		x.TrackReliance()
	}
	if check == nil {
		if errors.Is(err, fs.ErrNotExist) && st.Bucket == nil {
			err = fmt.Errorf("%w: %w", errReplaced, err)
		}
		return x, err
	}
	if err == nil {
		if err = check(x); err == nil {
			return x, nil
		}
		err = errors.Join(err, index.Close(x))
	}
	st.Fs.Remove(index.Path(name))
	return nil, errors.Join(err, st.Fs.SyncDir(index.Dir))
}

// WriteIndexFile writes an index durably and returns its name. If there is no room for it, the error is a *fullError, and
// nothing is left of the file.
func (st *Store) WriteIndexFile(epoch uint32, parts []index.Part) (name string, err error) {
	name = index.NewName(*st.Indexes.Load())
	tmp := pack.TempPath(name)
	err = durable.NewFileFunc(st.Fs, tmp, true, func(w io.Writer) error { return index.Write(w, epoch, parts) })
	if err == nil {
		if err = st.Fs.Rename(tmp, index.Path(name)); err != nil {
			st.Fs.Remove(tmp) // the first error is the one to report
		}
	}
	if err != nil {
		return "", OrFull(err)
	}
	if err := st.Fs.SyncDir(index.Dir); err != nil {
		// Others can see it, and it may never be durable: nobody may build on it.
		st.Fs.Remove(index.Path(name))
		return "", err
	}
	return name, nil
}

// mergeable returns the indexes that have no record of a damaged object.
func (st *Store) mergeable(indexes []*index.Index) []*index.Index {
	damaged := st.Quarantine.Load()
	return slices.DeleteFunc(slices.Clone(indexes), damaged.Touches)
}

// Close releases the store. What was not synced is discarded.
func (st *Store) Close() error {
	st.commit.Lock()
	defer st.commit.Unlock()
	st.mu.Lock()
	sessions := append(slices.Clone(st.closing), st.current)
	if st.failure == nil {
		st.failure = errors.New("store is closed")
	}
	st.mu.Unlock()
	err := st.Packs.Close()
	for _, s := range sessions {
		s.out.RemoveTemp()
	}
	err = errors.Join(err, index.Close(*st.Indexes.Swap(new([]*index.Index))...), index.Close(st.Retired...))
	st.Retired = nil
	err = errors.Join(err, st.lock.Close())
	if st.CloseFS != nil {
		err = errors.Join(err, st.CloseFS())
	}
	return err
}

// fullError says that there was no room for something that nobody has built on, so that writing may go on.
type fullError struct{ error }

func (e *fullError) Unwrap() error { return e.error }

// OrFull returns err as a *fullError where the disk, or what a user may take of it, is full.
func OrFull(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &fullError{err}
	}
	return err
}

// IsFull reports whether an error says that there was no room for something that nobody has built on.
func IsFull(err error) bool {
	_, full := errors.AsType[*fullError](err)
	return full
}

// roomSize is how much must fit in the store for it to have room, in bytes: several groups and an index.
const roomSize = 4 << 20

// Room returns an error while there is no room in the store. It writes a file and removes it: only that also tells of
// quotas.
func (st *Store) Room(ctx context.Context) error {
	data := make([]byte, roomSize)
	_, _ = rand.Read(data) // a file system may compress
	name := pack.TempPath("room-" + rand.Text())
	if err := durable.NewFile(st.Fs, name, data, true); err != nil {
		return err
	}
	return errors.Join(st.Fs.Remove(name), ctx.Err())
}

package care

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// packState is what is known of a pack.
type packState struct {
	want int64 // length that the indexes have, 0 where none does
	size int64 // of the file
	lost error // why it cannot be read at all, or nil
	err  error // what is wrong with it, or nil
}

// lost reports whether a frame cannot be read, because of its pack.
func (s *scrubber) lost(f pack.Frame) bool {
	p := s.packs[f.Pack]
	return p != nil && (p.lost != nil || f.End() > p.size)
}

// fileDamage is something wrong with a file of the store.
func (st Store) fileDamage(what store.DamageKind, name string, err error) store.Damage {
	where, err := st.explain(st.Fs.Path(name), err)
	return store.Damage{What: what, Where: where, Err: err}
}

// explain returns the place that err names, or otherwise where, and the reason without the place.
func (st Store) explain(where string, err error) (string, error) {
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		err = c.Err
		if c.Where != "" {
			where = c.Where
		}
	}
	path, _, _ := strings.Cut(where, " offset ")
	return where, pack.WithoutPlace(path, err)
}

// checkFiles looks at all files but the contents of packs, and at the folders they are in. Packs are reported later,
// when it is known what is lost with them.
func (s *scrubber) checkFiles(quarantine []error, found func(store.Damage)) {
	if _, err := sealed.ReadConfig(s.st.Fs); err != nil {
		found(s.st.fileDamage(store.DamageConfig, sealed.ConfigName, err))
	}
	for _, err := range quarantine {
		found(s.st.fileDamage(store.DamageState, sealed.QuarantineDir, err))
	}
	if s.st.Bucket != nil {
		if _, err := s.st.Bucket.Reload(); err != nil {
			found(s.st.fileDamage(store.DamageIndex, bucketfs.HeadName, err))
		}
	}
	s.checkIndexes(found)
	s.checkPacks(found)
	s.names(store.DamageConfig, pack.TempDir, found) // without it nothing can be stored
	known := map[string]bool{
		sealed.ConfigName: true, sealed.LockName: true, sealed.LogName: true, sealed.GivenUpName: true, stateName: true,
		pack.Dir: true, index.Dir: true, sealed.TagsDir: true, pack.TempDir: true, sealed.QuarantineDir: true,
		bucketfs.HeadName: true, bucketLock: true,
	}
	for _, name := range s.names(store.DamageConfig, ".", found) {
		if !known[name] {
			found(s.unknown(name))
		}
	}
}

// bucketLock is a file of a bucket that is a folder.
const bucketLock = "swap"

func (s *scrubber) names(what store.DamageKind, dir string, found func(store.Damage)) (names []string) {
	entries, err := s.st.Fs.ReadDir(dir)
	if err != nil {
		found(s.st.fileDamage(what, dir, err))
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// harmless is something wrong with a file by which nothing is lost.
func (s *scrubber) harmless(what store.DamageKind, name string, err error) store.Damage {
	d := s.st.fileDamage(what, name, err)
	d.Harmless = true
	return d
}

func (s *scrubber) unknown(path string) store.Damage {
	return s.harmless(store.DamageUnknown, path, errors.New("not a file of the store"))
}

// checkIndexes reads all of every index, and finds those that could not be opened.
func (s *scrubber) checkIndexes(found func(store.Damage)) {
	for _, x := range s.indexes {
		if err := x.Check(); err != nil {
			s.damaged[x] = err
			found(s.st.fileDamage(store.DamageIndex, index.Path(x.Name), err))
		}
	}
	for _, name := range s.names(store.DamageIndex, index.Dir, found) {
		if index.HasName(s.indexes, name) {
			continue
		}
		if !strings.HasSuffix(name, index.Ext) {
			found(s.unknown(index.Path(name)))
			continue
		}
		x, err := index.Open(s.st.Fs, name)
		if err == nil {
			void, wasThere := x.Epoch < index.Epoch(s.indexes), func(e fs.DirEntry) bool { return e.Name() == name }
			index.Close(x)
			if void || !s.indexFilesUnread && !slices.ContainsFunc(s.indexFiles, wasThere) {
				continue // another process has just made it, or was to remove it
			}
			err = errUnopened
		}
		if errors.Is(err, store.ErrNewer) {
			s.newer(err)
		} else if s.st.counts(name) { // otherwise another process has just replaced it
			found(s.st.fileDamage(store.DamageIndex, index.Path(name), err))
		}
	}
}

// counts reports whether an index is still a part of the store.
func (st Store) counts(name string) bool {
	if st.Bucket != nil {
		h, err := st.Bucket.Reload()
		return err == nil && (h == nil || slices.Contains(h.Indexes, name))
	}
	_, err := st.Fs.Stat(index.Path(name))
	return err == nil
}

// errUnopened is what is wrong with an index that was not looked at, though it can be opened now.
var errUnopened = errors.New("could be read only on the second try: verify again")

// checkPacks looks at every pack that an index names, and names the others.
func (s *scrubber) checkPacks(found func(store.Damage)) {
	for _, x := range s.indexes {
		for _, ref := range x.Packs {
			p := s.packs[ref.ID]
			if p == nil {
				p = &packState{}
				s.packs[ref.ID] = p
			}
			if s.damaged[x] == nil {
				p.want = max(p.want, ref.Bytes)
			}
		}
	}
	names := s.names(store.DamagePack, pack.Dir, found) // in a bucket, with the lengths, in one call
	_ = runParallel(context.Background(), waiters, maps.Keys(s.packs), func(id pack.ID) error {
		s.packs[id].lost = s.openPack(id, s.packs[id])
		return nil
	})
	for _, name := range names {
		id, ok := pack.ParseName(name)
		switch p := s.packs[id]; {
		case !ok:
			found(s.unknown(pack.Dir + "/" + name))
		case p == nil:
			if err := s.st.Packs.Newer(id); errors.Is(err, store.ErrNewer) {
				s.newer(err)
				continue
			}
			err := errors.New("no index names it: it is being written, or is left from an interrupted write")
			found(s.harmless(store.DamagePack, id.Path(), err))
		case p.want > 0 && p.size > p.want:
			err := fmt.Errorf("%d bytes, but the index records only %d", p.size, p.want)
			found(s.harmless(store.DamagePack, id.Path(), err))
		}
	}
}

// openPack measures a pack and reads its head. It returns why the pack cannot be read.
func (s *scrubber) openPack(id pack.ID, p *packState) (err error) {
	if p.size, err = s.st.Packs.Size(id); err != nil {
		fi, serr := s.st.Fs.Stat(id.Path())
		if errors.Is(serr, fs.ErrNotExist) || serr == nil && !fi.Mode().IsRegular() {
			return &store.CorruptError{Where: s.st.Fs.Path(id.Path()), Err: causeOf(err)}
		}
		return err
	}
	if p.size < p.want {
		p.err = fmt.Errorf("cut short: %d bytes, want %d", p.size, p.want)
		return nil
	}
	switch _, err := s.st.Packs.Role(id); {
	case errors.Is(err, store.ErrNewer): // an index of this format names it
		p.err = pack.ErrVersion
	case err != nil:
		p.err = causeOf(err)
	}
	return nil
}

// causeOf returns what is wrong without the place.
func causeOf(err error) error {
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		return c.Err
	}
	return err
}

package packed

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"castar/store"
)

// packState is what is known of a pack.
type packState struct {
	want int64 // length that the indexes have, 0 where none does
	size int64 // of the file
	lost error // why it cannot be read at all, or nil
	err  error // what is wrong with it, or nil
}

// lost reports whether a frame cannot be read, because of its pack.
func (s *scrubber) lost(f frameRef) bool {
	p := s.packs[f.pack]
	return p != nil && (p.lost != nil || f.end() > p.size)
}

// fileDamage is something wrong with a file of the store.
func (st *Store) fileDamage(what store.What, name string, err error) store.Damage {
	where, err := st.explain(st.fs.Path(name), err)
	return store.Damage{What: what, Where: where, Err: err}
}

// explain returns the place that err names, or otherwise where, and the reason without the place.
func (st *Store) explain(where string, err error) (string, error) {
	if c, ok := errors.AsType[*store.CorruptError](err); ok {
		err = c.Err
		if c.Where != "" {
			where = c.Where
		}
	}
	path, _, _ := strings.Cut(where, " offset ")
	if inner := errors.Unwrap(err); inner != nil && strings.HasPrefix(err.Error(), path+": ") {
		err = inner
	}
	return where, err
}

// checkFiles looks at all files but the contents of packs, and at the folders they are in. Packs are reported later,
// when it is known what is lost with them.
func (s *scrubber) checkFiles(quarantine []error, found func(store.Damage)) {
	if _, err := readConfig(s.st.fs); err != nil {
		found(s.st.fileDamage(store.WhatConfig, configName, err))
	}
	for _, err := range quarantine {
		found(s.st.fileDamage(store.WhatState, quarantineDir, err))
	}
	s.checkIndexes(found)
	s.checkPacks(found)
	s.eachName(store.WhatConfig, tmpDir, found, func(string) {}) // without it nothing can be stored
	known := map[string]bool{
		configName: true, lockName: true, logName: true, stateName: true,
		packsDir: true, indexDir: true, tagsDir: true, tmpDir: true, quarantineDir: true,
	}
	s.eachName(store.WhatConfig, ".", found, func(name string) {
		if !known[name] {
			found(s.unknown(name))
		}
	})
}

// eachName calls visit for all names in a folder.
func (s *scrubber) eachName(what store.What, dir string, found func(store.Damage), visit func(name string)) {
	entries, err := s.st.fs.ReadDir(dir)
	if err != nil {
		found(s.st.fileDamage(what, dir, err))
	}
	for _, e := range entries {
		visit(e.Name())
	}
}

func (s *scrubber) unknown(path string) store.Damage {
	d := s.st.fileDamage(store.WhatUnknown, path, errors.New("not a file of the store"))
	d.Harmless = true
	return d
}

// checkIndexes reads all of every index, and finds those that could not be opened.
func (s *scrubber) checkIndexes(found func(store.Damage)) {
	open := map[string]bool{}
	for _, x := range s.indexes {
		open[x.name] = true
		if err := x.check(); err != nil {
			s.damaged[x] = err
			found(s.st.fileDamage(store.WhatIndex, indexPath(x.name), err))
		}
	}
	s.eachName(store.WhatIndex, indexDir, found, func(name string) {
		switch {
		case open[name]:
			return
		case !strings.HasSuffix(name, indexExt):
			found(s.unknown(indexPath(name)))
			return
		}
		x, err := s.st.openIndex(name)
		if err == nil {
			void := x.epoch < epochOf(s.indexes)
			closeIndexes([]*index{x})
			if void || !s.wasThere(name) {
				return // another process has just made it, or was to remove it
			}
			err = errUnopened
		}
		if _, serr := s.st.fs.Stat(indexPath(name)); serr == nil { // otherwise another process has just replaced it
			found(s.st.fileDamage(store.WhatIndex, indexPath(name), err))
		}
	})
}

// errUnopened is what is wrong with an index of which nothing was looked at, though it can be opened now.
var errUnopened = errors.New("is read only at a second try: verify again")

// wasThere reports whether an index was in its folder before the scrub looked for new ones, and so should be open.
func (s *scrubber) wasThere(name string) bool {
	return s.unlisted || slices.ContainsFunc(s.listed, func(e fs.DirEntry) bool { return e.Name() == name })
}

// checkPacks looks at every pack that an index names, and names the others.
func (s *scrubber) checkPacks(found func(store.Damage)) {
	for _, x := range s.indexes {
		for _, ref := range x.packs {
			p := s.packs[ref.id]
			if p == nil {
				p = &packState{}
				s.packs[ref.id] = p
			}
			if s.damaged[x] == nil {
				p.want = max(p.want, ref.length)
			}
		}
	}
	for id, p := range s.packs {
		p.lost = s.openPack(id, p)
	}
	s.eachName(store.WhatPack, packsDir, found, func(name string) {
		id, ok := parsePackName(name)
		switch p := s.packs[id]; {
		case !ok:
			found(s.unknown(packsDir + "/" + name))
		case p == nil:
			d := s.st.fileDamage(store.WhatPack, packPath(id), errors.New("no index names it: it is being written, or was left when something was interrupted"))
			d.Harmless = true
			found(d)
		case p.want > 0 && p.size > p.want:
			d := s.st.fileDamage(store.WhatPack, packPath(id), fmt.Errorf("%d bytes, of which the index knows %d", p.size, p.want))
			d.Harmless = true
			found(d)
		}
	})
}

// openPack measures a pack and reads its head. It returns why the pack cannot be read.
func (s *scrubber) openPack(id packID, p *packState) error {
	f, err := s.st.packs.acquire(id)
	if err != nil {
		fi, serr := s.st.fs.Stat(packPath(id))
		if errors.Is(serr, fs.ErrNotExist) || serr == nil && !fi.Mode().IsRegular() {
			return &store.CorruptError{Where: s.st.fs.Path(packPath(id)), Err: err}
		}
		return s.st.unreadable(frameRef{pack: id}, err)
	}
	defer s.st.packs.release(f)
	if p.size, err = f.file.Size(); err != nil {
		return err
	}
	head := make([]byte, packHeadLen)
	if _, err = f.file.ReadAt(head, 0); err == nil {
		_, err = parsePackHead(head)
	}
	switch {
	case p.size < p.want:
		p.err = fmt.Errorf("cut short: %d bytes, want %d", p.size, p.want)
	case errors.Is(err, io.EOF):
		p.err = errors.New("cut short")
	case err != nil:
		p.err = err
	}
	return nil
}

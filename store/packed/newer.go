package packed

import (
	"context"
	"errors"
	"fmt"

	"castar/store"
)

// newer returns an error that is errFormat if a pack is of a newer program, and so not to be touched. Its head has no
// checksum: where a frame of this format follows, it is only damaged.
func (st *Store) newer(id packID) error {
	p, err := st.packs.acquire(id)
	if err != nil {
		return err
	}
	defer st.packs.release(p)
	var head [packHeadLen]byte
	if _, err := p.file.ReadAt(head[:], 0); err != nil {
		if store.IsCorrupt(st.unreadable(frameRef{pack: id}, err)) {
			return nil
		}
		return err
	}
	if _, err = parsePackHead(head[:]); !errors.Is(err, errFormat) {
		return nil
	}
	size, serr := p.file.Size()
	if serr != nil {
		return serr
	}
	if _, herr := st.readHead(p.file, id, packHeadLen, size); herr == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", st.fs.Path(packPath(id)), err)
}

// newer refuses a store that has something of a newer program in it: what this one does not find there is not lost. An
// index that can be read vouches for the packs that it names.
func (r *repair) newer(context.Context) error {
	if fi, err := r.st.fs.Stat(packsDir); err != nil || !fi.IsDir() {
		return nil // that is mended next
	}
	ids, err := r.st.packsIn()
	if err != nil {
		return err
	}
	named := namedPacks(*r.st.indexes.Load())
	for _, id := range ids {
		if named[id] {
			continue
		}
		if err := r.st.newer(id); err != nil {
			return err
		}
	}
	return nil
}

// leaveNewer takes packs of a newer program out of a plan, which no index of this one names.
func (s *sweep) leaveNewer(p *plan) error {
	named := namedPacks(p.indexes)
	for id := range p.packs {
		if named[id] {
			continue
		}
		switch err := s.st.newer(id); {
		case errors.Is(err, errFormat):
			delete(p.packs, id)
		case err != nil:
			return err
		}
	}
	return nil
}

// namedPacks returns the packs that indexes name.
func namedPacks(indexes []*index) map[packID]bool {
	named := make(map[packID]bool)
	for _, x := range indexes {
		for _, ref := range x.packs {
			named[ref.id] = true
		}
	}
	return named
}

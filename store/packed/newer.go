package packed

import (
	"context"
	"errors"

	"castar/store/packed/index"
	"castar/store/packed/pack"
)

// newer refuses a store that has something of a newer program in it: what this one does not find there is not lost. An
// index that can be read vouches for the packs that it names.
func (r *repair) newer(context.Context) error {
	if fi, err := r.st.fs.Stat(pack.Dir); err != nil || !fi.IsDir() {
		return nil // that is mended next
	}
	ids, err := r.st.packs.IDs()
	if err != nil {
		return err
	}
	named := index.NamedPacks(*r.st.indexes.Load())
	for _, id := range ids {
		if named[id] {
			continue
		}
		if err := r.st.packs.Newer(id); err != nil {
			return err
		}
	}
	return nil
}

// leaveNewer takes packs of a newer program out of a plan, which no index of this one names.
func (s *sweep) leaveNewer(p *plan) error {
	named := index.NamedPacks(p.indexes)
	for id := range p.packs {
		if named[id] {
			continue
		}
		switch err := s.st.packs.Newer(id); {
		case errors.Is(err, pack.ErrFormat):
			delete(p.packs, id)
		case err != nil:
			return err
		}
	}
	return nil
}

package live

import (
	"slices"

	"castar/store"
	"castar/store/packed/pack"
)

// putRun stores chunks that follow each other in a blob, unless the store has them. data are their bytes, which must not
// change until putRun returns, and at is where these begin in the blob. Neighbours that do not compress share a frame, in
// which they lie as in the blob: an export can clone them at once, and they need padding only once.
func (st *Store) putRun(lane int, at uint64, data []byte, chunks []store.Chunk, inSlot bool) error {
	var run []pack.Item
	var begin, end uint64 // of the run, in data
	flush := func() error {
		err := st.putPlain(lane, at+begin, data[begin:end], run, inSlot)
		run = nil
		return err
	}
	for _, c := range chunks {
		if slices.ContainsFunc(run, func(it pack.Item) bool { return it.Digest == c.Digest }) {
			if err := flush(); err != nil {
				return err
			}
		}
		piece := data[end:][:c.Size]
		has := st.Has(pack.KindData, &c.Digest)
		if !has && st.isPlain(piece, len(run) > 0) {
			if len(run) == 0 {
				begin = end
			}
			run = append(run, pack.Item{Digest: c.Digest, Size: uint32(c.Size)})
			end += c.Size
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		if !has {
			if err := st.put(pack.KindData, lane, c.Digest, piece, nil, inSlot); err != nil {
				return err
			}
		}
		end += c.Size
	}
	return flush()
}

// isPlain reports whether an object of contents is best kept as it is. A short one is so only beside others.
func (st *Store) isPlain(data []byte, beside bool) bool {
	const least = 4 << 10 // of Incompressible
	return (len(data) >= pack.PlainFrom || beside && len(data) >= least) && st.Packs.Incompressible(data)
}

// putPlain is putRun for chunks that do not compress, and differ.
func (st *Store) putPlain(lane int, at uint64, data []byte, chunks []pack.Item, inSlot bool) error {
	if len(chunks) > 1 {
		s, err := st.taking()
		if err != nil {
			return err
		}
		g := s.addGroup(&pack.Group{Kind: pack.KindData, Items: chunks, Raw: data, InBlob: true, At: at})
		if g != nil {
			return st.write(s, g, inSlot)
		}
	}
	for _, c := range chunks { // the only one, or another goroutine has just put one of them
		if err := st.put(pack.KindData, lane, c.Digest, data[:c.Size], &at, inSlot); err != nil {
			return err
		}
		at, data = at+uint64(c.Size), data[c.Size:]
	}
	return nil
}

// write writes a group that add or addGroup returned.
func (st *Store) write(s *session, g *sessionGroup, inSlot bool) error {
	if !inSlot {
		st.Slots <- struct{}{}
		defer func() { <-st.Slots }()
	}
	return s.write(g)
}

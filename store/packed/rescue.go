package packed

import (
	"context"
	"errors"

	"castar/store"
)

// rescued is an object that only an old index leads to: the head of its frame is damaged, and what the head would say of
// the payload the index says as well. Or it is a chunk list that could not be believed without such chunks.
type rescued struct {
	kind   kind
	digest store.Digest
	at     location
}

// rescue finds such objects among those that a salvage did not find. It reads each of their frames.
func (r *repair) rescue(ctx context.Context, found *salvage, old []*index) error {
	whole := make(map[frameRef]bool) // in damaged packs
	for _, f := range found.frames {
		if found.packs[f.pack].places > 0 {
			whole[f] = true
		}
	}
	r.rescued = make(map[rescuedKey]rescued)
	// Chunks and directories first: a list is believed when it can be put together. Lists in sound frames are among them,
	// as a salvage leaves out those of which it did not find a chunk.
	for _, lists := range []bool{false, true} {
		for _, x := range old {
			orphans := make([]bool, x.frames())
			for n := range orphans {
				f, ok := x.frame(n)
				pack := found.packs[f.pack]
				orphaned := pack != nil && (lists || pack.places > 0 && !whole[f])
				orphans[n] = ok && orphaned && (f.kind == kindList) == lists
			}
			for _, k := range []kind{kindData, kindDirectory} {
				if err := r.rescueFrom(ctx, found, x, k, orphans); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rescuedKey names a directory, or a blob or chunk.
type rescuedKey struct {
	directory bool
	digest    store.Digest
}

// rescueFrom rescues what one table of an index has in frames that were not found.
func (r *repair) rescueFrom(ctx context.Context, found *salvage, x *index, k kind, orphans []bool) error {
	t, have := x.table(k), found.blobs
	if k == kindDirectory {
		have = found.dirs
	}
	hopeless := make(map[frameRef]bool)
	for n := range t.Len() {
		rec := t.Record(n)
		d := store.Digest(rec[:store.DigestSize])
		l, ok := x.locate(rec[store.DigestSize:])
		frame, _, _ := splitValue(rec[store.DigestSize:])
		if !ok || !orphans[frame] || hopeless[l.frame] {
			continue
		}
		if _, ok := have.Find(d[:]); ok {
			continue
		}
		data, err := r.st.object(l)
		if _, ok := errors.AsType[*store.CorruptError](err); ok {
			hopeless[l.frame] = true
			continue
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if l.frame.kind == kindList && r.assembles(found, d, data) || l.frame.kind != kindList && store.Sum(data) == d {
			r.rescued[rescuedKey{k == kindDirectory, d}] = rescued{l.frame.kind, d, l}
		}
	}
	return nil
}

// assembles reports whether a chunk list leads to the blob d. Nothing else vouches for it: the checksum of its frame is
// lost with the head.
func (r *repair) assembles(found *salvage, d store.Digest, list []byte) bool {
	chunks, err := parseList(list)
	if err != nil {
		return false
	}
	at := make([]location, len(chunks)) // of all before any is read: most lists that come here lack one
	for i, c := range chunks {
		l, ok := found.locate(c.Digest)
		if !ok {
			l = r.rescued[rescuedKey{false, c.Digest}].at
		}
		if uint64(l.size) != c.Size || l.frame.kind != kindData {
			return false
		}
		at[i] = l
	}
	var h store.Hasher
	for _, l := range at {
		data, err := r.st.object(l)
		if err != nil {
			return false
		}
		h.Write(data)
	}
	return h.Sum() == d
}

// locate returns where a blob or chunk was found.
func (s *salvage) locate(d store.Digest) (l location, ok bool) {
	value, ok := s.blobs.Find(d[:])
	if !ok {
		return l, false
	}
	frame, offset, size := splitValue(value)
	return location{s.frames[frame], offset, size}, true
}

// takeRescued puts rescued objects into new frames.
func (w *rewriter) takeRescued(all map[rescuedKey]rescued) error {
	for _, o := range all {
		data, err := w.st.object(o.at)
		if err != nil {
			return err
		}
		w.extra++
		if g := w.append(o.kind, item{o.digest, o.at.size}, data); g != nil {
			if err := w.write(g); err != nil {
				return err
			}
		}
	}
	return nil
}

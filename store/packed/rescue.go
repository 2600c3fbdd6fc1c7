package packed

import (
	"context"
	"encoding/binary"
	"errors"
	"syscall"

	"castar/store"
)

// rescued is an object that only an old index leads to: the head of its frame is damaged, and what the head would say of
// the payload the index says as well. Or it is a chunk list that could not be believed without such chunks.
type rescued struct {
	kind   kind
	digest store.Digest
	at     location
}

// rescue finds such objects among those that a salvage did not find. It reads each of their frames. Those that the disk
// does not give now keep their records: with the old index gone, nothing else would lead to them on a better day.
func (r *repair) rescue(ctx context.Context, found *salvage, old []*index) error {
	whole := make(map[frameRef]bool) // in damaged packs
	for _, f := range found.frames {
		if found.packs[f.pack].places > 0 {
			whole[f] = true
		}
	}
	r.rescued, r.unread = make(map[rescuedKey]rescued), make(map[rescuedKey]location)
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
	for key := range r.rescued {
		delete(r.unread, key) // there are two of it
	}
	if n := len(r.unread); n > 0 {
		r.did(packsDir, "%d objects cannot be read now, and stay on record", n)
	}
	return found.carry(r.unread)
}

// unreadable returns the places of what keeps its record without having been read.
func (r *repair) unreadable() *quarantine {
	if len(r.unread) == 0 {
		return nil
	}
	q := &quarantine{packs: map[packID]bool{}, places: map[place]struct{}{}}
	for key, l := range r.unread {
		q.packs[l.frame.pack] = false
		q.places[placeOf(&key.digest, l)] = struct{}{}
	}
	return q
}

// carry adds records of objects that were not found.
func (s *salvage) carry(unread map[rescuedKey]location) error {
	if len(unread) == 0 {
		return nil
	}
	numbers := make(map[frameRef]uint32)
	for n, f := range s.frames {
		numbers[f] = uint32(n)
	}
	le := binary.LittleEndian
	for key, l := range unread {
		number, ok := numbers[l.frame]
		if !ok {
			number = uint32(len(s.frames))
			numbers[l.frame] = number
			s.frames = append(s.frames, l.frame)
		}
		objects := s.blobs
		if key.directory {
			objects = s.dirs
		}
		value := le.AppendUint32(le.AppendUint32(le.AppendUint32(nil, number), l.offset), l.size)
		if err := objects.Add(key.digest[:], value); err != nil {
			return err
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
	failed := make(map[frameRef]error)
	for n := range t.Len() {
		rec := t.Record(n)
		d := store.Digest(rec[:store.DigestSize])
		l, ok := x.locate(rec[store.DigestSize:])
		frame, _, _ := splitValue(rec[store.DigestSize:])
		if !ok || !orphans[frame] {
			continue
		}
		if _, ok := have.Find(d[:]); ok {
			continue
		}
		key, data, err := rescuedKey{k == kindDirectory, d}, []byte(nil), failed[l.frame]
		if err == nil {
			if data, err = r.st.object(l); err != nil {
				failed[l.frame] = err
			} else {
				err = r.isObject(found, l.frame.kind, d, data)
			}
		}
		_, damaged := errors.AsType[*store.CorruptError](err)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, syscall.EIO):
			r.unread[key] = l
		case err == nil:
			r.rescued[key] = rescued{l.frame.kind, d, l}
		case !damaged:
			return err
		}
	}
	return nil
}

// isObject reports why data is not the object d: a *store.CorruptError, of the disk where that cannot be told now.
func (r *repair) isObject(found *salvage, k kind, d store.Digest, data []byte) error {
	if k == kindList {
		return r.assembles(found, d, data)
	}
	if store.Sum(data) != d {
		return &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	}
	return nil
}

// assembles reports why a chunk list does not lead to the blob d. Nothing else vouches for it: the checksum of its frame
// is lost with the head.
func (r *repair) assembles(found *salvage, d store.Digest, list []byte) error {
	mismatch := &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
	chunks, err := parseList(list)
	if err != nil {
		return mismatch
	}
	var unread error
	at := make([]location, len(chunks)) // of all before any is read: most lists that come here lack one
	for i, c := range chunks {
		l, ok := found.locate(c.Digest)
		if !ok {
			key := rescuedKey{false, c.Digest}
			if l = r.rescued[key].at; l.size == 0 {
				if l, ok = r.unread[key]; ok {
					unread = &store.CorruptError{Digest: c.Digest, Err: syscall.EIO}
				}
			}
		}
		if uint64(l.size) != c.Size || l.frame.kind != kindData {
			return mismatch
		}
		at[i] = l
	}
	if unread != nil {
		return unread
	}
	var h store.Hasher
	for _, l := range at {
		data, err := r.st.object(l)
		if err != nil {
			return err
		}
		h.Write(data)
	}
	if h.Sum() != d {
		return mismatch
	}
	return nil
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

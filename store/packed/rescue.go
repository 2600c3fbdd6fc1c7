package packed

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"syscall"

	"castar/store"
)

// rescued is an object that only an old index leads to: the head of its frame is damaged, or says something else, and the
// bytes are where the index says all the same. Or it is a chunk list that could not be believed without such chunks.
type rescued struct {
	kind   kind
	digest store.Digest
	at     location
}

// rescue finds such objects among those that a salvage did not find, whatever index has them. Those that the disk does not
// give now keep their records: with the old index gone, nothing else would lead to them on a better day.
func (r *repair) rescue(ctx context.Context, found *salvage, old []*index) error {
	r.rescued, r.unread = make(map[rescuedKey]rescued), make(map[rescuedKey]location)
	r.failed = make(map[frameRef]error)
	found.rescued = func(d store.Digest) (location, bool) {
		o, ok := r.rescued[rescuedKey{false, d}]
		return o.at, ok && o.kind == kindData
	}
	// Chunks and directories first: a list is believed when it can be put together. Lists in sound frames are among them,
	// as a salvage leaves out those of which it did not find a chunk.
	for _, try := range []rescuer{{r, found, kindDirectory}, {r, found, kindData}, {r, found, kindList}} {
		for _, x := range old {
			if err := try.index(ctx, x); err != nil {
				return err
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

// rescuer tries whether what a record leads to is an object of a kind.
type rescuer struct {
	*repair
	found *salvage
	kind  kind
}

// orphan is a record of what was not found.
type orphan struct {
	key rescuedKey
	at  location
}

// index rescues what one index has and nothing else leads to. It goes over the packs in order, again and again where there
// is very much of it, so that frames are decoded about once.
func (r rescuer) index(ctx context.Context, x *index) error {
	const most = 1 << 16
	k, have := kindData, r.found.blobs
	if r.kind == kindDirectory {
		k, have = kindDirectory, r.found.dirs
	}
	var orphans []orphan
	for n := range x.table(k).Len() {
		key := rescuedKey{k == kindDirectory, *x.digest(k, n)}
		_, l, ok := x.record(k, n)
		_, is := r.rescued[key]
		if pack := r.found.packs[l.frame.pack]; !ok || is || pack == nil {
			continue
		}
		if _, ok := have.Find(key.digest[:]); ok {
			continue
		}
		if orphans = append(orphans, orphan{key, l}); len(orphans) == most {
			if err := r.try(ctx, orphans); err != nil {
				return err
			}
			orphans = orphans[:0]
		}
	}
	return r.try(ctx, orphans)
}

// try rescues those of the orphans that are of the kind.
func (r rescuer) try(ctx context.Context, orphans []orphan) error {
	slices.SortFunc(orphans, func(a, b orphan) int {
		return cmp.Or(compareFrames(a.at.frame, b.at.frame), cmp.Compare(a.at.offset, b.at.offset))
	})
	tried := attempts{}
	for _, o := range orphans {
		err := r.failed[o.at.frame]
		if err == nil && tried.enough(o.at) {
			err = r.st.corrupt(o.at.frame, errOutside)
		}
		if err == nil {
			if err = r.examine(ctx, o); err != nil && !errors.Is(err, store.ErrDigestMismatch) && r.kind != kindList {
				r.failed[o.at.frame] = err // of all in it
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, syscall.EIO):
			r.unread[o.key] = o.at
		case err == nil:
			r.rescued[o.key] = rescued{r.kind, o.key.digest, o.at}
		case !store.IsCorrupt(err):
			return err
		}
	}
	return nil
}

// examine reports why the bytes at a place are not the object: a *store.CorruptError, of the disk where that cannot be told
// now.
func (r rescuer) examine(ctx context.Context, o orphan) error {
	mismatch := &store.CorruptError{Digest: o.key.digest, Err: store.ErrDigestMismatch}
	if r.kind == kindList {
		if checkListSize(int64(o.at.size)) != nil {
			return mismatch
		}
		if err := r.unreadChunk(o.at); err != nil {
			return err
		}
		if err := r.found.makesUp(ctx, o.at, o.key.digest); err != errLostChunk {
			return err
		}
		return mismatch
	}
	if r.kind == kindData && o.at.size > maxContents {
		return mismatch
	}
	return r.st.use(o.at, func(data []byte) error {
		if wholeObject(r.kind, o.key.digest, data) != nil {
			return mismatch
		}
		return nil
	})
}

// unreadChunk returns an error of the disk where a chunk of the list at l cannot be read now.
func (r rescuer) unreadChunk(l location) error {
	if len(r.unread) == 0 {
		return nil
	}
	for c, err := range r.st.eachChunk(l, nil) {
		if err != nil {
			return err
		}
		if _, ok := r.unread[rescuedKey{false, c.Digest}]; ok {
			return &store.CorruptError{Digest: c.Digest, Err: syscall.EIO}
		}
	}
	return nil
}

// locate returns where a blob or chunk was found. It may be called concurrently, and while more are added.
func (s *salvage) locate(d store.Digest) (l location, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
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
		w.extra++
		err := w.st.use(o.at, func(data []byte) error {
			if g := w.append(o.kind, item{o.digest, o.at.size}, data); g != nil {
				return w.write(g)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

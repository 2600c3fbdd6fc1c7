package care

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// rescued is an object that only an old index leads to: the head of its frame is damaged, or says something else, and the
// bytes are where the index says all the same. Or it is a chunk list that could not be believed without such chunks. Until
// its bytes were read, it is what may be so.
type rescued struct {
	kind   pack.Kind
	digest store.Digest
	at     pack.Location
}

func (o *rescued) key() object { return object{pack.TableKind(o.kind.Object()), o.digest} }

// rescue finds such objects among those that a salvage did not find, whatever index has them. Those that the disk does not
// give now keep their records: with the old index gone, nothing else would lead to them on a better day.
func (r *repair) rescue(ctx context.Context, old []*index.Index) error {
	r.rescued, r.unread = make(map[object]rescued), make(map[object]pack.Location)
	r.failed = make(map[pack.Frame]error)
	r.found.rescued = func(d store.Digest) (pack.Location, bool) {
		o, ok := r.rescued[object{pack.KindData, d}]
		return o.at, ok && o.kind == pack.KindData
	}
	// Chunks and directories first: a list is believed when it can be put together. This includes lists in sound
	// frames, because a salvage leaves out a list if it did not find one of its chunks.
	for _, k := range []pack.Kind{pack.KindDirectory, pack.KindData, pack.KindList} {
		for _, x := range old {
			if err := r.rescueFrom(ctx, x, k); err != nil {
				return err
			}
		}
	}
	for key := range r.rescued {
		delete(r.unread, key) // there are two of it
	}
	if n := len(r.unread); n > 0 {
		r.did(pack.Dir, "%d objects cannot be read now, and stay on record", n)
	}
	for key, l := range r.unread {
		if err := r.found.objects.AddObject(key.table, key.digest, l); err != nil {
			return err
		}
	}
	return nil
}

// unreadable returns the places of what keeps its record without having been read.
func (r *repair) unreadable() *sealed.Quarantine {
	if len(r.unread) == 0 {
		return nil
	}
	q := sealed.NewQuarantine()
	for key, l := range r.unread {
		q.Packs[l.Frame.Pack] = false
		q.Places[sealed.PlaceOf(&key.digest, l)] = struct{}{}
	}
	q.Inherit(r.st.Quarantine.Load())
	return q
}

// object names a directory, or a blob or chunk.
type object struct {
	table  pack.Kind // of an index: pack.KindData or pack.KindDirectory
	digest store.Digest
}

// rescueFrom rescues what one index has and nothing else leads to, where that is an object of kind k. It goes over the packs in
// order, again and again where there is very much of it, so that frames are decoded about once.
func (r *repair) rescueFrom(ctx context.Context, x *index.Index, k pack.Kind) error {
	const most = 1 << 16
	var orphans []rescued
	for n := range x.Table(k).Len() {
		_, l, ok := x.Record(k, n)
		o := rescued{k, *x.Digest(k, n), l}
		_, is := r.rescued[o.key()]
		if pk := r.found.packs[l.Frame.Pack]; !ok || is || pk == nil {
			continue
		}
		if _, ok := r.found.objects.Find(k, &o.digest); ok {
			continue
		}
		if orphans = append(orphans, o); len(orphans) == most {
			if err := r.try(ctx, orphans); err != nil {
				return err
			}
			orphans = orphans[:0]
		}
	}
	return r.try(ctx, orphans)
}

// try rescues those of the orphans that are of their kind.
func (r *repair) try(ctx context.Context, orphans []rescued) error {
	slices.SortFunc(orphans, func(a, b rescued) int { return compareLocations(a.at, b.at) })
	tried := pack.Attempts{}
	for _, o := range orphans {
		err := r.failed[o.at.Frame]
		if err == nil && tried.Enough(o.at) {
			err = r.st.Packs.Corrupt(o.at.Frame, pack.ErrOutside)
		}
		if err == nil {
			if err = r.examine(ctx, o); err != nil && !errors.Is(err, store.ErrDigestMismatch) && o.kind != pack.KindList {
				r.failed[o.at.Frame] = err // of all in it
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, syscall.EIO):
			r.unread[o.key()] = o.at
		case err == nil:
			r.rescued[o.key()] = o
		case !store.IsCorrupt(err):
			return err
		}
	}
	return nil
}

// examine reports why the bytes at a place are not the object: a *store.CorruptError, of the disk where that cannot be told
// now.
func (r *repair) examine(ctx context.Context, o rescued) error {
	mismatch := &store.CorruptError{Digest: o.digest, Err: store.ErrDigestMismatch}
	if o.kind == pack.KindList {
		if pack.CheckListSize(int64(o.at.Size)) != nil {
			return mismatch
		}
		if err := r.unreadChunk(o.at); err != nil {
			return err
		}
		if err := r.found.makesUp(ctx, o.at, o.digest); err != errLostChunk {
			return err
		}
		return mismatch
	}
	if o.kind == pack.KindData && o.at.Size > pack.MaxContents {
		return mismatch
	}
	return r.st.Packs.Use(o.at, func(data []byte) error {
		if pack.CheckDecoded(o.kind, o.digest, data) != nil {
			return mismatch
		}
		return nil
	})
}

// unreadChunk returns an error of the disk where a chunk of the list at l cannot be read now.
func (r *repair) unreadChunk(l pack.Location) error {
	if len(r.unread) == 0 {
		return nil
	}
	for c, err := range r.st.Packs.Chunks(l, nil) {
		if err != nil {
			return err
		}
		if _, ok := r.unread[object{pack.KindData, c.Digest}]; ok {
			return &store.CorruptError{Digest: c.Digest, Err: syscall.EIO}
		}
	}
	return nil
}

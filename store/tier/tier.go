// Package tier makes one store of two. New puts a near store in front of a far one. What is read from the far store is kept
// in the near one, where the next reader finds it. Split takes blobs from one store, and directories from another. Blobs and
// Directories join one part each.
package tier

import (
	"cmp"
	"context"
	"errors"
	"iter"

	"castar/store"
)

// Options say how a tier writes.
type Options struct {
	// WriteThrough makes writes go to both stores; a write succeeds only if both have it. Otherwise writes go to the near
	// store alone.
	WriteThrough bool
}

// New returns one store made of near and far, and closes both when it is closed. If only one of the two has blobs, or
// directories, these are that one's with all that belongs to them. The exceptions:
//
//   - Tags are those of near, or with WriteThrough those of far. No tag points at something that only the other store has.
//   - The store can list its objects if both can.
//   - The size rule is that of far, which others may share.
//   - Directories that both have are near: a whole closure is fetched as one, so RemoteDirectories could do no more.
//   - What an object takes is not one number, so there is no Sizer. Nor are there the parts for checking, mending and
//     collecting garbage (see package store), which are for each of the two by itself. A Keeper could sync only one.
//
// Close syncs near first, so that what was fetched need not be fetched again.
func New(near, far *store.Store, o Options) *store.Store {
	st := &store.Store{Barrier: barrier{near, far}, Far: near.Far || far.Far}
	kind, written := "tier ", near
	st.Meter, st.Room = near.Meter, near.Room
	if o.WriteThrough {
		kind, written = "tier, writing through ", far
		st.Meter, st.Room = cmp.Or(near.Meter, far.Meter), room(near, far)
	}
	useTags(st, written)
	st.ID = "tier-" + store.Sum([]byte(kind + near.ID + " " + far.ID)).String()[:32]
	switch {
	case near.Blobs == nil:
		useBlobs(st, far)
	case far.Blobs == nil:
		useBlobs(st, near)
	default:
		joinBlobs(st, &Blobs{Near: near.Blobs, Far: far.Blobs, WriteThrough: o.WriteThrough}, near, far)
	}
	switch {
	case near.Directories == nil:
		useDirectories(st, far)
	case far.Directories == nil:
		useDirectories(st, near)
	default:
		st.Directories = &Directories{Near: near.Directories, Far: far.Directories, WriteThrough: o.WriteThrough}
	}
	st.SizeRule = far.SizeRule
	st.Lister = list(near, far)
	return st
}

// Split returns the blobs of one store and the directories of another as one store. It has the tags of the second, or else
// of the first. It can list objects, and tell what they take and what was added, if both can. It closes neither store, and
// has no Barrier. What New leaves out for the same reasons is missing.
func Split(blobs, directories *store.Store) *store.Store {
	id := store.Sum([]byte(blobs.ID + " " + directories.ID)).String()[:32]
	st := &store.Store{ID: "composition-" + id, Far: blobs.Far || directories.Far}
	useBlobs(st, blobs)
	useDirectories(st, directories)
	useTags(st, directories)
	if st.Tags == nil {
		useTags(st, blobs)
	}
	st.Room, st.Lister = room(blobs, directories), list(blobs, directories)
	if blobs.Sizer != nil && directories.Sizer != nil {
		st.Sizer = sizers{blobs.Sizer, directories.Sizer}
	}
	st.Meter = blobs.Meter
	if blobs.Meter != directories.Meter {
		st.Meter = present[store.Meter](blobs.Meter != nil && directories.Meter != nil, meters{blobs.Meter, directories.Meter})
	}
	return st
}

// useBlobs, useDirectories and useTags give st all that another store has for these. A part that is added to store.Store
// belongs in one of them if it is of Blobs, of Directories or of Tags.

func useBlobs(st, of *store.Store) {
	st.Blobs, st.Lanes, st.Groups, st.Takes, st.Joins = of.Blobs, of.Lanes, of.Groups, of.Takes, of.Joins
	st.RemoteBlobs, st.Clones = of.RemoteBlobs, of.Clones
}

func useDirectories(st, of *store.Store) {
	st.Directories, st.RemoteDirectories, st.SizeRule = of.Directories, of.RemoteDirectories, of.SizeRule
}

func useTags(st, of *store.Store) { st.Tags, st.RemoteTags = of.Tags, of.RemoteTags }

// joinBlobs gives st the blobs of two stores, with the further ways to write them that every store written to has.
func joinBlobs(st *store.Store, b *Blobs, near, far *store.Store) {
	st.Blobs = b
	st.RemoteBlobs = present[store.RemoteBlobs](near.RemoteBlobs != nil || far.RemoteBlobs != nil, remoteBlobs{b, near, far})
	to := far // which is written to besides near
	if !b.WriteThrough {
		to = near
	}
	st.Lanes = present[store.Laner](near.Lanes != nil || to.Lanes != nil, lanes{b, near, far})
	st.Groups = present[store.Grouper](near.Groups != nil && to.Groups != nil, groups{b, near.Groups, far.Groups})
	st.Takes = present[store.Taker](near.Takes != nil && to.Takes != nil, takes{b, near, far})
	st.Joins = present[store.Joiner](near.Joins != nil && to.Joins != nil, joins{b, near, far})
}

func present[T any](there bool, v T) (none T) {
	if there {
		return v
	}
	return none
}

type barrier struct{ near, far *store.Store }

// Sync syncs far before near, so that far has everything that near has.
func (b barrier) Sync(ctx context.Context) error {
	if err := b.far.Sync(ctx); err != nil {
		return err
	}
	return b.near.Sync(ctx)
}

func (b barrier) Close() error {
	return errors.Join(b.near.Sync(context.Background()), b.near.Close(), b.far.Close())
}

// room returns the Room of a store that consists of two, as far as they can tell.
func room(a, b *store.Store) func(context.Context) error {
	switch {
	case a.Room == nil:
		return b.Room
	case b.Room == nil:
		return a.Room
	}
	return func(ctx context.Context) error { return cmp.Or(a.Room(ctx), b.Room(ctx)) }
}

// list returns the Lister of a store that consists of two. It is nil unless both have one.
func list(a, b *store.Store) store.Lister {
	return present[store.Lister](a.Lister != nil && b.Lister != nil, listers{a.Lister, b.Lister})
}

// listers lists what any of several stores has. It implements store.Lister.
type listers []store.Lister

// List lists the objects of one store after the other.
func (l listers) List(ctx context.Context, prefix store.Digest, nibbles int) iter.Seq2[store.Digest, error] {
	return func(yield func(store.Digest, error) bool) {
		for _, one := range l {
			for d, err := range one.List(ctx, prefix, nibbles) {
				if !yield(d, err) || err != nil {
					return
				}
			}
		}
	}
}

// sizers implements store.Sizer for a store with the blobs of one store and the directories of another.
type sizers struct{ blobs, directories store.Sizer }

func (s sizers) Stored(ctx context.Context, k store.Kind, d store.Digest) (uint64, error) {
	if k == store.KindDirectory {
		return s.directories.Stored(ctx, k, d)
	}
	return s.blobs.Stored(ctx, k, d)
}

// meters implements store.Meter for a store that consists of two.
type meters struct{ a, b store.Meter }

func (m meters) Added() (contents, stored uint64) {
	contents, stored = m.a.Added()
	c, s := m.b.Added()
	return contents + c, stored + s
}

// Package tier puts a near store in front of a far one. What is read from the far store is kept in the near one, where
// the next reader finds it. New joins two whole stores. Blobs and Directories join one part each.
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

// New returns one store made of near and far, and closes both when it is closed. If only one of the two has a part, the
// part is that one's. The exceptions:
//
//   - Tags are those of near, or with WriteThrough those of far. No tag points at something that only the other store has.
//   - The store can list its objects if both can.
//   - The size rule is that of far, which others may share.
//
// Close syncs near first, so that what was fetched need not be fetched again.
func New(near, far *store.Store, o Options) *store.Store {
	st := &store.Store{SizeRule: far.SizeRule, Barrier: barrier{near, far}, Far: near.Far || far.Far}
	st.Tags, st.RemoteTags, st.Meter, st.Room = near.Tags, near.RemoteTags, near.Meter, near.Room
	kind := "tier "
	if o.WriteThrough {
		kind = "tier, writing through "
		st.Tags, st.RemoteTags, st.Room = far.Tags, far.RemoteTags, Room(near, far)
		st.Meter = cmp.Or(near.Meter, far.Meter)
	}
	st.ID = "tier-" + store.Sum([]byte(kind + near.ID + " " + far.ID)).String()[:32]
	switch {
	case near.Blobs == nil:
		st.Blobs, st.Lanes, st.Groups, st.Takes, st.Joins = far.Blobs, far.Lanes, far.Groups, far.Takes, far.Joins
		st.RemoteBlobs, st.Clones = far.RemoteBlobs, far.Clones
	case far.Blobs == nil:
		st.Blobs, st.Lanes, st.Groups, st.Takes, st.Joins = near.Blobs, near.Lanes, near.Groups, near.Takes, near.Joins
		st.RemoteBlobs, st.Clones = near.RemoteBlobs, near.Clones
	default:
		b := &Blobs{Near: near.Blobs, Far: far.Blobs, WriteThrough: o.WriteThrough}
		st.Blobs = b
		st.Lanes, st.Groups, st.Joins = both(b, near, far)
		st.RemoteBlobs = present[store.RemoteBlobs](near.RemoteBlobs != nil || far.RemoteBlobs != nil, remote{b, near, far})
	}
	switch {
	case near.Directories == nil:
		st.Directories, st.RemoteDirectories = far.Directories, far.RemoteDirectories
	case far.Directories == nil:
		st.Directories, st.RemoteDirectories = near.Directories, near.RemoteDirectories
	default: // whole closures are fetched as it is
		st.Directories = &Directories{Near: near.Directories, Far: far.Directories, WriteThrough: o.WriteThrough}
	}
	if near.Lister != nil && far.Lister != nil {
		st.Lister = Listers{near.Lister, far.Lister}
	}
	return st
}

// Room returns the Room of a store that consists of two, as far as they can tell.
func Room(a, b *store.Store) func(context.Context) error {
	switch {
	case a.Room == nil:
		return b.Room
	case b.Room == nil:
		return a.Room
	}
	return func(ctx context.Context) error { return cmp.Or(a.Room(ctx), b.Room(ctx)) }
}

// both returns the further ways to write the blobs of two stores that every store written to has.
func both(b *Blobs, near, far *store.Store) (store.Laner, store.Grouper, store.Joiner) {
	l := lanes{b, near, far}
	if !b.WriteThrough {
		return present[store.Laner](near.Lanes != nil, l),
			present[store.Grouper](near.Groups != nil, groups{b, near.Groups, nil}),
			present[store.Joiner](near.Joins != nil, joins{b, near.Joins, nil})
	}
	return present[store.Laner](near.Lanes != nil || far.Lanes != nil, l),
		present[store.Grouper](near.Groups != nil && far.Groups != nil, groups{b, near.Groups, far.Groups}),
		present[store.Joiner](near.Joins != nil && far.Joins != nil, joins{b, near.Joins, far.Joins})
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

// Listers lists what any of several stores has. It implements store.Lister.
type Listers []store.Lister

// List lists the objects of one store after the other.
func (l Listers) List(ctx context.Context, prefix store.Digest, nibbles int) iter.Seq2[store.Digest, error] {
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

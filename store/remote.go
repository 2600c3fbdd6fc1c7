package store

import (
	"context"
	"iter"
)

// RemoteBlobs is what blobs at the other end of a network offer for many at once. A caller that asks for one after the
// other waits for a round trip each time. All methods may be called concurrently.
type RemoteBlobs interface {
	// HasAll is Blobs.Has for many blobs and chunks. It returns an answer for each, in order. It may ask for several at the
	// same time, and holds some hundred bytes for each while it does.
	HasAll(ctx context.Context, ds []Digest) ([]bool, error)
	// Expect says that most of the blobs ds will be opened, and in about this order. It returns at once. Until ctx ends, the
	// store fetches some of them before they are opened. It takes no more from ds than it has room for, in a goroutine of
	// its own. Errors show when a blob is opened.
	Expect(ctx context.Context, ds iter.Seq[Digest])
	// Group is Grouper.Group for a store at the other end of a network. The error is ErrUnsupported also if that has no
	// groups, or if they are not worth their way.
	Group(ctx context.Context, d Digest) (Group, error)
}

// mostApart is how many entries a directory of a remote store has below it, at most, if a goroutine of its own reads them.
const mostApart = 4096

// MayFork reports whether a goroutine of its own may read the files below the directory n while another goes on behind it.
// Those of a remote store come in the order of the tree. Goroutines that are far from each other need more of them than are
// kept.
func (s *Store) MayFork(n *Node) bool {
	return s.RemoteBlobs == nil || n.Kind != KindDirectory || n.Size <= mostApart
}

// HasAll reports which of many blobs and chunks the store has, in order. It asks a remote store for all of them at once.
func (s *Store) HasAll(ctx context.Context, ds []Digest) (has []bool, err error) {
	if s.RemoteBlobs != nil {
		return s.RemoteBlobs.HasAll(ctx, ds)
	}
	has = make([]bool, len(ds))
	for i := 0; i < len(ds) && err == nil; i++ {
		has[i], err = s.Blobs.Has(ctx, ds[i])
	}
	return has, err
}

// RemoteDirectories is what directories at the other end of a network offer for many at once.
type RemoteDirectories interface {
	// Expect says that most directories of the closure of root will be asked for, by Get and from the root down. It returns
	// at once. Until ctx ends, the store fetches them in one call and keeps a bounded number of them for Get, which waits for
	// one that is on its way. Errors show when Get is called.
	Expect(ctx context.Context, root Digest)
}

// Expect tells a remote store that most directories of the tree root will be asked for; see RemoteDirectories.
func (s *Store) Expect(ctx context.Context, root Node) {
	if s.RemoteDirectories != nil && root.Kind == KindDirectory {
		s.RemoteDirectories.Expect(ctx, root.Digest)
	}
}

// RemoteTags is what tags at the other end of a network offer besides. All methods may be called concurrently.
type RemoteTags interface {
	// Have reports whether there are tags and a log at all. If not, calls of Tags fail with ErrUnsupported.
	Have(ctx context.Context) (bool, error)
	// Swap is Tags.Set for a tag that is equal to old, or does not exist if old is nil. The error is ErrChanged if that is
	// not so when the change is made.
	Swap(ctx context.Context, t Tag, old *Tag) error
	// MaySet returns the error that Set would return for a tag that moves, as far as that is known before.
	MaySet(ctx context.Context, name string) error
}

// HasTags reports whether the store has tags and a log. A remote store is asked, if that is not known yet.
func (s *Store) HasTags(ctx context.Context) (bool, error) {
	if s.RemoteTags == nil || s.Tags == nil {
		return s.Tags != nil, nil
	}
	return s.RemoteTags.Have(ctx)
}

// SwapTag sets a tag that was old when the caller looked, or did not exist if old is nil. A remote store makes sure that it
// is so still; the error is ErrChanged otherwise.
func (s *Store) SwapTag(ctx context.Context, t Tag, old *Tag) error {
	if s.RemoteTags == nil {
		return s.Tags.Set(ctx, t)
	}
	return s.RemoteTags.Swap(ctx, t, old)
}

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

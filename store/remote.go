package store

import "context"

// RemoteBlobs is what blobs at the other end of a network offer for many at once. A caller that asks for one after the
// other waits for a round trip each time. All methods may be called concurrently.
type RemoteBlobs interface {
	// HasAll is Blobs.Has for many blobs and chunks. It returns an answer for each, in order. It may ask for several at the
	// same time, and holds some hundred bytes for each while it does.
	HasAll(ctx context.Context, ds []Digest) ([]bool, error)
}

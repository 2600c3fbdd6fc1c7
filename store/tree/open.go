package tree

import (
	"context"
	"fmt"

	"castar/store"
)

// OpenFile opens the contents of the file n. The caller must close them. If they have another size than n says, the
// error is a *store.CorruptError.
func OpenFile(ctx context.Context, st *store.Store, n store.Node) (store.Blob, error) {
	return openFile(ctx, st.Blobs, n)
}

func openFile(ctx context.Context, blobs store.Blobs, n store.Node) (store.Blob, error) {
	b, err := blobs.Open(ctx, n.Digest)
	if err != nil {
		return nil, err
	}
	if b.Size() != n.Size {
		b.Close()
		return nil, wrongSize(n, b.Size())
	}
	return b, nil
}

// wrongSize is the error for a file node whose blob has another size.
func wrongSize(n store.Node, size uint64) error {
	return &store.CorruptError{Digest: n.Digest, Err: fmt.Errorf("%d bytes, but its directory says %d", size, n.Size)}
}

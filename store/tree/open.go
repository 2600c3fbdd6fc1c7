package tree

import (
	"context"
	"fmt"

	"castar/store"
)

// OpenFile opens the contents of the file n, which the caller must close. If they have another size than n says, the
// error is a *store.CorruptError.
func OpenFile(ctx context.Context, st *store.Store, n store.Node) (store.Blob, error) {
	b, err := st.Blobs.Open(ctx, n.Digest)
	if err != nil {
		return nil, err
	}
	if b.Size() != n.Size {
		b.Close()
		return nil, &store.CorruptError{Digest: n.Digest, Err: fmt.Errorf("%d bytes, but its directory says %d", b.Size(), n.Size)}
	}
	return b, nil
}

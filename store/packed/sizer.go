package packed

import (
	"context"

	"castar/store"
)

// Stored implements store.Sizer: an object's item in the head of its frame, and its share of the payload, rounded.
// Padding and indexes are nobody's. What is not written yet counts with its raw length.
func (st *Store) Stored(ctx context.Context, k store.Kind, d store.Digest) (uint64, error) {
	objects := kindData
	if k == store.KindDirectory {
		objects = kindDirectory
	}
	l, data, err := st.lookup(objects, d, true)
	if err == nil {
		err = ctx.Err()
	}
	switch raw := uint64(l.frame.raw); {
	case err != nil:
		return 0, err
	case data != nil:
		return itemLen + uint64(len(data)), nil
	case raw > 0:
		return itemLen + (uint64(l.size)*uint64(l.frame.stored)+raw/2)/raw, nil
	}
	return itemLen, nil
}

package live

import (
	"context"

	"castar/store"
	"castar/store/packed/pack"
)

// Stored implements store.Sizer. An object takes its item in the head of its frame, and its share of the payload, rounded.
// Padding and indexes count for no object. An object that is not written yet counts with its raw length.
func (st *Store) Stored(ctx context.Context, k store.Kind, d store.Digest) (uint64, error) {
	l, data, err := st.Lookup(pack.TableOf(k), d, true)
	if err == nil {
		err = ctx.Err()
	}
	switch raw := uint64(l.Frame.Raw); {
	case err != nil:
		return 0, err
	case data != nil:
		return pack.ItemLen + uint64(len(data)), nil
	case raw > 0:
		return pack.ItemLen + (uint64(l.Size)*uint64(l.Frame.Stored)+raw/2)/raw, nil
	}
	return pack.ItemLen, nil
}

package tier

import (
	"context"
	"iter"

	"castar/store"
)

// remote implements store.RemoteBlobs for two stores. At least one of them is at the other end of a network.
type remote struct {
	blobs     *Blobs
	near, far *store.Store
}

// Expect passes on what Near lacks. Near has it soon after, so it is asked when the turn of a blob comes.
func (r remote) Expect(ctx context.Context, ds iter.Seq[store.Digest]) {
	if r.far.RemoteBlobs == nil {
		r.near.RemoteBlobs.Expect(ctx, ds)
		return
	}
	r.far.RemoteBlobs.Expect(ctx, func(yield func(store.Digest) bool) {
		for d := range ds {
			if has, err := r.blobs.Near.Has(ctx, d); (!has || err != nil) && !yield(d) {
				return
			}
		}
	})
}

// HasAll asks as Blobs.Has does: Near, and Far for what Near lacks; or Far alone.
func (r remote) HasAll(ctx context.Context, ds []store.Digest) ([]bool, error) {
	has := make([]bool, len(ds))
	if !r.blobs.WriteThrough {
		var err error
		if has, err = r.near.HasAll(ctx, ds); err != nil {
			return nil, err
		}
	}
	var rest []store.Digest
	for i := range ds {
		if !has[i] {
			rest = append(rest, ds[i])
		}
	}
	far, err := r.far.HasAll(ctx, rest)
	if err != nil {
		return nil, err
	}
	for i := range ds {
		if !has[i] {
			has[i], far = far[0], far[1:]
		}
	}
	return has, nil
}

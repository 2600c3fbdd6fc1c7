package tier

import (
	"context"
	"iter"

	"castar/store"
)

// remote implements store.RemoteBlobs for two stores. At least one of them is at the other end of a network.
type remote struct {
	blobs     *Blobs
	near, far store.RemoteBlobs // nil if that store is near
}

// Expect passes on what Near lacks. Near has it soon after, so it is asked when the turn of a blob comes.
func (r remote) Expect(ctx context.Context, ds iter.Seq[store.Digest]) {
	if r.far == nil {
		r.near.Expect(ctx, ds)
		return
	}
	r.far.Expect(ctx, func(yield func(store.Digest) bool) {
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
		if has, err = hasAll(ctx, r.blobs.Near, r.near, ds); err != nil {
			return nil, err
		}
	}
	var rest []store.Digest
	for i := range ds {
		if !has[i] {
			rest = append(rest, ds[i])
		}
	}
	far, err := hasAll(ctx, r.blobs.Far, r.far, rest)
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

// hasAll asks a store for many blobs, in one call if they are remote.
func hasAll(ctx context.Context, blobs store.Blobs, r store.RemoteBlobs, ds []store.Digest) ([]bool, error) {
	if r != nil {
		return r.HasAll(ctx, ds)
	}
	has := make([]bool, len(ds))
	for i := range ds {
		var err error
		if has[i], err = blobs.Has(ctx, ds[i]); err != nil {
			return nil, err
		}
	}
	return has, nil
}

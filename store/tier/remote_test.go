package tier_test

import (
	"context"
	"iter"
	"slices"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
	"castar/store/tier"
)

// remote is the blobs of a store that is asked for many at once.
type remote struct {
	store.Blobs
	asked [][]store.Digest
}

func (r *remote) HasAll(ctx context.Context, ds []store.Digest) (has []bool, err error) {
	r.asked = append(r.asked, ds)
	for i := range ds {
		is, err := r.Has(ctx, ds[i])
		if err != nil {
			return nil, err
		}
		has = append(has, is)
	}
	return has, nil
}

func (r *remote) Expect(context.Context, iter.Seq[store.Digest]) {}

func (r *remote) Group(context.Context, store.Digest) (store.Group, error) {
	return store.Group{}, store.ErrUnsupported
}

// A tier with a remote part is asked for many blobs at once, and asks the remote part only for what the near part lacks.
func TestHasAll(t *testing.T) {
	for _, through := range []bool{false, true} {
		near, far := memory.New(), memory.New()
		r := &remote{Blobs: far.Blobs}
		far.Blobs, far.RemoteBlobs = r, r
		st := tier.New(near, far, tier.Options{WriteThrough: through})
		storetest.Keeps(t, far, st)
		inNear, inFar, nowhere := put(t, near.Blobs, []byte("near")), put(t, far.Blobs, []byte("far")), store.Sum([]byte("no"))
		ds, want := []store.Digest{inFar, inNear, nowhere, inFar}, []bool{true, !through, false, true}
		if got, err := st.RemoteBlobs.HasAll(t.Context(), ds); err != nil || !slices.Equal(got, want) {
			t.Errorf("through %v: %v, %v, want %v", through, got, err, want)
		}
		asked := []store.Digest{inFar, nowhere, inFar}
		if through {
			asked = ds
		}
		if len(r.asked) != 1 || !slices.Equal(r.asked[0], asked) {
			t.Errorf("through %v: asked for %v, want %v", through, r.asked, asked)
		}
	}
	if st := tier.New(memory.New(), memory.New(), tier.Options{}); st.RemoteBlobs != nil {
		t.Error("a tier of two near stores is remote")
	}
}

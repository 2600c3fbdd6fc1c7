package packed_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed"
)

// Commands take few requests, since each may be a round trip.
func TestBucketRequests(t *testing.T) {
	b, cache := bucket.NewMemory(), t.TempDir()
	ingest := func(ctx context.Context, b bucket.Bucket, text string) error {
		o := create()
		o.Cache = cache
		st, err := packed.OpenBucket(ctx, b, o)
		if err != nil {
			return err
		}
		defer st.Close()
		if _, err := st.Tags.Get(ctx, "t"); err != nil && !store.IsNotFound(err) {
			return err
		}
		sc := scenario{m: &model{}, roots: map[store.Digest]string{}}
		tag, err := sc.makeTree(ctx, st, text)
		if err == nil {
			err = st.Send(ctx)
		}
		if err != nil {
			return err
		}
		if _, err := st.Tags.Get(ctx, "t"); store.IsNotFound(err) {
			for range st.Tags.Log(ctx) {
			}
		} else if err != nil {
			return err
		}
		tag.Name = "t"
		return st.Keep(ctx, tag)
	}
	verify := func(ctx context.Context, b bucket.Bucket, _ string) error {
		st, err := packed.OpenBucket(ctx, b, packed.BucketOptions{Options: packed.Options{Tolerate: true}, Cache: cache})
		if err != nil {
			return err
		}
		defer st.Close()
		_, err = st.Scrubber.Scrub(ctx, store.ScrubOptions{}, func(d store.Damage) { t.Error(d) })
		return err
	}
	read := func(ctx context.Context, b bucket.Bucket, text string) error {
		st, err := packed.OpenBucket(ctx, b, packed.BucketOptions{Options: packed.Options{ReadOnly: true}, Cache: cache})
		if err != nil {
			return err
		}
		defer st.Close()
		tag, err := st.Tags.Get(ctx, "t")
		if err != nil {
			return err
		}
		sc := scenario{m: &model{}, roots: map[store.Digest]string{tag.Root.Digest: text}}
		return sc.readRoot(ctx, st, tag.Root.Digest)
	}
	for _, s := range []struct {
		what string
		do   func(context.Context, bucket.Bucket, string) error
		text string
		most int
	}{
		{"first", ingest, "one", 20},
		{"again, unchanged", ingest, "one", 7},
		{"changed", ingest, "two", 11},
		{"read", read, "two", 4},
		{"read again", read, "two", 2},
		{"verify", verify, "", 16},
	} {
		t.Run(s.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &model{t: t, b: b, choose: func(_ *model, waiting []*step) (*step, outcome) { return waiting[0], happens }}
				a := m.start(func(a *actor) error { return s.do(a.ctx, a.bucket(), s.text) })
				if !m.run() || a.err != nil {
					t.Fatal(a.err)
				}
				a.cancel()
				if len(m.trace) > s.most {
					t.Errorf("%d requests, want at most %d:\n%s", len(m.trace), s.most, strings.Join(m.trace, "\n"))
				}
			})
		})
	}
}

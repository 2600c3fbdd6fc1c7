package packed_test

import (
	"crypto/rand"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/bucket/buckettest"
	"castar/store/bucket/service"
	"castar/store/packed"
	"castar/store/retry"
	"castar/store/storetest"
)

// A store in a bucket of a real S3 server holds what every store holds.
func TestBucketS3(t *testing.T) {
	t.Parallel()
	if storetest.UnderRace || testing.Short() {
		t.Skip("NOT TESTED WITH A REAL S3 SERVER: it takes long; the full run does")
	}
	c := buckettest.Versitygw(t)
	storetest.Run(t, func(t *testing.T) *store.Store {
		c := c
		c.Path = rand.Text()
		b, err := service.OpenS3(t.Context(), c)
		check(t, err)
		return openBucket(t, b, create())
	})
}

// faultyBucket starts an S3 server whose requests can be made to fail, and returns a function that opens its bucket.
func faultyBucket(t *testing.T, server, kind string) (*buckettest.Faults, func() bucket.Bucket) {
	f := buckettest.NewFaults(1, kind)
	wrap := func(h http.Handler) http.Handler {
		f.Server = h
		return f
	}
	var c service.S3Config
	if server == "versitygw" {
		c = buckettest.Before(t, buckettest.Versitygw(t), wrap)
	} else {
		c = buckettest.FakeS3(t, wrap)
	}
	c.Retry = retry.Policy{Tries: 12, First: time.Millisecond, Most: 4 * time.Millisecond, Timeout: time.Minute}
	if buckettest.Stalls(kind) {
		c.Retry.Timeout = 300 * time.Millisecond
	}
	return f, func() bucket.Bucket {
		rate := f.Set(0)
		defer f.Set(rate)
		b, err := service.OpenS3(t.Context(), c)
		check(t, err)
		return b
	}
}

// With some faults of each kind, an ingest, a gc and a reader succeed, or fail and leave the store as whole as it was.
func TestBucketFaults(t *testing.T) {
	t.Parallel()
	for i, kind := range buckettest.Kinds() {
		if i%runs(3, 1) > 0 {
			continue
		}
		for _, server := range []string{"gofakes3", "versitygw"}[:runs(1, 2)] {
			t.Run(kind+"/"+server, func(t *testing.T) {
				t.Parallel()
				testBucketFaults(t, server, kind)
			})
		}
	}
}

func testBucketFaults(t *testing.T, server, kind string) {
	f, open := faultyBucket(t, server, kind)
	ctx := t.Context()
	sc := &scenario{m: &model{t: t, b: open()}, grace: day, roots: map[store.Digest]string{}, options: create()}
	check(t, sc.ingest(ctx, open(), "before", "shared", "before"))
	f.Set(0.2)
	err := errors.Join(sc.ingest(ctx, open(), "after", "shared", "after"), sc.collect(ctx, open()), sc.read(ctx, open()))
	f.Set(0)
	if f.Count() == 0 {
		t.Error("no faults")
	}
	// Half an answer that looks whole is damage if it comes twice, and the fake server takes half an object, which real ones
	// refuse. Every other kind goes away.
	if err != nil && kind != "body cut by a proxy" && (kind != "upload cut" || server == "versitygw") {
		t.Error(err)
	}
	sc.wrong = nil // what was found through a faulty connection
	sc.check("the faults")
	for _, wrong := range sc.wrong {
		t.Error(wrong)
	}
	// What was put is as old as the service says, whatever a page in between said of the time: nothing is garbage yet.
	before := names(t, open(), "packs/")
	check(t, sc.collect(ctx, open()))
	if now := names(t, open(), "packs/"); !slices.Equal(now, before) {
		t.Errorf("deleted: %q, there were %q", now, before)
	}
	if err == nil {
		st := openBucket(t, open(), packed.BucketOptions{})
		_, err := st.Scrubber.Scrub(ctx, store.ScrubOptions{}, func(d store.Damage) { t.Errorf("damage: %+v", d) })
		check(t, err)
	}
}

// The grace period is one of the service's clock, whatever the clock of this machine says.
func TestBucketClock(t *testing.T) {
	t.Parallel()
	for _, ahead := range []time.Duration{3 * day, -3 * day} {
		clock := new(buckettest.Clock)
		clock.Set(ahead)
		c := buckettest.SkewedS3(t, clock, 0, nil)
		open := func() bucket.Bucket {
			b, err := service.OpenS3(t.Context(), c)
			check(t, err)
			return b
		}
		st := openBucket(t, open(), create())
		dead := recordRoot(t, st, "dead", "dead")
		recordRoot(t, st, "kept", "kept")
		check(t, st.Tags.Delete(t.Context(), "dead"))
		check(t, st.Tags.Forget(t.Context(), []store.Tag{dead}))
		check(t, st.Close())
		before := names(t, open(), "packs/")
		for _, step := range []struct {
			after   time.Duration
			deleted bool
		}{{0, false}, {2 * day, false}, {3*day - time.Hour, false}, {3*day + time.Hour, true}} {
			clock.Set(ahead + step.after)
			freed := collect(t, open(), day).FreedObjects > 0
			if freed != (step.after == 2*day) {
				t.Errorf("%v ahead, after %v: gave up %v", ahead, step.after, freed)
			}
			now := names(t, open(), "packs/")
			gone := slices.ContainsFunc(before, func(name string) bool { return !slices.Contains(now, name) })
			if gone != step.deleted {
				t.Errorf("%v ahead, after %v: %q, there were %q", ahead, step.after, now, before)
			}
		}
	}
}

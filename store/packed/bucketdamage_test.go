package packed_test

import (
	"bytes"
	"context"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed"
)

// Each object of a bucket is lost, cut short, changed in one bit, or swapped with the next. Then what was recorded is read
// as it was, or not at all, and the damage shows: in opening, in reading, or when the store checks itself.
func TestBucketDamage(t *testing.T) {
	ctx := t.Context()
	damages := map[string]func(b bucket.Bucket, name, next string, data []byte) error{
		"lost": func(b bucket.Bucket, name, _ string, _ []byte) error { return b.Delete(ctx, name) },
		"cut":  func(b bucket.Bucket, name, _ string, data []byte) error { return b.Put(ctx, name, data[:len(data)/2]) },
		"flipped": func(b bucket.Bucket, name, _ string, data []byte) error {
			data[len(data)/2] ^= 4
			return b.Put(ctx, name, data)
		},
		"swapped": func(b bucket.Bucket, name, next string, _ []byte) error {
			other, _, err := b.Load(ctx, next)
			check(t, err)
			return b.Put(ctx, name, other)
		},
	}
	all := names(t, damageable(t), "")
	for i := range all {
		for damage, do := range damages {
			b := damageable(t)
			now := names(t, b, "") // with other random parts, in the same order
			name, next := now[i], now[(i+1)%len(now)]
			data, _, err := b.Load(ctx, name)
			check(t, err)
			check(t, do(b, name, next, bytes.Clone(data)))
			whole := name == "head" && damage == "lost" // then all indexes count that there are
			if damageShows(ctx, b) == whole {
				t.Errorf("%s %s: shows %v", name, damage, !whole)
			}
		}
	}
}

// What the cache on this machine has does not hide damage in the bucket from a check.
func TestBucketDamageBehindCache(t *testing.T) {
	ctx, o := t.Context(), create()
	o.Cache = t.TempDir()
	for _, dir := range []string{"packs/", "index/"} {
		for i := range names(t, damageable(t), dir) {
			b := keepOpen{bucket.NewMemory()}
			st := openBucket(t, b, o)
			recordRoot(t, st, "t", "text") // fills the cache
			check(t, st.Close())
			name := names(t, b, dir)[i]
			data, _, err := b.Load(ctx, name)
			check(t, err)
			data[len(data)/2] ^= 4
			check(t, b.Put(ctx, name, data))
			st = openBucket(t, b, packed.BucketOptions{Options: packed.Options{Tolerate: true}, Cache: o.Cache})
			shows := false
			if _, err := st.Scrubber.Scrub(ctx, store.ScrubOptions{}, func(store.Damage) { shows = true }); err != nil {
				t.Error(err)
			}
			check(t, st.Close())
			if !shows {
				t.Errorf("%s: a check does not see the damage", name)
			}
		}
	}
}

// The head of another store is damage. Repair makes it anew.
func TestBucketForeignHead(t *testing.T) {
	ctx, b := t.Context(), damageable(t)
	data, _, err := damageable(t).Load(ctx, "head")
	check(t, err)
	check(t, b.Put(ctx, "head", data))
	if _, err := packed.OpenBucket(ctx, b, packed.BucketOptions{}); !store.IsCorrupt(err) {
		t.Errorf("opened: %v", err)
	}
	if !damageShows(ctx, b) {
		t.Error("the damage does not show")
	}
	st := openBucket(t, b, packed.BucketOptions{Options: packed.Options{Exclusive: true, Tolerate: true}})
	if _, err := st.Repairer.Repair(ctx, store.RepairOptions{}); err != nil {
		t.Error(err)
	}
	check(t, st.Close())
	if damageShows(ctx, b) {
		t.Error("there is still damage after the repair")
	}
}

// damageable returns a bucket with a store.
func damageable(t *testing.T) bucket.Bucket {
	b := keepOpen{bucket.NewMemory()}
	st := openBucket(t, b, create())
	recordRoot(t, st, "t", "text")
	check(t, st.Close())
	return b
}

// damageShows looks for damage as verify does.
func damageShows(ctx context.Context, b bucket.Bucket) (shows bool) {
	o := packed.BucketOptions{Options: packed.Options{ReadOnly: true}}
	if st, err := packed.OpenBucket(ctx, b, o); err != nil {
		shows = true
	} else {
		defer st.Close()
		sc := &scenario{roots: map[store.Digest]string{}}
		tag, err := st.Tags.Get(ctx, "t")
		if err == nil {
			sc.roots[tag.Root.Digest] = "text"
			err = sc.readRoot(ctx, st, tag.Root.Digest)
		}
		lines := 0
		for _, lerr := range st.Tags.Log(ctx) {
			lines++
			shows = shows || lerr != nil
		}
		shows = shows || err != nil || lines != 1
	}
	o.Tolerate = true
	st, err := packed.OpenBucket(ctx, b, o)
	if err != nil {
		return true
	}
	defer st.Close()
	_, err = st.Scrubber.Scrub(ctx, store.ScrubOptions{}, func(store.Damage) { shows = true })
	return shows || err != nil
}

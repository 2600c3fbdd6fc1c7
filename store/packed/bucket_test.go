package packed_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed"
	"castar/store/storetest"
)

// openBucket opens or makes the store in a bucket.
func openBucket(t *testing.T, b bucket.Bucket, o packed.BucketOptions) *store.Store {
	t.Helper()
	st, err := packed.OpenBucket(context.Background(), b, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create() packed.BucketOptions {
	return packed.BucketOptions{Options: packed.Options{Create: true}}
}

func TestBucket(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store { return openBucket(t, bucket.NewMemory(), create()) })
}

func TestBucketFolder(t *testing.T) {
	storetest.RunReopen(t, func(t *testing.T, dir string) *store.Store {
		b, err := bucket.OpenFile(dir, "", true)
		if err != nil {
			t.Fatal(err)
		}
		o := create()
		o.Cache = t.TempDir()
		return openBucket(t, b, o)
	})
}

// recordRoot stores a blob, a directory with it, and a line of the log for that; it returns the line.
func recordRoot(t *testing.T, st *store.Store, name, text string) store.Tag {
	t.Helper()
	ctx := t.Context()
	d, err := st.Blobs.Put(ctx, []byte(text))
	check(t, err)
	dir := store.Directory{{Kind: store.KindFile, Name: "f", Digest: d, Size: uint64(len(text))}}
	root, err := st.Directories.Put(ctx, dir)
	check(t, err)
	tag := store.Tag{Name: name, Root: store.Node{Kind: store.KindDirectory, Digest: root, Size: 1}, Time: time.Now()}
	check(t, st.Sync(ctx))
	check(t, st.Tags.Record(ctx, tag))
	check(t, st.Tags.Set(ctx, tag))
	return tag
}

// wantRecorded checks that a root and its file can be read.
func wantRecorded(t *testing.T, st *store.Store, tag store.Tag, text string) {
	t.Helper()
	dir, err := st.Directories.Get(t.Context(), tag.Root.Digest)
	check(t, err)
	blob, err := st.Blobs.Open(t.Context(), dir[0].Digest)
	check(t, err)
	defer blob.Close()
	got, err := io.ReadAll(blob)
	check(t, err)
	if string(got) != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

// collect removes what neither the log nor the tags reach.
func collect(t *testing.T, b bucket.Bucket, grace time.Duration) store.SweepResult {
	t.Helper()
	ctx := t.Context()
	st := openBucket(t, b, packed.BucketOptions{Options: packed.Options{Exclusive: true}})
	defer st.Close()
	keep := st.NewSet()
	mark := func(n store.Node) { // a file, or a directory of files
		_, err := keep.Add(n.Kind, n.Digest)
		check(t, err)
		if n.Kind == store.KindDirectory {
			dir, err := st.Directories.Get(ctx, n.Digest)
			check(t, err)
			for _, n := range dir {
				_, err := keep.Add(n.Kind, n.Digest)
				check(t, err)
			}
		}
	}
	for _, lines := range []iter.Seq2[store.Tag, error]{st.Tags.All(ctx), st.Tags.Log(ctx)} {
		for tag, err := range lines {
			check(t, err)
			mark(tag.Root)
		}
	}
	for n, err := range st.Sweeper.Held(ctx, grace) {
		check(t, err)
		mark(n)
	}
	r, err := st.Sweeper.Sweep(ctx, keep, store.SweepOptions{Grace: grace})
	check(t, err)
	return r
}

// names returns what a bucket has in a folder.
func names(t *testing.T, b bucket.Bucket, dir string) (all []string) {
	t.Helper()
	for o, err := range b.List(t.Context(), dir, "") {
		check(t, err)
		all = append(all, o.Name)
	}
	return all
}

// A gc beside a writer that relies on what it drops: the writer stores that again.
func TestBucketGC(t *testing.T) {
	ctx, b := t.Context(), keepOpen{bucket.NewMemory()}
	w := openBucket(t, b, create())
	old := recordRoot(t, w, "old", "shared by both")
	check(t, w.Tags.Delete(ctx, "old"))
	other := openBucket(t, b, packed.BucketOptions{})
	if ok, err := w.Directories.Get(ctx, old.Root.Digest); err != nil {
		t.Fatal(ok, err)
	}
	check(t, other.Tags.Forget(ctx, []store.Tag{old}))
	recordRoot(t, other, "kept", "kept")
	if r := collect(t, b, 0); r.FreedObjects != 2 {
		t.Errorf("freed %+v", r)
	}
	if _, err := other.Directories.Get(ctx, old.Root.Digest); err != nil {
		t.Errorf("a reader that began before the gc: %v", err)
	}
	again := recordRoot(t, w, "again", "shared by both")
	fresh := openBucket(t, b, packed.BucketOptions{})
	wantRecorded(t, fresh, again, "shared by both")
	for range 3 {
		collect(t, b, 0)
	}
	fresh = openBucket(t, b, packed.BucketOptions{})
	wantRecorded(t, fresh, again, "shared by both")
	if all := names(t, b, "index/"); len(all) != 1 {
		t.Errorf("indexes %q", all)
	}
}

// A gc fails if somebody records a root between its reading of the tags and its end, even if that stores nothing.
func TestBucketGCRecorded(t *testing.T) {
	ctx, b := t.Context(), keepOpen{bucket.NewMemory()}
	w := openBucket(t, b, create())
	old := recordRoot(t, w, "old", "old")
	recordRoot(t, w, "kept", "kept")
	check(t, w.Tags.Delete(ctx, "old"))
	check(t, w.Tags.Forget(ctx, []store.Tag{old}))
	collect(t, b, time.Hour) // which keeps it, and forgets no pin
	b2 := openBucket(t, b, packed.BucketOptions{Options: packed.Options{Exclusive: true}})
	again := openBucket(t, b, packed.BucketOptions{})
	old.Name, old.Listing = "again", putBlob(t, w, "listing") // so that the pin is another one
	check(t, w.Sync(ctx))
	keep := b2.NewSet()
	check(t, again.Tags.Set(ctx, old))
	b2.NewSet() // which sees the new head, and the same indexes
	if _, err := b2.Sweeper.Sweep(ctx, keep, store.SweepOptions{}); !errors.Is(err, store.ErrChanged) {
		t.Errorf("swept after a root was recorded: %v", err)
	}
	wantRecorded(t, openBucket(t, b, packed.BucketOptions{}), old, "old")
}

func putBlob(t *testing.T, st *store.Store, text string) store.Digest {
	t.Helper()
	d, err := st.Blobs.Put(t.Context(), []byte(text))
	check(t, err)
	return d
}

// keepOpen is a bucket that several stores use.
type keepOpen struct{ bucket.Bucket }

func (keepOpen) Close() error { return nil }

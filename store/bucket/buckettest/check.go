package buckettest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"castar/store"
	"castar/store/bucket"
)

// Check checks the contract of a Bucket on an empty one.
func Check(t *testing.T, b bucket.Bucket) {
	CheckPlain(t, b)
	checkVersions(t, b)
}

// CheckPlain is Check for a Bucket that does not support conditional writes.
func CheckPlain(t *testing.T, b bucket.Bucket) {
	ctx := t.Context()
	if _, err := b.Get(ctx, "a/x", 0, 10); !store.IsNotFound(err) {
		t.Errorf("Get of nothing: %v", err)
	}
	if _, err := b.Head(ctx, "a/x"); !store.IsNotFound(err) {
		t.Errorf("Head of nothing: %v", err)
	}
	if err := b.Delete(ctx, "a/x"); err != nil && !store.IsNotFound(err) {
		t.Errorf("Delete of nothing: %v", err)
	}
	for range 2 { // the second time after Sync
		for _, data := range []string{"old and longer", "", "0123456789"} {
			checkObject(t, b, "a/b/x", data)
		}
		if err := b.Sync(ctx); err != nil {
			t.Fatal(err)
		}
	}
	names := []string{"a-/y", "a/b-c/y", "a/b/x", "a/b/y", "a/bc/y", "a/c", "a0/y", "b/y"}
	for _, name := range names {
		if err := b.Put(ctx, name, []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(ctx, "a0/y"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Head(ctx, "a0/y"); !store.IsNotFound(err) {
		t.Errorf("Head of a deleted object: %v", err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return name == "a0/y" })
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b/", "a/b/x", "a/b/xx", "c", "a/c/"} {
		for _, after := range []string{"", "a", "a/b-c/y", "a/b/x", "a/b/xx", "c"} {
			var want []string
			for _, name := range names {
				if strings.HasPrefix(name, prefix) && name > after {
					want = append(want, name)
				}
			}
			if got := List(t, b, prefix, after); !slices.Equal(got, want) {
				t.Errorf("List(%q, %q) = %q, want %q", prefix, after, got, want)
			}
		}
	}
	checkLarge(t, b)
	if now, err := b.Now(ctx); err != nil || time.Since(now).Abs() > time.Minute {
		t.Errorf("Now = %v, %v", now, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.Get(cancelled, "a/b/x", 0, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled Get: %v", err)
	}
}

func checkObject(t *testing.T, b bucket.Bucket, name, data string) {
	t.Helper()
	ctx := t.Context()
	mine := []byte(data)
	if err := b.Put(ctx, name, mine); err != nil {
		t.Fatal(err)
	}
	clear(mine)
	if n, err := b.Head(ctx, name); n != int64(len(data)) || err != nil {
		t.Errorf("Head = %d, %v, want %d", n, err, len(data))
	}
	for offset := range int64(len(data) + 2) {
		for _, n := range []int64{1, 3, 1 << 30} {
			want := part(data, offset, n)
			if got, err := b.Get(ctx, name, offset, n); string(got) != want || err != nil {
				t.Errorf("Get(%d, %d) of %q = %q, %v", offset, n, data, got, err)
			}
		}
	}
}

// part returns at most n bytes of data, starting at offset.
func part(data string, offset, n int64) string {
	data = data[min(offset, int64(len(data))):]
	return data[:min(n, int64(len(data)))]
}

// checkVersions checks Load and PutIf.
func checkVersions(t *testing.T, b bucket.Bucket) {
	ctx := t.Context()
	if _, _, err := b.Load(ctx, "v/x"); !store.IsNotFound(err) {
		t.Errorf("Load of nothing: %v", err)
	}
	first, err := b.PutIf(ctx, "v/x", []byte("first"), bucket.Absent)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.PutIf(ctx, "v/x", []byte("second"), first)
	if err != nil || second == first {
		t.Fatalf("versions %q and %q, %v", first, second, err)
	}
	for what, try := range map[string]struct {
		name string
		old  bucket.Version
	}{
		"exists": {"v/x", bucket.Absent}, "stale": {"v/x", first}, "of something absent": {"v/y", first},
	} {
		if _, err := b.PutIf(ctx, try.name, []byte(what), try.old); !errors.Is(err, bucket.ErrChanged) {
			t.Errorf("PutIf, %s: %v, want ErrChanged", what, err)
		}
	}
	if err := b.Put(ctx, "v/x", []byte("third")); err != nil {
		t.Fatal(err)
	}
	if err := b.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutIf(ctx, "v/x", []byte("x"), second); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("PutIf after Put: %v, want ErrChanged", err)
	}
	data, third, err := b.Load(ctx, "v/x")
	if string(data) != "third" || err != nil {
		t.Errorf("Load = %q, %v", data, err)
	}
	checkRace(t, b, third)
	if err := b.Delete(ctx, "v/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutIf(ctx, "v/x", []byte("again"), third); !errors.Is(err, bucket.ErrChanged) {
		t.Errorf("PutIf of a deleted object: %v, want ErrChanged", err)
	}
	checkRace(t, b, bucket.Absent)
}

// checkRace lets several writers replace one version of v/x. One of them succeeds.
func checkRace(t *testing.T, b bucket.Bucket, old bucket.Version) {
	t.Helper()
	var racing sync.WaitGroup
	won := make(chan string, 8)
	for i := range cap(won) {
		racing.Go(func() {
			mine := fmt.Sprint("writer ", i)
			switch _, err := b.PutIf(t.Context(), "v/x", []byte(mine), old); {
			case err == nil:
				won <- mine
			case !errors.Is(err, bucket.ErrChanged):
				t.Error(err)
			}
		})
	}
	racing.Wait()
	close(won)
	var winners []string
	for mine := range won {
		winners = append(winners, mine)
	}
	data, _, err := b.Load(t.Context(), "v/x")
	if len(winners) != 1 || string(data) != winners[0] || err != nil {
		t.Errorf("%q won, and the object is %q, %v", winners, data, err)
	}
}

// checkLarge checks PutLarge, and what List tells.
func checkLarge(t *testing.T, b bucket.Bucket) {
	ctx := t.Context()
	for _, size := range []int64{0, 1 << 20} {
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{}).Read(data)
		if err := b.PutLarge(ctx, "large/x", bytes.NewReader(data), size); err != nil {
			t.Fatal(err)
		}
		if got, err := b.Get(ctx, "large/x", 0, 2*size+1); err != nil || !bytes.Equal(got, data) {
			t.Errorf("large object of %d bytes: got %d, %v", size, len(got), err)
		}
		for o, err := range b.List(ctx, "large/", "") {
			known := o.Size >= 0 || !o.Modified.IsZero()
			if err != nil || known && (o.Size != size || time.Since(o.Modified).Abs() > time.Minute) {
				t.Errorf("%+v, %v, want %d bytes, put just now", o, err, size)
			}
		}
	}
	if err := b.PutLarge(ctx, "large/y", bytes.NewReader(nil), 1); err == nil {
		t.Error("PutLarge of a reader that ends too soon succeeds")
	}
}

// List returns the names that a Bucket lists.
func List(t *testing.T, b bucket.Bucket, prefix, after string) (names []string) {
	t.Helper()
	for o, err := range b.List(t.Context(), prefix, after) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, o.Name)
	}
	return names
}

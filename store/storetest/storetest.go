// Package storetest tests that a store keeps the contracts of package store. A store's own tests run it with one line.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"castar/store"
)

// Run checks that a kind of store keeps the contracts. Each call of open returns a new, empty store, which Run closes.
// Lanes, Groups, Takes, Joins, RemoteBlobs, Tags and Lister are checked unless they are nil; the other parts must be there.
func Run(t *testing.T, open func(t *testing.T) *store.Store) {
	t.Run("Store", func(t *testing.T) { stores(t, open) })
	groups := []struct {
		name   string
		has    func(*store.Store) bool
		checks []check
	}{
		{"Blobs", nil, blobChecks()},
		{"Blob", nil, readChecks()},
		{"Grouper", func(st *store.Store) bool { return st.Groups != nil }, groupChecks()},
		{"Taker", func(st *store.Store) bool { return st.Takes != nil && st.Takes.ChunkSize() > 0 }, takeChecks()},
		{"Joiner", func(st *store.Store) bool { return st.Joins != nil }, joinChecks()},
		{"RemoteBlobs", func(st *store.Store) bool { return st.RemoteBlobs != nil }, remoteChecks()},
		{"Directories", nil, directoryChecks()},
		{"Walk", nil, walkChecks()},
		{"Upload", nil, uploadChecks()},
		{"Tags", hasTags, tagChecks()},
		{"Lister", func(st *store.Store) bool { return st.Lister != nil }, listChecks()},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, c := range g.checks {
				t.Run(c.name, func(t *testing.T) {
					st := start(t, open)
					if g.has != nil && !g.has(st) {
						t.Skip("this kind of store does not have it")
					}
					c.run(t, st)
				})
			}
		})
	}
}

// hasTags reports whether a store has tags. One that cannot say is taken to have them.
func hasTags(st *store.Store) bool {
	has, err := st.HasTags(context.Background())
	return has || err != nil
}

// RunTags is Run for the tags alone.
func RunTags(t *testing.T, open func(t *testing.T) *store.Store) {
	for _, c := range tagChecks() {
		t.Run(c.name, func(t *testing.T) { c.run(t, start(t, open)) })
	}
}

// RunDirectories is Run for the directories alone.
func RunDirectories(t *testing.T, open func(t *testing.T) *store.Store) {
	for _, c := range slices.Concat(directoryChecks(), walkChecks(), uploadChecks()) {
		t.Run(c.name, func(t *testing.T) { c.run(t, start(t, open)) })
	}
}

// Keeps checks that a wrapper of a store has every part that the inner store has: each field of store.Store that is set
// there. It must not have the parts in except, which are named like the fields. A part that package store gets is asked for
// without a change here.
func Keeps(t *testing.T, inner, outer *store.Store, except ...string) {
	t.Helper()
	in, out := reflect.ValueOf(*inner), reflect.ValueOf(*outer)
	for i := range in.NumField() {
		name := in.Type().Field(i).Name
		switch excepted := slices.Contains(except, name); {
		case excepted && !out.Field(i).IsZero():
			t.Errorf("the store has %s, which is an exception", name)
		case !excepted && out.Field(i).IsZero() && !in.Field(i).IsZero():
			t.Errorf("the store has no %s, but its inner store has", name)
		}
	}
}

// check tests one clause of a contract on an empty store.
type check struct {
	name string
	run  func(t *testing.T, st *store.Store)
}

// start opens a store for one test.
func start(t *testing.T, open func(*testing.T) *store.Store) *store.Store {
	t.Helper()
	st := open(t)
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return st
}

func stores(t *testing.T, open func(*testing.T) *store.Store) {
	t.Run("two stores have two IDs", func(t *testing.T) {
		a, b := start(t, open), start(t, open)
		if a.ID == "" || a.ID == b.ID {
			t.Errorf("IDs %q and %q", a.ID, b.ID)
		}
	})
	t.Run("two stores share nothing", func(t *testing.T) {
		a, b := start(t, open), start(t, open)
		d := put(t, a, []byte("in one only"))
		wantNoBlob(t, b, d)
	})
	t.Run("an empty store syncs", func(t *testing.T) {
		st := start(t, open)
		for range 2 {
			if err := st.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("what was synced stays, and more may follow", func(t *testing.T) {
		st := start(t, open)
		for i := range 3 {
			data := fmt.Appendf(nil, "blob %d", i)
			d := put(t, st, data)
			if err := st.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
			wantBlob(t, st, d, data)
			wantBlob(t, st, store.Sum([]byte("blob 0")), []byte("blob 0"))
		}
	})
	t.Run("writers may sync at the same time", func(t *testing.T) {
		st := start(t, open)
		parallel(t, func(worker int) error {
			for i := range 4 {
				data := fmt.Appendf(nil, "blob %d of %d", i, worker)
				d, err := st.Blobs.Put(t.Context(), data)
				if err == nil {
					err = st.Sync(t.Context())
				}
				if err == nil {
					err = checkBlob(t.Context(), st, d, data)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// workers is how many goroutines the tests of concurrent use start.
const workers = 8

// parallel calls f from several goroutines, each with its own number, and reports their errors.
func parallel(t *testing.T, f func(worker int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			if err := f(i); err != nil {
				t.Errorf("goroutine %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// random returns n bytes that are the same in every run, and differ from seed to seed.
func random(seed byte, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func put(t *testing.T, st *store.Store, data []byte) store.Digest {
	t.Helper()
	d, err := st.Blobs.Put(t.Context(), data)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if want := store.Sum(data); d != want {
		t.Fatalf("Put returned %s, want %s", d, want)
	}
	return d
}

func create(t *testing.T, st *store.Store) store.BlobWriter {
	t.Helper()
	w, err := st.Blobs.Create(t.Context())
	if err != nil {
		t.Fatalf("Create: %v", err)
	}
	return w
}

func openBlob(t *testing.T, st *store.Store, d store.Digest) store.Blob {
	t.Helper()
	b, err := st.Blobs.Open(t.Context(), d)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close of a blob: %v", err)
		}
	})
	return b
}

// checkBlob returns an error unless st has the blob d, and it is data.
func checkBlob(ctx context.Context, st *store.Store, d store.Digest, data []byte) error {
	if has, err := st.Blobs.Has(ctx, d); err != nil || !has {
		return fmt.Errorf("has(%s) = %v, %v, want true", d, has, err)
	}
	b, err := st.Blobs.Open(ctx, d)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer b.Close()
	if b.Size() != uint64(len(data)) {
		return fmt.Errorf("%s: Size is %d, want %d", d, b.Size(), len(data))
	}
	m := matcher{rest: data}
	if _, err := io.Copy(&m, struct{ io.Reader }{b}); err != nil {
		return fmt.Errorf("read of %s: %w", d, err)
	}
	if len(m.rest) > 0 {
		return fmt.Errorf("%s: the last %d bytes of %d are missing", d, len(m.rest), len(data))
	}
	return nil
}

// matcher is a Writer of the bytes in rest, in order. Any others are an error.
type matcher struct{ rest []byte }

func (m *matcher) Write(p []byte) (int, error) {
	if len(p) > len(m.rest) || !bytes.Equal(p, m.rest[:len(p)]) {
		return 0, fmt.Errorf("got %s, want %s", brief(p), brief(m.rest))
	}
	m.rest = m.rest[len(p):]
	return len(p), nil
}

func wantBlob(t *testing.T, st *store.Store, d store.Digest, data []byte) {
	t.Helper()
	if err := checkBlob(t.Context(), st, d, data); err != nil {
		t.Fatal(err)
	}
}

func wantNoBlob(t *testing.T, st *store.Store, d store.Digest) {
	t.Helper()
	if has, err := st.Blobs.Has(t.Context(), d); has || err != nil {
		t.Errorf("Has = %v, %v, want false", has, err)
	}
	b, err := st.Blobs.Open(t.Context(), d)
	if !store.IsNotFound(err) {
		t.Errorf("Open: error %v, want ErrNotFound", err)
	}
	if err == nil {
		b.Close()
	}
	if chunks, err := st.Blobs.Chunks(t.Context(), d); !store.IsNotFound(err) {
		t.Errorf("Chunks = %d chunks, error %v, want ErrNotFound", len(chunks), err)
	}
}

// brief describes bytes that may be too many to print.
func brief(b []byte) string {
	if len(b) <= 32 {
		return fmt.Sprintf("%q", b)
	}
	return fmt.Sprintf("%d bytes that begin with %q", len(b), b[:32])
}

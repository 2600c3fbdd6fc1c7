package tier_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"
	"castar/store/storetest/gorace"
	"castar/store/tier"
)

func TestMain(m *testing.M) {
	gorace.Restart()
	goleak.VerifyTestMain(m)
}

func TestStore(t *testing.T) {
	for _, name := range []string{"near only", "write through"} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(*testing.T) *store.Store {
				return tier.New(memory.New(), memory.New(), tier.Options{WriteThrough: name == "write through"})
			})
		})
	}
}

// Blobs put by a lane, in a group or by their chunks go where other blobs go. A blob can be joined even if only the far
// store has its chunks.
func TestWritesByOtherWays(t *testing.T) {
	for _, through := range []bool{false, true} {
		near, far := memory.New(), memory.New()
		ways := &putAll{Blobs: near.Blobs}
		near.Groups, near.Joins = ways, ways
		farWays := &putAll{Blobs: far.Blobs}
		far.Groups, far.Joins = farWays, farWays
		st := tier.New(near, far, tier.Options{WriteThrough: through})

		d := put(t, st.Lane(), []byte("lane"))
		wantHas(t, near.Blobs, d, true)
		wantHas(t, far.Blobs, d, through)

		digests, err := st.Groups.PutGroup(t.Context(), []byte("ab"), []int{1, 1}, nil)
		if err != nil || len(digests) != 2 {
			t.Fatal(digests, err)
		}
		wantHas(t, near.Blobs, digests[1], true)
		wantHas(t, far.Blobs, digests[1], through)

		a, b := put(t, far.Blobs, []byte("first ")), put(t, far.Blobs, []byte("second"))
		whole := store.Sum([]byte("first second"))
		if err := st.Joins.Join(t.Context(), whole, []store.Chunk{{Digest: a, Size: 6}, {Digest: b, Size: 6}}); err != nil {
			t.Fatal(err)
		}
		wantHas(t, near.Blobs, whole, true)
		wantHas(t, far.Blobs, whole, through)
		if _, err := st.Groups.Group(t.Context(), put(t, far.Blobs, []byte("far only"))); !errors.Is(err, store.ErrUnsupported) {
			t.Errorf("the group of a blob that only the far store has: %v", err)
		}
		err = st.Joins.Join(t.Context(), store.Sum([]byte("x")), []store.Chunk{{Digest: store.Digest{1}, Size: 1}})
		if !store.IsNotFound(err) {
			t.Errorf("a chunk that neither has: %v", err)
		}
	}
}

func TestReadThrough(t *testing.T) {
	storetest.NotUnderRace(t)
	storetest.Run(t, func(*testing.T) *store.Store { return readThrough() })
}

func TestWrites(t *testing.T) {
	for _, through := range []bool{false, true} {
		near, far := memory.New(), memory.New()
		st := tier.New(near, far, tier.Options{WriteThrough: through})
		d := put(t, st.Blobs, []byte("x"))
		wantHas(t, near.Blobs, d, true)
		wantHas(t, far.Blobs, d, through)
		w, err := st.Blobs.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if _, err := io.WriteString(w, "y"); err != nil {
			t.Fatal(err)
		}
		if d, err = w.Commit(); err != nil || d != store.Sum([]byte("y")) {
			t.Fatalf("Commit = %s, %v", d, err)
		}
		wantHas(t, near.Blobs, d, true)
		wantHas(t, far.Blobs, d, through)

		// A caller that is told a blob exists does not put it, and far would never get it.
		wantHas(t, st.Blobs, put(t, near.Blobs, []byte("near only")), !through)
	}
}

// Writing through succeeds only if both stores have the blob, and fetching only if Near keeps it.
func TestOneIsFull(t *testing.T) {
	for _, isFull := range []string{"near", "far"} {
		near, far := memory.New().Blobs, memory.New().Blobs
		b := &tier.Blobs{Near: near, Far: full{far}, WriteThrough: true}
		if isFull == "near" {
			b.Near, b.Far = full{near}, far
		}
		if _, err := b.Put(t.Context(), []byte("x")); !errors.Is(err, errBroken) {
			t.Errorf("%s is full: Put: error %v", isFull, err)
		}
		w, err := b.Create(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Commit(); !errors.Is(err, errBroken) {
			t.Errorf("%s is full: Commit: error %v", isFull, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if isFull == "far" {
			wantHas(t, near, store.Sum(nil), false)
			continue
		}
		for _, size := range []int{1000, 2 << 20} {
			if _, err := read(t.Context(), b, put(t, far, random(1, size))); !errors.Is(err, errBroken) {
				t.Errorf("%d bytes that Near cannot keep: error %v", size, err)
			}
		}
	}
}

// barrier records the calls of two barriers, in order.
type barrier struct {
	name  string
	calls *[]string
	err   error
}

func (b barrier) Sync(context.Context) error {
	*b.calls = append(*b.calls, "sync "+b.name)
	return b.err
}
func (b barrier) Close() error { *b.calls = append(*b.calls, "close "+b.name); return b.err }

func TestBarrier(t *testing.T) {
	var calls []string
	near, far := memory.New(), memory.New()
	near.Barrier, far.Barrier = barrier{"near", &calls, nil}, barrier{"far", &calls, nil}
	st := tier.New(near, far, tier.Options{})
	if err := errors.Join(st.Sync(t.Context()), st.Close()); err != nil {
		t.Fatal(err)
	}
	const want = "sync far, sync near, sync near, close near, close far"
	if got := strings.Join(calls, ", "); got != want {
		t.Errorf("calls %s, want %s", got, want)
	}
	far.Barrier = barrier{"far", &calls, errBroken}
	st = tier.New(near, far, tier.Options{})
	if err := st.Sync(t.Context()); !errors.Is(err, errBroken) {
		t.Errorf("Sync: error %v", err)
	}
	if err := st.Close(); !errors.Is(err, errBroken) {
		t.Errorf("Close: error %v", err)
	}
}

// A part that only one store has is taken from that store.
func TestParts(t *testing.T) {
	a, b := memory.New(), memory.New()
	blobs := &store.Store{ID: "a", Blobs: a.Blobs, Barrier: a.Barrier}
	dirs := &store.Store{ID: "b", Directories: b.Directories, Barrier: b.Barrier, Tags: b.Tags, Lister: b.Lister}
	for _, st := range []*store.Store{tier.New(blobs, dirs, tier.Options{}), tier.New(dirs, blobs, tier.Options{})} {
		if st.Blobs != a.Blobs || st.Directories != b.Directories || st.Lister != nil {
			t.Errorf("parts %T, %T, %T", st.Blobs, st.Directories, st.Lister)
		}
	}
	if st := tier.New(dirs, blobs, tier.Options{}); st.Tags != b.Tags {
		t.Error("tags are not those of near")
	}
	if st := tier.New(dirs, blobs, tier.Options{WriteThrough: true}); st.Tags != nil {
		t.Error("tags are not those of far")
	}
	ids := map[string]bool{}
	for _, o := range []tier.Options{{}, {WriteThrough: true}} {
		ids[tier.New(a, b, o).ID], ids[tier.New(b, a, o).ID] = true, true
	}
	if again := tier.New(a, b, tier.Options{}).ID; len(ids) != 4 || !ids[again] {
		t.Errorf("IDs %v, and again %s", ids, again)
	}
}

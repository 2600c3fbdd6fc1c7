package storetest

import (
	"fmt"
	"iter"
	"strings"
	"testing"

	"castar/store"
)

func listChecks() []check {
	return []check{
		{"an empty store lists nothing", func(t *testing.T, st *store.Store) {
			if got := list(t, st, store.Digest{}, 0); len(got) > 0 {
				t.Errorf("List yields %v", got)
			}
		}},
		{"List yields what begins with the prefix", listPrefixes},
		{"what was put is listed at once", func(t *testing.T, st *store.Store) {
			for i := range 10 {
				d := put(t, st, fmt.Appendf(nil, "blob %d", i))
				if !list(t, st, d, store.MinPrefixLen)[d] {
					t.Errorf("List leaves out %s", d)
				}
			}
		}},
		{"a loop may be left, and may store", func(t *testing.T, st *store.Store) {
			for i := range 10 {
				put(t, st, fmt.Appendf(nil, "blob %d", i))
			}
			for _, err := range st.Lister.List(t.Context(), store.Digest{}, 0) {
				if err != nil {
					t.Fatal(err)
				}
				put(t, st, []byte("stored in the loop"))
				break
			}
			d := store.Sum([]byte("stored in the loop"))
			if !list(t, st, d, 64)[d] {
				t.Errorf("List leaves out %s", d)
			}
		}},
	}
}

// listPrefixes stores enough that single nibbles are shared, and asks for prefixes of every kind of length.
func listPrefixes(t *testing.T, st *store.Store) {
	want := map[store.Digest]bool{}
	for i := range 30 {
		want[put(t, st, fmt.Appendf(nil, "blob %d", i))] = true
		dir := store.Directory{{Name: fmt.Sprintf("entry %d", i), Kind: store.KindFile}}
		want[putDirectory(t, st, dir)] = true
	}
	big := put(t, st, blobB())
	want[big] = true
	chunks, err := st.Blobs.Chunks(t.Context(), big)
	if err != nil {
		t.Fatal(err)
	}
	for _, chunk := range chunks {
		want[chunk.Digest] = true
	}
	for range 2 {
		for _, nibbles := range []int{0, 1, 2, 3, 7, 8, 9, 63, 64} {
			n := 0
			for d := range want {
				wantListed(t, st, d, nibbles, want)
				if n++; n == 4 || UnderRace {
					break // the next loop takes others
				}
			}
		}
		if err := st.Sync(t.Context()); err != nil { // the second round finds everything in its final form
			t.Fatal(err)
		}
	}
	if got := list(t, st, store.Sum([]byte("absent")), 64); len(got) > 0 {
		t.Errorf("List of an absent digest yields %v", got)
	}
}

// wantListed lists the digests that begin like d. They must include all such digests in want.
func wantListed(t *testing.T, st *store.Store, d store.Digest, nibbles int, want map[store.Digest]bool) {
	t.Helper()
	got := list(t, st, d, nibbles)
	prefix := d.String()[:nibbles]
	for other := range want {
		if strings.HasPrefix(other.String(), prefix) && !got[other] {
			t.Fatalf("List of %q leaves out %s", prefix, other)
		}
	}
}

// list collects the digests that List yields. It changes the rest of prefix, which must not matter.
func list(t *testing.T, st *store.Store, prefix store.Digest, nibbles int) map[store.Digest]bool {
	t.Helper()
	want := prefix.String()[:nibbles]
	for i := nibbles; i < 2*store.DigestSize; i++ {
		prefix[i/2] ^= 0xf0 >> (i % 2 * 4)
	}
	set := map[store.Digest]bool{}
	for _, d := range collect(t, st.Lister.List(t.Context(), prefix, nibbles)) {
		if !strings.HasPrefix(d.String(), want) {
			t.Fatalf("List of %q yields %s", want, d)
		}
		set[d] = true
	}
	return set
}

// collect returns the values of a sequence that must not yield errors.
func collect[T any](t *testing.T, seq iter.Seq2[T, error]) (all []T) {
	t.Helper()
	for v, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

package packed

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"castar/store"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
	"castar/store/zstd"
)

// lines returns a text of n bytes that no other seed has.
func lines(seed, n int) (b []byte) {
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d of %d, and so on\n", i, seed)
	}
	return b[:n]
}

// grouped returns what PutGroup takes for blobs.
func grouped(t *testing.T, blobs ...[]byte) (raw []byte, sizes []int, frame []byte) {
	t.Helper()
	for _, data := range blobs {
		raw = append(raw, data...)
		sizes = append(sizes, len(data))
	}
	enc, err := zstd.NewEncoder(1, zstd.Default) // not as the store would do it
	if err == nil {
		frame, err = enc.Append(nil, raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw, sizes, frame
}

// A group of new blobs is stored as the frame that it came in, and any other as if the blobs had come one by one.
func TestPutGroup(t *testing.T) {
	long := lines(1, 700_000) // of several chunks
	tests := []struct {
		name   string
		before [][]byte
		blobs  [][]byte
		kept   bool
	}{
		{"new blobs", nil, [][]byte{lines(2, 30_000), long, {}, lines(3, 60_000)}, true},
		{"new blobs beside others", [][]byte{lines(9, 1000)}, [][]byte{lines(2, 30_000), long}, true},
		{"a blob that is there", [][]byte{lines(2, 30_000)}, [][]byte{long, lines(2, 30_000)}, false},
		{"all are there", [][]byte{long, lines(2, 30_000)}, [][]byte{long, lines(2, 30_000)}, false},
		{"a blob twice", nil, [][]byte{lines(2, 30_000), long, lines(2, 30_000)}, false},
		{"chunks that are there", [][]byte{append(slices.Clone(long), 'x')}, [][]byte{long, lines(2, 30_000)}, false},
		{"few bytes", nil, [][]byte{lines(2, pack.GroupSize/4-1)}, false},
		{"too many bytes", nil, [][]byte{lines(2, pack.LongestGroup), {'x'}}, false},
	}
	for _, tt := range tests {
		for _, synced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, synced %v", tt.name, synced), func(t *testing.T) {
				fsys := crashfs.New()
				st := openLimited(t, fsys, func(*live.Limits) {})
				defer closeStore(t, st)
				for _, data := range tt.before {
					if _, err := st.Blobs().Put(t.Context(), data); err != nil {
						t.Fatal(err)
					}
				}
				if synced && st.Sync(t.Context()) != nil {
					t.Fatal("not synced")
				}
				raw, sizes, frame := grouped(t, tt.blobs...)
				if _, err := st.Blobs().PutGroup(t.Context(), raw, sizes, frame); err != nil {
					t.Fatal(err)
				}
				if err := st.Sync(t.Context()); err != nil {
					t.Fatal(err)
				}
				kept, seen := false, map[store.Digest]int{}
				for _, f := range frames(t, fsys.Files()) {
					kept = kept || bytes.Equal(f.payload, frame)
					for _, it := range f.Items {
						seen[it.Digest]++
					}
				}
				if kept != tt.kept {
					t.Errorf("the frame is kept: %v, want %v", kept, tt.kept)
				}
				for d, n := range seen {
					if n != 1 {
						t.Errorf("%s is stored %d times", d, n)
					}
				}
				checkAsPut(t, st, tt.blobs)
			})
		}
	}
}

// checkAsPut checks that blobs are in a store, in the chunks that they have where they are put one by one.
func checkAsPut(t *testing.T, st *live.Store, all [][]byte) {
	t.Helper()
	other := openLimited(t, crashfs.New(), func(*live.Limits) {})
	defer closeStore(t, other)
	for i, data := range all {
		d, err := other.Blobs().Put(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readBlob(t.Context(), st, d); err != nil || !bytes.Equal(got, data) {
			t.Errorf("blob %d: %d bytes, %v", i, len(got), err)
		}
		want, err := other.Blobs().Chunks(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := st.Blobs().Chunks(t.Context(), d); err != nil || !slices.Equal(got, want) {
			t.Errorf("blob %d: %d chunks, want %d: %v", i, len(got), len(want), err)
		}
	}
}

// A group that cannot be written is an error, and the store takes nothing more.
func TestPutGroupFails(t *testing.T) {
	fsys := crashfs.New()
	st := openLimited(t, fsys, func(*live.Limits) {})
	defer st.Close()
	raw, sizes, frame := grouped(t, lines(1, 600_000))
	writes := 0
	fsys.Inject(func(op crashfs.Op) error {
		if op.Kind == crashfs.Write {
			if writes++; writes > 1 { // not the head of the pack
				return syscall.ENOSPC
			}
		}
		return nil
	})
	if _, err := st.Blobs().PutGroup(t.Context(), raw, sizes, frame); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("PutGroup: %v, want that the disk is full", err)
	}
	fsys.Inject(nil)
	if _, err := st.Blobs().PutGroup(t.Context(), raw, sizes, frame); err == nil {
		t.Error("a store that failed takes more")
	}
	if err := st.Sync(t.Context()); err == nil {
		t.Error("Sync succeeds")
	}
}

// A group that is damaged is an error about the blob that was asked for, and no other group is.
func TestGroupDamaged(t *testing.T) {
	dir := t.TempDir()
	all := scrubSample(t, dir)
	spoil(t, dir, all[3])
	st := openStore(t, dir, Options{})
	for i, data := range all {
		d := store.Sum(data)
		g, err := st.Blobs().Group(t.Context(), d)
		damage, corrupt := errors.AsType[*store.CorruptError](err)
		switch {
		case i == 3 && (!corrupt || damage.Digest != d):
			t.Errorf("damaged: %v, want that %s is", err, d)
		case i != 3 && (err != nil || !bytes.Equal(g.Plain, data)):
			t.Errorf("blob %d: %d bytes, %v", i, len(g.Plain), err)
		}
	}
}

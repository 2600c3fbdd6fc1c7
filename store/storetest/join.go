package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"castar/store"
	"castar/store/chunk"
)

func joinChecks() []check {
	return []check{
		{"Join stores what chunks make up", joined},
		{"Join of chunks that were cut further", joinedOfJoined},
		{"Join refuses what chunks do not make up", joinedWrong},
		{"concurrent joins", concurrentJoins},
	}
}

// pieces returns chunks of data as a store cuts them whose chunks have that average length.
func pieces(t *testing.T, average int, data []byte) (all [][]byte) {
	t.Helper()
	c, err := chunk.NewCutter(average)
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n := c.Cut(data)
		all = append(all, data[:n])
		data = data[n:]
	}
	return all
}

// listed returns the chunks of pieces.
func listed(chunks ...[]byte) (list []store.Chunk) {
	for _, data := range chunks {
		list = append(list, store.Chunk{Digest: store.Sum(data), Size: uint64(len(data))})
	}
	return list
}

func join(t *testing.T, st *store.Store, d store.Digest, chunks []store.Chunk) error {
	t.Helper()
	return st.Joins.Join(t.Context(), d, chunks)
}

func joined(t *testing.T, st *store.Store) {
	repeated := bytes.Repeat(random(1, 300_000), 10)
	for i, data := range [][]byte{random(2, 3<<20), repeated, bytes.Join(texts(3, 2<<20), nil), random(4, 1000)}[Sample(0, 2):] {
		chunks := pieces(t, st.Joins.ChunkSize(), data)
		d := store.Sum(data)
		for _, c := range chunks {
			put(t, st, c)
		}
		for round := range 3 { // the chunks are in memory; then the blob is, too; then all are synced
			if err := join(t, st, d, listed(chunks...)); err != nil {
				t.Fatalf("blob %d, round %d: %v", i, round, err)
			}
			wantBlob(t, st, d, data)
			got, err := st.Blobs.Chunks(t.Context(), d)
			if len(chunks) == 1 && err == nil && len(got) == 0 {
				got = listed(data)
			}
			if err != nil || !slices.Equal(got, listed(chunks...)) {
				t.Errorf("blob %d, round %d: %d chunks, %v, want %d", i, round, len(got), err, len(chunks))
			}
			if err := st.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		// The chunks are synced now.
		half := bytes.Join(chunks[:len(chunks)/2], nil)
		if err := join(t, st, store.Sum(half), listed(chunks[:len(chunks)/2]...)); len(half) > 0 {
			if err != nil {
				t.Errorf("half of blob %d: %v", i, err)
			}
			wantBlob(t, st, store.Sum(half), half)
		}
	}
}

func joinedOfJoined(t *testing.T, st *store.Store) {
	one, two := random(1, 3<<20), random(2, 3<<20)
	put(t, st, one)
	put(t, st, two)
	both := slices.Concat(one, two)
	for range 2 {
		if err := join(t, st, store.Sum(both), listed(one, two)); err != nil {
			t.Fatal(err)
		}
		wantBlob(t, st, store.Sum(both), both)
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func joinedWrong(t *testing.T, st *store.Store) {
	data := random(1, 3<<20)
	chunks := pieces(t, st.Joins.ChunkSize(), data)
	if len(chunks) < 3 {
		t.Fatalf("%d chunks", len(chunks))
	}
	for _, c := range chunks {
		put(t, st, c)
	}
	put(t, st, nil)
	d, list := store.Sum(data), listed(chunks...)
	sized := func(n uint64) []store.Chunk {
		wrong := slices.Clone(list)
		wrong[1].Size = n
		return wrong
	}
	absent := store.Chunk{Digest: store.Sum([]byte("absent")), Size: 6}
	for round := range 2 {
		for _, tt := range []struct {
			name string
			list []store.Chunk
			want error
		}{
			{"no chunks", nil, store.ErrDigestMismatch},
			{"one chunk", list[:1], store.ErrDigestMismatch},
			{"too few", list[1:], store.ErrDigestMismatch},
			{"too many", append(list[:len(list):len(list)], list[0]), store.ErrDigestMismatch},
			{"another order", append(list[1:len(list):len(list)], list[0]), store.ErrDigestMismatch},
			{"a size too small", sized(list[1].Size - 1), store.ErrDigestMismatch},
			{"a size too large", sized(1 << 63), store.ErrDigestMismatch},
			{"a size of none", sized(0), store.ErrDigestMismatch},
			{"an empty chunk", append(list[:len(list):len(list)], store.Chunk{Digest: store.Sum(nil)}), store.ErrDigestMismatch},
			{"a missing chunk", append(list[:1:1], absent), store.ErrNotFound},
			{"nothing but a missing chunk", []store.Chunk{absent}, store.ErrNotFound},
		} {
			err := join(t, st, d, tt.list)
			if _, corrupt := errors.AsType[*store.CorruptError](err); corrupt || !errors.Is(err, tt.want) {
				t.Errorf("round %d, %s: %v, want %v", round, tt.name, err, tt.want)
			}
			wantNoBlob(t, st, d)
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func concurrentJoins(t *testing.T, st *store.Store) {
	shared := random(99, 2<<20)
	parallel(t, func(worker int) error {
		data := slices.Concat(shared, random(byte(worker), 100_000))
		all := pieces(t, st.Joins.ChunkSize(), data)
		for _, c := range all {
			if _, err := st.Blobs.Put(t.Context(), c); err != nil {
				return err
			}
		}
		for _, chunks := range [][][]byte{all, all[:3]} {
			blob := bytes.Join(chunks, nil)
			if err := join(t, st, store.Sum(blob), listed(chunks...)); err != nil {
				return err
			}
			b, err := st.Blobs.Open(t.Context(), store.Sum(blob))
			if err != nil {
				return err
			}
			got, err := io.ReadAll(b)
			if err = errors.Join(err, b.Close()); err != nil || !bytes.Equal(got, blob) {
				return fmt.Errorf("%d bytes of %d, %w", len(got), len(blob), err)
			}
		}
		return st.Sync(t.Context())
	})
}

package packed

import (
	"bytes"
	"errors"
	"testing"

	"castar/store"
)

// A blob is not stored whose chunk is damaged, and the error is about that chunk.
func TestJoinDamaged(t *testing.T) {
	dir := t.TempDir()
	all := scrubSample(t, dir)
	spoil(t, dir, all[3])
	st := openStore(t, dir, Options{})
	for _, tt := range []struct {
		name   string
		chunks [][]byte
		whole  bool
	}{
		{"damaged", [][]byte{all[2], all[3]}, false},
		{"damaged, first", [][]byte{all[3], all[2], all[1]}, false},
		{"whole", [][]byte{all[1], all[2]}, true},
	} {
		var list []store.Chunk
		for _, data := range tt.chunks {
			list = append(list, store.Chunk{Digest: store.Sum(data), Size: uint64(len(data))})
		}
		data := bytes.Join(tt.chunks, nil)
		d := store.Sum(data)
		err := st.Blobs().Join(t.Context(), d, list)
		damage, corrupt := errors.AsType[*store.CorruptError](err)
		if tt.whole && err != nil || !tt.whole && (!corrupt || damage.Digest != store.Sum(all[3])) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if has, err := st.Blobs().Has(t.Context(), d); has != tt.whole || err != nil {
			t.Errorf("%s: has %v, %v", tt.name, has, err)
		}
	}
}

// A store that is only read joins nothing.
func TestJoinReadOnly(t *testing.T) {
	dir := t.TempDir()
	all := scrubSample(t, dir)
	st := openStore(t, dir, Options{ReadOnly: true})
	data := bytes.Join(all[:2], nil)
	list := []store.Chunk{
		{Digest: store.Sum(all[0]), Size: uint64(len(all[0]))}, {Digest: store.Sum(all[1]), Size: uint64(len(all[1]))},
	}
	if err := st.Blobs().Join(t.Context(), store.Sum(data), list); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("%v, want that the store is read-only", err)
	}
}

package objects

import (
	"bytes"
	"errors"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/record"
)

// A record that needs what this program does not know is no damage, and is neither replaced nor removed. The others go on.
func TestNewerRecord(t *testing.T) {
	ctx, bucket := t.Context(), bucket.NewMemory()
	st, err := Open(ctx, bucket, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	tag := store.Tag{Name: "later", Root: store.Node{Kind: store.KindSymlink, Target: "x"}}
	other := tag
	other.Name = "other"
	if err := errors.Join(st.Tags.Set(ctx, tag), st.Tags.Set(ctx, other), st.Tags.Record(ctx, tag)); err != nil {
		t.Fatal(err)
	}
	wrote := record.TwoLines.Wrap([]byte(`{"needs":["words"],"root":{"not":"a node"}}`))
	const entry = logPrefix + "0000000000000000-x"
	if err := errors.Join(bucket.Put(ctx, tagName("later"), wrote), bucket.Put(ctx, entry, wrote)); err != nil {
		t.Fatal(err)
	}
	_, gerr := st.Tags.Get(ctx, "later")
	for what, err := range map[string]error{"Get": gerr, "Set": st.Tags.Set(ctx, tag), "Delete": st.Tags.Delete(ctx, "later")} {
		if !errors.Is(err, store.ErrNewer) || store.IsCorrupt(err) {
			t.Errorf("%s: error %v", what, err)
		}
	}
	for _, name := range []string{tagName("later"), entry} {
		if b, err := bucket.Get(ctx, name, 0, 1<<10); err != nil || !bytes.Equal(b, wrote) {
			t.Errorf("%s is now %q, %v", name, b, err)
		}
	}
	for what, list := range map[string]func(func(store.Tag, error) bool){"All": st.Tags.All(ctx), "Log": st.Tags.Log(ctx)} {
		read, newer := 0, 0
		for _, err := range list {
			switch {
			case err == nil:
				read++
			case errors.Is(err, store.ErrNewer) && !store.IsCorrupt(err):
				newer++
			default:
				t.Errorf("%s: %v", what, err)
			}
		}
		if read != 1 || newer != 1 {
			t.Errorf("%s: %d records, %d of a newer castar", what, read, newer)
		}
	}
	if err := st.Tags.Delete(ctx, "other"); err != nil {
		t.Error(err)
	}
}

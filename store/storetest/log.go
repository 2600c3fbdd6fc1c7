package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"castar/store"
)

func logOrder(t *testing.T, st *store.Store) {
	var want []store.Tag
	for range 3 {
		for _, tag := range tags() { // the times go back and forth; the log keeps the order of the calls
			for _, name := range []string{"", tag.Name} {
				tag.Name = name
				if err := st.Tags.Record(t.Context(), tag); err != nil {
					t.Fatal(err)
				}
				want = append(want, tag)
			}
		}
		wantTags(t, collect(t, st.Tags.Log(t.Context())), want)
	}
	if all := collect(t, st.Tags.All(t.Context())); len(all) > 0 {
		t.Errorf("Record made the tags %v", all)
	}
	setTag(t, st, tags()[0])
	wantTags(t, collect(t, st.Tags.Log(t.Context())), want)
}

// logKept keeps a root that was sent, by its tag and without one.
func logKept(t *testing.T, st *store.Store) {
	ctx := t.Context()
	tag := tags()[0]
	var want []store.Tag
	for i, name := range []string{"", tag.Name} {
		d, err := st.Blobs.Put(ctx, []byte{byte(i)})
		if err == nil {
			err = st.Send(ctx)
		}
		if has, herr := st.Blobs.Has(ctx, d); !has || herr != nil {
			t.Errorf("a blob that was sent is not there: %v", herr)
		}
		tag.Name, tag.Listing = name, d
		if err == nil {
			err = st.Keep(ctx, tag)
		}
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, tag)
		wantTags(t, collect(t, st.Tags.Log(ctx)), want)
		wantTags(t, collect(t, st.Tags.All(ctx)), want[1:])
	}
	if tag.Name = "no good name"; st.Keep(ctx, tag) == nil {
		t.Error("Keep took an invalid tag")
	}
	wantTags(t, collect(t, st.Tags.All(ctx)), want[1:])
}

// logForgotten allows a store that locks to refuse, if it is not open exclusively. Then the log must stay.
func logForgotten(t *testing.T, st *store.Store) {
	ctx := t.Context()
	var all []store.Tag
	for i, tag := range append(tags(), tags()...) {
		tag.Extra = fmt.Sprintf(`{"line":%d}`, i)
		if err := st.Tags.Record(ctx, tag); err != nil {
			t.Fatal(err)
		}
		all = append(all, tag)
	}
	setTag(t, st, tags()[0])
	log := collect(t, st.Tags.Log(ctx)) // as the store gives them back
	absent := log[0]
	absent.Seconds += 1
	if err := st.Tags.Forget(ctx, []store.Tag{absent, {}}); errors.Is(err, store.ErrNotAlone) {
		err = st.Tags.Forget(ctx, log)
		if !errors.Is(err, store.ErrNotAlone) {
			t.Errorf("Forget in a store that is not open exclusively: error %v", err)
		}
		wantTags(t, collect(t, st.Tags.Log(ctx)), all)
		return
	} else if err != nil {
		t.Fatal(err)
	}
	wantTags(t, collect(t, st.Tags.Log(ctx)), all)
	for len(all) > 0 {
		i := len(all) / 2
		gone := []store.Tag{log[i], log[len(log)-1], log[i]}
		if err := st.Tags.Forget(ctx, gone); err != nil {
			t.Fatal(err)
		}
		isGone := store.AmongTags(gone)
		log, all = slices.DeleteFunc(log, isGone), slices.DeleteFunc(all, isGone)
		wantTags(t, collect(t, st.Tags.Log(ctx)), all)
	}
	again := tags()[1]
	if err := st.Tags.Record(ctx, again); err != nil {
		t.Fatal(err)
	}
	wantTags(t, collect(t, st.Tags.Log(ctx)), []store.Tag{again})
	wantTags(t, collect(t, st.Tags.All(ctx)), tags()[:1])
}

package storetest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/store"
)

func tagChecks() []check {
	return []check{
		{"an absent tag is not found", func(t *testing.T, st *store.Store) {
			wantNoTag(t, st, "absent")
			setTag(t, st, store.Tag{Name: "present", Root: fileRoot()})
			wantNoTag(t, st, "absent")
			if all := collect(t, st.Tags.All(t.Context())); len(all) != 1 {
				t.Errorf("All yields %d tags, want 1", len(all))
			}
		}},
		{"an empty store has neither tags nor log", func(t *testing.T, st *store.Store) {
			if all := collect(t, st.Tags.All(t.Context())); len(all) > 0 {
				t.Errorf("All yields %v", all)
			}
			if log := collect(t, st.Tags.Log(t.Context())); len(log) > 0 {
				t.Errorf("Log yields %v", log)
			}
		}},
		{"a tag comes back whole", func(t *testing.T, st *store.Store) {
			for _, tag := range tags() {
				setTag(t, st, tag)
				wantTag(t, st, tag)
			}
			wantTags(t, collect(t, st.Tags.All(t.Context())), sorted(tags()))
		}},
		{"tags and log keep the fields of other versions", tagExtra},
		{"a tag may move", tagMoves},
		{"Delete removes one tag", tagDeleted},
		{"names are bytes in order", tagNames},
		{"what cannot be a tag is refused", tagRefused},
		{"the log keeps its order", logOrder},
		{"the log and a tag keep what was sent", logKept},
		{"Forget removes lines of the log, and nothing else", logForgotten},
		{"a loop may change the tags", tagLoop},
		{"concurrent writers", concurrentTags},
		{"a cancelled context is not an answer", cancelledTags},
	}
}

func fileRoot() store.Node {
	return store.Node{Kind: store.KindFile, Digest: store.Sum([]byte("x")), Size: 1}
}

// tags returns a tag for each kind of root, with fields that text formats may spoil.
func tags() []store.Tag {
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.FixedZone("", -5*3600))
	return []store.Tag{
		{Name: "directory", Root: store.Node{Kind: store.KindDirectory, Digest: store.Sum(nil), Size: 1 << 63}, Time: at, Source: "/home/me"},
		{Name: "file", Root: fileRoot(), Time: at.Add(time.Nanosecond)},
		{Name: "executable", Root: store.Node{Kind: store.KindFile, Digest: store.Sum(nil), Executable: true}, Source: " \t\"\n'"},
		{Name: "symlink", Root: store.Node{Kind: store.KindSymlink, Target: "../\xff\n x"}, Time: time.Unix(0, 1).UTC()},
		{Name: "bytes", Root: fileRoot(), Source: "not UTF-8: \xff\xc3\x28, �,\x01 \\ é <&>"},
		{Name: "counts", Root: fileRoot(), Counts: store.Counts{Files: 1, Directories: 2, Symlinks: 3, Bytes: 1<<64 - 1}},
		{Name: "ingest", Root: fileRoot(), Host: "höst", Comment: "before\n<the> move\u2028", Version: "v1.2", Seconds: 0.125,
			Listing: store.Sum([]byte("#mtree"))},
	}
}

// tagExtra sets and records tags with fields that no version knows, and moves one to a line without.
func tagExtra(t *testing.T, st *store.Store) {
	var want []store.Tag
	for i, extra := range []string{`{"why":"x"}`, `{"counts":{"sockets":3},"z":[1,{"a":null}]}`, `{"needs":[],"n":12345678901234567890123}`} {
		tag := store.Tag{Name: fmt.Sprint("extra", i), Root: fileRoot(), Counts: store.Counts{Files: 1}}
		setTag(t, st, tag)
		tag.Extra = extra
		setTag(t, st, tag)
		if err := st.Tags.Record(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
		got, err := st.Tags.Get(t.Context(), tag.Name)
		if err != nil {
			t.Fatal(err)
		}
		setTag(t, st, got) // what was read can be written
		if tag.Extra = got.Extra; !sameJSON(got.Extra, extra) || !sameTag(got, tag) {
			t.Errorf("Get = %+v, want the fields %s", got, extra)
		}
		want = append(want, tag)
	}
	wantTags(t, collect(t, st.Tags.All(t.Context())), want)
	wantTags(t, collect(t, st.Tags.Log(t.Context())), want)
	want[0].Extra = ""
	setTag(t, st, want[0])
	wantTags(t, collect(t, st.Tags.All(t.Context())), want)
}

// sameJSON reports whether two JSON texts say the same; numbers are compared as they are written.
func sameJSON(a, b string) bool {
	var x, y any
	for text, v := range map[string]*any{a: &x, b: &y} {
		dec := json.NewDecoder(strings.NewReader(text))
		dec.UseNumber()
		if dec.Decode(v) != nil {
			return false
		}
	}
	return a == b || reflect.DeepEqual(x, y)
}

func tagMoves(t *testing.T, st *store.Store) {
	for _, tag := range tags() {
		tag.Name = "moving"
		setTag(t, st, tag)
		wantTag(t, st, tag)
		wantTags(t, collect(t, st.Tags.All(t.Context())), []store.Tag{tag})
	}
}

func tagDeleted(t *testing.T, st *store.Store) {
	list := sorted(tags())
	for _, tag := range list {
		setTag(t, st, tag)
	}
	for len(list) > 0 {
		gone := list[len(list)/2]
		list = slices.Delete(list, len(list)/2, len(list)/2+1)
		if err := st.Tags.Delete(t.Context(), gone.Name); err != nil {
			t.Fatal(err)
		}
		wantNoTag(t, st, gone.Name)
		if err := st.Tags.Delete(t.Context(), gone.Name); !store.IsNotFound(err) {
			t.Errorf("Delete again: error %v, want ErrNotFound", err)
		}
		wantTags(t, collect(t, st.Tags.All(t.Context())), list)
	}
	again := tags()[0]
	setTag(t, st, again)
	wantTag(t, st, again)
}

// tagNames returns names that file systems, escapes and sorting might confuse.
func tagNames(t *testing.T, st *store.Store) {
	names := []string{
		"a", "A", "a/b", "a/b/c", "a.b", "a-b", "a%2Fb", "a%2fb", "a_b", "a+b", "a=b", "a,b", "a@b", "~a", ".a", "a.tmp",
		"a~", "%", "*", "?", "$HOME", "\"", "'", "abc", "1234567", "é", "e\u0301", "日本/語", "😀", "tags", "log", "config",
		"x/.y", strings.Repeat("n", store.MaxNameLen), "long/" + strings.Repeat("é", 125), strings.Repeat("d/", 127) + "d",
	}
	var list []store.Tag
	for i, name := range names {
		tag := store.Tag{Name: name, Root: store.Node{Kind: store.KindFile, Digest: store.Digest{byte(i)}}}
		setTag(t, st, tag)
		list = append(list, tag)
	}
	for _, tag := range list {
		wantTag(t, st, tag)
	}
	wantTags(t, collect(t, st.Tags.All(t.Context())), sorted(list))
	for _, name := range []string{"a", "日本/語"} { // a parent of others, and a child
		if err := st.Tags.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		list = slices.DeleteFunc(list, func(tag store.Tag) bool { return tag.Name == name })
	}
	wantTags(t, collect(t, st.Tags.All(t.Context())), sorted(list))
}

func tagRefused(t *testing.T, st *store.Store) {
	names := []string{
		"", ".", "..", "/", "/a", "a/", "a//b", "a/../b", "../a", "./a", "-a", "a b", "a:b", "a\\b", "a\x00", "a\nb", "\xff",
		strings.Repeat("n", store.MaxNameLen+1), "deadbeef", store.Sum(nil).String(), store.Sum(nil).Snix(),
	}
	for _, name := range names {
		if err := st.Tags.Set(t.Context(), store.Tag{Name: name, Root: fileRoot()}); err == nil {
			t.Errorf("Set of %q: no error", name)
		}
		if _, err := st.Tags.Get(t.Context(), name); err == nil {
			t.Errorf("Get of %q: no error", name)
		}
		if err := st.Tags.Delete(t.Context(), name); err == nil {
			t.Errorf("Delete of %q: no error", name)
		}
	}
	roots := []store.Node{
		{},
		{Name: "named", Kind: store.KindFile},
		{Kind: store.KindSymlink},
		{Kind: store.KindSymlink, Target: "x\x00"},
	}
	for _, root := range roots {
		if err := st.Tags.Set(t.Context(), store.Tag{Name: "tag", Root: root}); err == nil {
			t.Errorf("Set to the root %+v: no error", root)
		}
		if err := st.Tags.Record(t.Context(), store.Tag{Root: root}); err == nil {
			t.Errorf("Record of the root %+v: no error", root)
		}
	}
	for _, tag := range []store.Tag{{Host: "\xff"}, {Comment: "\xff"}, {Version: "\xff"}, {Seconds: math.NaN()}, {Seconds: math.Inf(1)}, {Seconds: -1}} {
		tag.Name, tag.Root = "tag", fileRoot()
		if st.Tags.Set(t.Context(), tag) == nil || st.Tags.Record(t.Context(), tag) == nil {
			t.Errorf("Set or Record of %+v: no error", tag)
		}
	}
	if all := collect(t, st.Tags.All(t.Context())); len(all) > 0 {
		t.Errorf("All yields %v", all)
	}
	if log := collect(t, st.Tags.Log(t.Context())); len(log) > 0 {
		t.Errorf("Log yields %v", log)
	}
}

// tagLoop deadlocks if the store holds a lock while its caller's loop runs.
func tagLoop(t *testing.T, st *store.Store) {
	for _, tag := range tags() {
		setTag(t, st, tag)
		if err := st.Tags.Record(t.Context(), tag); err != nil {
			t.Fatal(err)
		}
	}
	for tag, err := range st.Tags.All(t.Context()) {
		if err == nil {
			err = st.Tags.Delete(t.Context(), tag.Name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for tag, err := range st.Tags.Log(t.Context()) {
		if err == nil {
			err = st.Tags.Set(t.Context(), tag)
		}
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	wantTags(t, collect(t, st.Tags.All(t.Context())), tags()[:1])
}

func concurrentTags(t *testing.T, st *store.Store) {
	ctx := t.Context()
	roots := [2]store.Node{fileRoot(), {Kind: store.KindSymlink, Target: "x"}}
	setTag(t, st, store.Tag{Name: "shared", Root: roots[0]})
	parallel(t, func(worker int) error {
		for i := range 5 {
			own := store.Tag{Name: fmt.Sprintf("own/%d/%d", worker, i), Root: roots[0]}
			for _, tag := range []store.Tag{own, {Name: "shared", Root: roots[i%2]}} {
				if err := st.Tags.Set(ctx, tag); err != nil {
					return err
				}
			}
			if err := st.Tags.Record(ctx, own); err != nil {
				return err
			}
			if got, err := st.Tags.Get(ctx, own.Name); err != nil || !sameTag(got, own) {
				return fmt.Errorf("get = %+v, %v, want %+v", got, err, own)
			}
			if got, err := st.Tags.Get(ctx, "shared"); err != nil || got.Root != roots[0] && got.Root != roots[1] {
				return fmt.Errorf("get = %+v, %v", got, err)
			}
		}
		return nil
	})
	if all := collect(t, st.Tags.All(ctx)); len(all) != 1+5*workers {
		t.Errorf("All yields %d tags, want %d", len(all), 1+5*workers)
	}
	seen := map[string]bool{}
	for _, tag := range collect(t, st.Tags.Log(ctx)) {
		seen[tag.Name] = true
	}
	if len(seen) != 5*workers {
		t.Errorf("Log yields %d ingests, want %d", len(seen), 5*workers)
	}
}

// cancelledTags allows a store to ignore its context. But an interrupted call must not say that a tag is absent.
func cancelledTags(t *testing.T, st *store.Store) {
	tag := tags()[0]
	setTag(t, st, tag)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got, err := st.Tags.Get(ctx, tag.Name); store.IsNotFound(err) || err == nil && !sameTag(got, tag) {
		t.Errorf("Get = %+v, %v", got, err)
	}
	n := 0
	for range st.Tags.All(ctx) { // a tag or an error
		n++
	}
	if n == 0 {
		t.Error("All yields nothing, and no error")
	}
	wantTag(t, st, tag)
}

func setTag(t *testing.T, st *store.Store, tag store.Tag) {
	t.Helper()
	if err := st.Tags.Set(t.Context(), tag); err != nil {
		t.Fatalf("Set of %q: %v", tag.Name, err)
	}
}

func wantTag(t *testing.T, st *store.Store, want store.Tag) {
	t.Helper()
	if got, err := st.Tags.Get(t.Context(), want.Name); err != nil || !sameTag(got, want) {
		t.Errorf("Get = %+v, %v, want %+v", got, err, want)
	}
}

func wantNoTag(t *testing.T, st *store.Store, name string) {
	t.Helper()
	if got, err := st.Tags.Get(t.Context(), name); !store.IsNotFound(err) {
		t.Errorf("Get = %+v, error %v, want ErrNotFound", got, err)
	}
	if err := st.Tags.Delete(t.Context(), name); !store.IsNotFound(err) {
		t.Errorf("Delete: error %v, want ErrNotFound", err)
	}
}

func wantTags(t *testing.T, got, want []store.Tag) {
	t.Helper()
	if !slices.EqualFunc(got, want, sameTag) {
		t.Errorf("got the tags\n%+v, want\n%+v", got, want)
	}
}

// sameTag compares all fields. Times are equal if they are the same instant.
func sameTag(a, b store.Tag) bool {
	if !a.Time.Equal(b.Time) {
		return false
	}
	a.Time = b.Time
	return a == b
}

func sorted(list []store.Tag) []store.Tag {
	return slices.SortedFunc(slices.Values(list), func(a, b store.Tag) int { return strings.Compare(a.Name, b.Name) })
}

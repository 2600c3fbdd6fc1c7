package tree_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"
	"castar/store/tree"

	"github.com/google/go-cmp/cmp"
)

// fixture is a store with a tree and with roots of all kinds.
type fixture struct {
	*store.Store
	top, usr, file, script, link, plain store.Node // roots
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{Store: memory.New()}
	f.file = putFile(t, f.Store, "contents")
	f.script = putFile(t, f.Store, "#!/bin/sh")
	f.plain = putFile(t, f.Store, "in no log")
	f.script.Executable = true
	f.link = store.Node{Kind: store.KindSymlink, Target: "usr/x\n"}
	lib := putDir(t, f.Store, store.Directory{named("x", f.script), named("\xff", f.file)})
	f.usr = putDir(t, f.Store, store.Directory{
		named("gone", store.Node{Kind: store.KindDirectory, Digest: store.Sum([]byte("gone"))}), named("lib", lib),
	})
	f.top = putDir(t, f.Store, store.Directory{named("a:b", f.file), named("link", f.link), named("usr", f.usr)})
	record(t, f.Store, store.Tag{Name: "work", Root: f.top})
	record(t, f.Store, store.Tag{Name: "home/me", Root: f.top})
	record(t, f.Store, store.Tag{Root: f.script})
	record(t, f.Store, store.Tag{Name: "arrow", Root: f.link})
	return f
}

func named(name string, n store.Node) store.Node {
	n.Name = name
	return n
}

func putFile(t *testing.T, st *store.Store, contents string) store.Node {
	t.Helper()
	d, err := st.Blobs.Put(t.Context(), []byte(contents))
	if err != nil {
		t.Fatal(err)
	}
	return store.Node{Kind: store.KindFile, Digest: d, Size: uint64(len(contents))}
}

func putDir(t *testing.T, st *store.Store, dir store.Directory) store.Node {
	t.Helper()
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	size, err := dir.Size(store.SizeDocumented)
	if err != nil {
		t.Fatal(err)
	}
	return store.Node{Kind: store.KindDirectory, Digest: d, Size: size}
}

// record logs an ingest, and sets its tag if it has one.
func record(t *testing.T, st *store.Store, tag store.Tag) {
	t.Helper()
	err := st.Tags.Record(t.Context(), tag)
	if err == nil && tag.Name != "" {
		err = st.Tags.Set(t.Context(), tag)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func digest(t *testing.T, root store.Node) store.Digest {
	t.Helper()
	d, err := root.RootDigest()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestResolve(t *testing.T) {
	f := newFixture(t)
	top, link := digest(t, f.top), digest(t, f.link)
	lib, err := tree.Lookup(t.Context(), f.Directories, f.usr, "lib")
	if err != nil {
		t.Fatal(err)
	}
	tvix := "b3:" + strings.TrimPrefix(top.Snix(), "blake3-")
	tests := []struct {
		ref  string
		root store.Node
		tag  string
		path string
		node store.Node
	}{
		{top.String(), f.top, "", "", f.top},
		{strings.ToUpper(top.String()), f.top, "", "", f.top},
		{top.Snix(), f.top, "", "", f.top},
		{tvix, f.top, "", "", f.top},
		{top.String()[:8], f.top, "", "", f.top},
		{strings.ToUpper(top.String()[:9]), f.top, "", "", f.top},
		{top.String()[:63], f.top, "", "", f.top},
		{"work", f.top, "work", "", f.top},
		{"home/me", f.top, "home/me", "", f.top},
		{"arrow", f.link, "arrow", "", f.link},

		{f.file.Digest.String(), f.file, "", "", f.file},
		{f.plain.Digest.String()[:10], f.plain, "", "", f.plain},
		{f.script.Digest.String(), f.script, "", "", f.script},
		{f.script.Digest.String()[:8], f.script, "", "", f.script},
		{link.String(), f.link, "", "", f.link},
		{link.String()[:8], f.link, "", "", f.link},

		{"work:", f.top, "work", "", f.top},
		{"work:/", f.top, "work", "", f.top},
		{"work:.", f.top, "work", "", f.top},
		{"work:usr", f.top, "work", "usr", named("usr", f.usr)},
		{"work:/usr//./lib/", f.top, "work", "usr/lib", lib},
		{"work:usr/lib/x", f.top, "work", "usr/lib/x", named("x", f.script)},
		{"work:usr/lib/\xff", f.top, "work", "usr/lib/\xff", named("\xff", f.file)},
		{"work:link", f.top, "work", "link", named("link", f.link)},
		{"work:a:b", f.top, "work", "a:b", named("a:b", f.file)},
		{"work:usr/gone", f.top, "work", "usr/gone", store.Node{Name: "gone", Kind: store.KindDirectory, Digest: store.Sum([]byte("gone"))}},
		{top.String() + ":usr/lib/x", f.top, "", "usr/lib/x", named("x", f.script)},
		{top.Snix() + ":usr", f.top, "", "usr", named("usr", f.usr)},
		{tvix + ":usr", f.top, "", "usr", named("usr", f.usr)},
		{tvix + ":a:b", f.top, "", "a:b", named("a:b", f.file)},
		{top.String()[:8] + ":usr", f.top, "", "usr", named("usr", f.usr)},
	}
	for _, tt := range tests {
		t.Run(tt.ref, func(t *testing.T) {
			got, err := tree.Resolve(t.Context(), f.Store, tt.ref)
			if err != nil {
				t.Fatal(err)
			}
			want := tree.Ref{Root: tt.root, RootDigest: digest(t, tt.root), Tag: tt.tag, Path: tt.path, Node: tt.node}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestResolveErrors(t *testing.T) {
	f := newFixture(t)
	top := digest(t, f.top)
	absent := store.Sum([]byte("absent"))
	gone := store.Sum([]byte("gone"))
	tests := []struct {
		ref  string
		want string
		is   error // or nil where it must not be store.ErrNotFound
	}{
		{"", `"" names no root`, nil},
		{":usr", `":usr" names no root`, nil},
		{"nothing", `tag "nothing": not found`, store.ErrNotFound},
		{"abc", `tag "abc": not found`, store.ErrNotFound},
		{"nothing:usr", `tag "nothing": not found`, store.ErrNotFound},
		{"a b", `invalid tag "a b": contains a space, a colon, a backslash or an unprintable character`, nil},
		{"../work", `invalid tag "../work": invalid name "..": is ..`, nil},
		{absent.String(), "root " + absent.String() + ": not found", store.ErrNotFound},
		{absent.Snix(), "root " + absent.String() + ": not found", store.ErrNotFound},
		{absent.String()[:8], "root " + absent.String()[:8] + ": not found", store.ErrNotFound},
		{top.Snix()[:20], fmt.Sprintf(`invalid digest %q: want 44 characters of base64 after "blake3-"`, top.Snix()[:20]), nil},
		{top.Snix() + "x", fmt.Sprintf(`invalid digest %q: 1 characters too many`, top.Snix()+"x"), nil},
		{"b3:work", `invalid digest "b3:work": want 44 characters of base64 after "b3:"`, nil},
		{"b3:", `invalid digest "b3:": want 44 characters of base64 after "b3:"`, nil},
		{top.String() + "0", fmt.Sprintf(`tag "%s0": not found`, top), store.ErrNotFound},
		{"work:usr/../usr", `invalid path "usr/../usr": .. is not allowed`, nil},
		{"nothing:..", `invalid path "..": .. is not allowed`, nil},
		{"work:bin", "work:bin: not found", store.ErrNotFound},
		{"work:usr/lbi/x", "work:usr/lbi: not found", store.ErrNotFound},
		{"work:usr/lib/y", "work:usr/lib/y: not found", store.ErrNotFound},
		{top.String() + ":usr//y", top.String() + ":usr/y: not found", store.ErrNotFound},
		{"work:usr/lib/x/y", "work:usr/lib/x: not a directory", nil},
		{"work:link/lib", `work:link: is a symbolic link to "usr/x\n", and is not followed`, nil},
		{"arrow:lib", `arrow: is a symbolic link to "usr/x\n", and is not followed`, nil},
		{f.file.Digest.String() + ":x", f.file.Digest.String() + ": not a directory", nil},
		{"work:usr/gone/x", "work:usr/gone: directory " + gone.String() + ": not found", store.ErrNotFound},
	}
	for _, tt := range tests {
		t.Run(tt.ref, func(t *testing.T) {
			got, err := tree.Resolve(t.Context(), f.Store, tt.ref)
			if err == nil {
				t.Fatalf("resolved to %+v", got)
			}
			if err.Error() != tt.want {
				t.Errorf("error %q, want %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) || tt.is == nil && store.IsNotFound(err) {
				t.Errorf("error %v is the wrong kind", err)
			}
		})
	}
}

// Of one digest, the newest record wins, and a tag may be newer than the log; a directory wins over all records.
func TestResolveNewest(t *testing.T) {
	day := func(n int) time.Time { return time.Date(2024, 1, n, 0, 0, 0, 0, time.UTC) }
	plain := store.Node{Kind: store.KindFile, Digest: store.Sum(nil)}
	script := plain
	script.Executable = true
	tests := []struct {
		name     string
		log, tag []store.Tag
		want     store.Node
	}{
		{"last of the log", []store.Tag{{Root: script, Time: day(1)}, {Root: plain, Time: day(2)}}, nil, plain},
		{"out of order", []store.Tag{{Root: script, Time: day(2)}, {Root: plain, Time: day(1)}}, nil, script},
		{"same time", []store.Tag{{Root: plain, Time: day(1)}, {Root: script, Time: day(1)}}, nil, script},
		{"newer tag", []store.Tag{{Root: plain, Time: day(1)}}, []store.Tag{{Name: "t", Root: script, Time: day(2)}}, script},
		{"older tag", []store.Tag{{Root: script, Time: day(2)}}, []store.Tag{{Name: "t", Root: plain, Time: day(1)}}, script},
		{"tag alone", nil, []store.Tag{{Name: "t", Root: script, Time: day(1)}}, script},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := memory.New()
			putFile(t, st, "")
			for _, l := range tt.log {
				if err := st.Tags.Record(t.Context(), l); err != nil {
					t.Fatal(err)
				}
			}
			for _, tag := range tt.tag {
				if err := st.Tags.Set(t.Context(), tag); err != nil {
					t.Fatal(err)
				}
			}
			wantRoot(t, st, plain.Digest.String(), tt.want)
			empty := putDir(t, st, nil) // has the same digest
			wantRoot(t, st, plain.Digest.String(), tt.want)
			if err := st.Tags.Record(t.Context(), store.Tag{Root: empty, Time: day(3)}); err != nil {
				t.Fatal(err)
			}
			wantRoot(t, st, plain.Digest.String(), empty)
		})
	}
}

func wantRoot(t *testing.T, st *store.Store, ref string, want store.Node) {
	t.Helper()
	got, err := tree.Resolve(t.Context(), st, ref)
	if err != nil {
		t.Fatal(err)
	}
	if got.Root != want || got.Node != want {
		t.Errorf("%s: root %+v, node %+v, want %+v", ref, got.Root, got.Node, want)
	}
}

// fixedLister lists digests that no hash would give: ones that share a prefix.
type fixedLister []store.Digest

func (l fixedLister) List(_ context.Context, prefix store.Digest, nibbles int) iter.Seq2[store.Digest, error] {
	return func(yield func(store.Digest, error) bool) {
		for _, d := range l {
			if strings.HasPrefix(d.String(), prefix.String()[:nibbles]) && !yield(d, nil) {
				return
			}
		}
	}
}

func TestResolveAmbiguous(t *testing.T) {
	list := make(fixedLister, 12)
	for i := range list {
		list[i] = store.Digest{0xab, 0xcd, 0xef, 0x01, byte(len(list) - i)}
	}
	tests := []struct {
		name   string
		lister fixedLister
		logged []store.Digest
		want   []string // of the error, in this order; none where it is found
	}{
		{"one", list[:1], nil, nil},
		{"one, twice", fixedLister{list[0], list[0]}, nil, nil},
		{"one, listed and logged", list[:1], []store.Digest{list[0]}, nil},
		{"logged only", nil, []store.Digest{list[0]}, nil},
		{"two", list[:2], nil, []string{"root abcdef01: ambiguous: ", list[1].String() + ", " + list[0].String()}},
		{"one listed, one logged", list[1:2], []store.Digest{list[0]}, []string{list[1].String() + ", " + list[0].String()}},
		{"ten", list[:10], nil, []string{list[9].String(), list[0].String()}},
		{"twelve", list, nil, []string{list[11].String(), list[2].String() + " and 2 more"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := memory.New()
			st.Lister = tt.lister
			for _, d := range tt.logged {
				record(t, st, store.Tag{Root: store.Node{Kind: store.KindFile, Digest: d}})
			}
			_, err := tree.Resolve(t.Context(), st, "abcdef01")
			if tt.want == nil {
				if err != nil && err.Error() != "root "+list[0].String()+": not found" { // the digest was completed
					t.Errorf("error %v", err)
				}
				return
			}
			if err == nil || store.IsNotFound(err) {
				t.Fatalf("error %v, want one that lists %q", err, tt.want)
			}
			rest := err.Error()
			for _, w := range tt.want {
				var ok bool
				if _, rest, ok = strings.Cut(rest, w); !ok {
					t.Errorf("error %q has no %q", err, w)
				}
			}
			if rest != "" {
				t.Errorf("error ends %q", rest)
			}
		})
	}
}

// damagedTags has a log and tags of which some cannot be read.
type damagedTags struct{ store.Tags }

var errDamaged = errors.New("entry 1: damaged")

func (d damagedTags) Log(ctx context.Context) iter.Seq2[store.Tag, error] {
	return func(yield func(store.Tag, error) bool) {
		if yield(store.Tag{}, errDamaged) {
			d.Tags.Log(ctx)(yield)
		}
	}
}

func TestResolveDamagedLog(t *testing.T) {
	f := newFixture(t)
	f.Tags = damagedTags{f.Tags}
	wantRoot(t, f.Store, digest(t, f.link).String(), f.link)
	wantRoot(t, f.Store, digest(t, f.link).String()[:8], f.link)
	wantRoot(t, f.Store, f.plain.Digest.String(), f.plain)
	absent := store.Sum([]byte("absent")).String()
	for _, ref := range []string{absent, absent[:8]} {
		_, err := tree.Resolve(t.Context(), f.Store, ref)
		want := "root " + ref + ": not found, and some records cannot be read: entry 1: damaged"
		if err == nil || err.Error() != want || !store.IsNotFound(err) || !errors.Is(err, errDamaged) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// brokenDirectories fails for another reason than absence.
type brokenDirectories struct{ store.Directories }

func (brokenDirectories) Get(context.Context, store.Digest) (store.Directory, error) {
	return nil, errDamaged
}

func TestResolveBroken(t *testing.T) {
	f := newFixture(t)
	f.Directories = brokenDirectories{f.Directories}
	file := f.file.Digest.String()
	for ref, want := range map[string]string{
		file:       "root " + file + ": entry 1: damaged", // it could have been a directory
		"work:usr": "work: entry 1: damaged",
	} {
		if _, err := tree.Resolve(t.Context(), f.Store, ref); err == nil || err.Error() != want {
			t.Errorf("%s: error %v, want %s", ref, err, want)
		}
	}
}

// A store need not have all parts.
func TestResolveParts(t *testing.T) {
	f := newFixture(t)
	whole := f.top.Digest.String()
	tests := []struct {
		name    string
		without func(*store.Store)
		ref     string
		want    string // or "" where it is found
	}{
		{"tag, no tags", func(st *store.Store) { st.Tags = nil }, "work", `tag "work": not supported by this kind of store`},
		{"digest, no tags", func(st *store.Store) { st.Tags = nil }, whole + ":usr", ""},
		{"file, no tags", func(st *store.Store) { st.Tags = nil }, f.script.Digest.String(), ""},
		{"prefix, no lister", func(st *store.Store) { st.Lister = nil }, whole[:8],
			"root " + whole[:8] + ": a shortened digest: not supported by this kind of store"},
		{"digest, no lister", func(st *store.Store) { st.Lister = nil }, whole, ""},
		{"directory, no blobs", func(st *store.Store) { st.Blobs = nil }, whole, ""},
		{"file, no blobs", func(st *store.Store) { st.Blobs = nil }, f.plain.Digest.String(),
			"root " + f.plain.Digest.String() + ": not found"},
		{"file, no directories", func(st *store.Store) { st.Directories = nil }, f.plain.Digest.String(), ""},
		{"path, no directories", func(st *store.Store) { st.Directories = nil }, "work:usr",
			"work: directories: not supported by this kind of store"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			st := *f.Store
			tt.without(&st)
			_, err := tree.Resolve(t.Context(), &st, tt.ref)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || err.Error() != tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestResolveCancelled(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, ref := range []string{f.script.Digest.String(), f.script.Digest.String()[:8]} {
		if got, err := tree.Resolve(ctx, f.Store, ref); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %+v, error %v, want context.Canceled", ref, got, err)
		}
	}
}

func TestLookup(t *testing.T) {
	f := newFixture(t)
	top := f.top.Digest.String()
	tests := []struct {
		root store.Node
		path string
		want store.Node
		err  string
	}{
		{f.top, "", f.top, ""},
		{f.top, "usr", named("usr", f.usr), ""},
		{named("usr", f.usr), "lib/x", named("x", f.script), ""},
		{named("x", f.script), "", named("x", f.script), ""},
		{f.link, "/", f.link, ""},
		{f.top, "x/y", store.Node{}, top + ":x: not found"},
		{f.top, "..", store.Node{}, `invalid path "..": .. is not allowed`},
		{f.script, "x", store.Node{}, f.script.Digest.String() + ": not a directory"},
		{store.Node{}, "x", store.Node{}, "unknown kind 0"},
	}
	for _, tt := range tests {
		got, err := tree.Lookup(t.Context(), f.Directories, tt.root, tt.path)
		if msg := fmt.Sprint(err); got != tt.want || tt.err == "" && err != nil || tt.err != "" && msg != tt.err {
			t.Errorf("%q below %s: %+v, %v, want %+v, %s", tt.path, tt.root.Kind, got, err, tt.want, tt.err)
		}
	}
}

// No reference makes it panic, and what is found is found again by its digest and cleaned path.
func FuzzResolve(f *testing.F) {
	for _, seed := range []string{
		"work:usr/lib", "home/me:/a:b", "arrow:.", "b3:", "b3::", ":", "blake3-:x", "abcdef01:..", store.Sum(nil).String() + ":",
		"@3", "home/me~1", store.Sum([]byte("contents")).String()[:9], store.Sum([]byte("#!/bin/sh")).Snix(),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		fix := newFixture(t)
		got, err := tree.Resolve(t.Context(), fix.Store, ref)
		if err != nil {
			return
		}
		again, err := tree.Resolve(t.Context(), fix.Store, got.RootDigest.String()+":"+got.Path)
		again.Tag, again.Ingest, again.Listing = got.Tag, got.Ingest, got.Listing // which a digest does not have
		if err != nil || again != got {
			t.Errorf("%q resolved to %+v, and that to %+v, %v", ref, got, again, err)
		}
	})
}

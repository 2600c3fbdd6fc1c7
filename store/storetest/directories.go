package storetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"castar/store"
)

func directoryChecks() []check {
	return []check{
		{"an absent directory is not found", func(t *testing.T, st *store.Store) {
			wantNoDirectory(t, st, store.Sum([]byte("absent")))
			wantNoDirectory(t, st, store.Digest{})
		}},
		{"Put stores what is valid", func(t *testing.T, st *store.Store) {
			dirs := validDirectories()
			for _, d := range dirs {
				t.Run(d.name, func(t *testing.T) { wantDirectory(t, st, putDirectory(t, st, d.dir), d.dir) })
			}
			for _, d := range dirs { // later directories changed nothing
				wantDirectory(t, st, store.Sum(encoding(t, d.dir)), d.dir)
			}
		}},
		{"the digests are those of castore", goldenDirectories},
		{"Put refuses what is invalid", func(t *testing.T, st *store.Store) {
			for _, d := range invalidDirectories() {
				if _, err := st.Directories.Put(t.Context(), d.dir); err == nil {
					t.Errorf("%s: no error", d.name)
				}
			}
		}},
		{"Put twice is harmless", func(t *testing.T, st *store.Store) {
			dir := store.Directory{{Name: "a", Kind: store.KindFile}}
			wantDirectory(t, st, putDirectory(t, st, dir), dir)
			wantDirectory(t, st, putDirectory(t, st, dir), dir)
		}},
		{"nobody shares a directory with the store", ownDirectory},
		{"children need not be there", func(t *testing.T, st *store.Store) {
			dir := store.Directory{{Name: "gone", Kind: store.KindDirectory, Digest: store.Sum([]byte("gone")), Size: 3}}
			wantDirectory(t, st, putDirectory(t, st, dir), dir)
		}},
		{"concurrent writers", concurrentDirectories},
		{"a cancelled context is not an answer", cancelledDirectories},
	}
}

type namedDirectory struct {
	name string
	dir  store.Directory
}

// validDirectories has every kind of node, and names, targets and sizes at their limits.
func validDirectories() []namedDirectory {
	digest := store.Sum([]byte("x"))
	long := strings.Repeat("n", store.MaxNameLen)
	file := func(name string) store.Node {
		return store.Node{Name: name, Kind: store.KindFile, Digest: digest, Size: 1}
	}
	list := []namedDirectory{
		{"empty", store.Directory{}},
		{"a file", store.Directory{file("a")}},
		{"all kinds, out of the order of kinds", store.Directory{
			{Name: "a", Kind: store.KindSymlink, Target: "b"},
			{Name: "b", Kind: store.KindFile, Digest: digest, Size: 1, Executable: true},
			{Name: "c", Kind: store.KindDirectory, Digest: store.Sum(nil)},
			{Name: "d", Kind: store.KindFile, Digest: digest},
			{Name: "e", Kind: store.KindSymlink, Target: "/"},
			{Name: "f", Kind: store.KindDirectory, Digest: digest, Size: 7},
		}},
		{"names that are no text", store.Directory{
			file("\x01"), file("\n"), file(" "), file("-"), file("..."), file("\\"), file("a"), file("a\xff"), file("a'"),
			file("\xc3\x28"), file("é"), file("\xff"),
		}},
		{"names of 255 bytes", store.Directory{
			file(long), file(long[1:] + "o"), {Name: long[1:] + "p", Kind: store.KindDirectory, Digest: digest},
			{Name: long[1:] + "q", Kind: store.KindSymlink, Target: long},
		}},
		{"odd targets", store.Directory{
			{Name: "a", Kind: store.KindSymlink, Target: "."},
			{Name: "b", Kind: store.KindSymlink, Target: "../.."},
			{Name: "c", Kind: store.KindSymlink, Target: "//x/"},
			{Name: "d", Kind: store.KindSymlink, Target: "\xc5\xc4\xd6"},
			{Name: "e", Kind: store.KindSymlink, Target: strings.Repeat("t", store.MaxTargetLen)},
		}},
		{"greatest sizes", store.Directory{
			{Name: "a", Kind: store.KindDirectory, Digest: digest, Size: math.MaxUint64 - 2},
			{Name: "b", Kind: store.KindFile, Digest: digest, Size: math.MaxUint64},
		}},
		{"8000 entries", bigDirectory(8_000)},
	}
	for i := range list {
		slices.SortFunc(list[i].dir, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
	}
	return list
}

// bigDirectory has n entries of all kinds, in order.
func bigDirectory(n int) store.Directory {
	dir := make(store.Directory, n)
	for i := range dir {
		name := fmt.Sprintf("entry-%06d", i)
		switch i % 3 {
		case 0:
			dir[i] = store.Node{Name: name, Kind: store.KindFile, Digest: store.Digest{byte(i), byte(i >> 8)}, Size: uint64(i)}
		case 1:
			dir[i] = store.Node{Name: name, Kind: store.KindDirectory, Digest: store.Digest{byte(i), byte(i >> 8)}, Size: 1}
		default:
			dir[i] = store.Node{Name: name, Kind: store.KindSymlink, Target: name}
		}
	}
	return dir
}

// invalidDirectories breaks each rule of the data model once.
func invalidDirectories() []namedDirectory {
	file := func(name string) store.Node { return store.Node{Name: name, Kind: store.KindFile} }
	link := func(target string) store.Node { return store.Node{Name: "a", Kind: store.KindSymlink, Target: target} }
	sub := func(name string, size uint64) store.Node {
		return store.Node{Name: name, Kind: store.KindDirectory, Size: size}
	}
	return []namedDirectory{
		{"empty name", store.Directory{file("")}},
		{"name .", store.Directory{file(".")}},
		{"name ..", store.Directory{sub("..", 0)}},
		{"name with a slash", store.Directory{file("a/b")}},
		{"name with NUL", store.Directory{file("a\x00")}},
		{"name of 256 bytes", store.Directory{file(strings.Repeat("n", store.MaxNameLen+1))}},
		{"wrong order", store.Directory{file("b"), file("a")}},
		{"wrong order over kinds", store.Directory{file("b"), link("x")}},
		{"duplicate name", store.Directory{file("a"), file("a")}},
		{"duplicate name over kinds", store.Directory{sub("a", 0), link("x")}},
		{"empty target", store.Directory{link("")}},
		{"target with NUL", store.Directory{link("x\x00")}},
		{"target of 4096 bytes", store.Directory{link(strings.Repeat("t", store.MaxTargetLen+1))}},
		{"no kind", store.Directory{{Name: "a"}}},
		{"unknown kind", store.Directory{{Name: "a", Kind: store.KindSymlink + 1}}},
		{"size overflows", store.Directory{sub("a", math.MaxUint64)}},
		{"sum of sizes overflows", store.Directory{sub("a", math.MaxUint64/2), sub("b", math.MaxUint64/2)}},
	}
}

// goldenDirectories stores the nested fixtures of castore, whose sizes follow the documented rule.
func goldenDirectories(t *testing.T, st *store.Store) {
	var c closure
	a := c.add(t, store.Directory{})
	b := c.add(t, store.Directory{a("a")})
	c.add(t, store.Directory{a("a"), a("a'")})
	d := c.add(t, store.Directory{a("a"), b("b")})
	c.add(t, store.Directory{d("d")})
	want := []string{
		"af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		"8701f4722d8dae7f2c40fa003331b8437a3825f9e1bfd3a77998c64cc226b9cc",
		"78eb200ae0cc95d4ea954655fbcf91e285013a261310e161927f2401d2bca803",
		"99922a5c1801805287a647af73bca0ed7352a5f7f373e54992795bcc4a235213",
		"f71882b0f23c198c0fde9af0fb49d9cb797ce1db3a645fcf2760e955ab605d3e",
	}
	for i, dir := range c.dirs {
		if got := putDirectory(t, st, dir); got.String() != want[i] {
			t.Errorf("%v: digest %s, want %s", dir, got, want[i])
		}
	}
}

func ownDirectory(t *testing.T, st *store.Store) {
	original := store.Directory{{Name: "a", Kind: store.KindFile, Size: 1}, {Name: "b", Kind: store.KindFile, Size: 2}}
	mine := slices.Clone(original)
	d := putDirectory(t, st, mine)
	mine[0].Name = "changed"
	wantDirectory(t, st, d, original)

	got, err := st.Directories.Get(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	wantDirectory(t, st, d, original)

	for named, err := range st.Directories.Walk(t.Context(), d) {
		if err != nil {
			t.Fatal(err)
		}
		clear(named.Directory)
	}
	wantDirectory(t, st, d, original)
}

func concurrentDirectories(t *testing.T, st *store.Store) {
	ctx := t.Context()
	parallel(t, func(worker int) error {
		for i := range 15 {
			for _, name := range []string{fmt.Sprintf("shared-%d", i), fmt.Sprintf("own-%d-%d", worker, i)} {
				dir := store.Directory{{Name: name, Kind: store.KindFile}}
				d, err := st.Directories.Put(ctx, dir)
				if err != nil {
					return err
				}
				if err := checkDirectory(ctx, st, d, dir); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// cancelledDirectories allows a store to ignore its context. But an interrupted call must not say that a directory is absent.
func cancelledDirectories(t *testing.T, st *store.Store) {
	var c closure
	c.add(t, store.Directory{c.add(t, store.Directory{})("a")})
	c.put(t, st)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := st.Directories.Get(ctx, c.root()); store.IsNotFound(err) {
		t.Errorf("Get: %v", err)
	}
	if got, err := walk(ctx, st, c.root()); store.IsNotFound(err) || err == nil && len(got) != 2 {
		t.Errorf("Walk = %d directories, %v", len(got), err)
	}
	other := store.Directory{{Name: "other", Kind: store.KindFile}}
	if got, err := st.Directories.Put(ctx, other); err == nil && got != store.Sum(encoding(t, other)) {
		t.Errorf("Put = %s, nil", got)
	}
	if w, err := st.Directories.Upload(ctx); err == nil {
		if d, err := w.Put(ctx, other); err == nil {
			w.Commit(ctx, d) // may fail, but must not panic
		}
		w.Close()
	}
	wantWalk(t, st, &c)
	wantDirectory(t, st, putDirectory(t, st, other), other)
}

func encoding(t *testing.T, dir store.Directory) []byte {
	t.Helper()
	b, err := store.EncodeDirectory(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func putDirectory(t *testing.T, st *store.Store, dir store.Directory) store.Digest {
	t.Helper()
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if want := store.Sum(encoding(t, dir)); d != want {
		t.Fatalf("Put returned %s, want %s", d, want)
	}
	return d
}

// checkDirectory returns an error unless st has the directory d, and it is want.
func checkDirectory(ctx context.Context, st *store.Store, d store.Digest, want store.Directory) error {
	got, err := st.Directories.Get(ctx, d)
	if err != nil {
		return fmt.Errorf("get: %w", err)
	}
	return sameDirectory(d, got, want)
}

func sameDirectory(d store.Digest, got, want store.Directory) error {
	if len(got) != len(want) {
		return fmt.Errorf("directory %s has %d entries, want %d", d, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			return fmt.Errorf("directory %s: entry %d is %+v, want %+v", d, i, got[i], want[i])
		}
	}
	return nil
}

func wantDirectory(t *testing.T, st *store.Store, d store.Digest, want store.Directory) {
	t.Helper()
	if err := checkDirectory(t.Context(), st, d, want); err != nil {
		t.Fatal(err)
	}
}

func wantNoDirectory(t *testing.T, st *store.Store, d store.Digest) {
	t.Helper()
	if _, err := st.Directories.Get(t.Context(), d); !store.IsNotFound(err) {
		t.Errorf("Get: error %v, want ErrNotFound", err)
	}
	if got, err := walk(t.Context(), st, d); len(got) > 0 || !store.IsNotFound(err) {
		t.Errorf("Walk = %d directories, error %v, want ErrNotFound", len(got), err)
	}
}

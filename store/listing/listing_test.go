package listing

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"castar/store"
)

// entries is a listing as a map from paths.
type entries map[string]Entry

// collect reads a whole listing of the tree that has these names in each directory, and the texts of its problems.
func collect(text string, names map[string][]string) (all entries, problems []string) {
	report := func(err error) { problems = append(problems, err.Error()) }
	all = make(entries)
	root, err := Open(strings.NewReader(text), int64(len(text)), report)
	if err != nil {
		report(err)
		return all, problems
	}
	var walk func(path string, f *Folder)
	walk = func(path string, f *Folder) {
		l, ok := f.Lines(nil, report)
		if ok {
			all[path] = l.Self
		}
		for _, name := range names[path] {
			at := strings.TrimPrefix(path+"/"+name, "/")
			if below := f.Folder(name); below != nil {
				walk(at, below)
				continue
			}
			e, ok, err := l.Find(name)
			if err != nil {
				report(err)
			}
			if ok {
				all[at] = e
			}
		}
	}
	walk("", root)
	return all, problems
}

// The example of the package comment.
const example = `#mtree
/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
. type=dir mode=0755 time=1790000000.123456789
notes time=1790000000.000000000 size=12
run mode=0755 time=1790000000.000000000 size=3
/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
sub type=dir mode=0700 time=1790000000.000000000
to type=link mode=0777 time=1790000000.000000000 link=../notes
..
..
`

func TestExample(t *testing.T) {
	owned := func(e Entry) *Entry {
		e.UID, e.GID, e.User, e.Group, e.Seconds = 1000, 1000, "ann", "staff", 1790000000
		return &e
	}
	want := entries{
		"":       *owned(Entry{Kind: store.KindDirectory, Mode: 0o755, Nanoseconds: 123456789}),
		"notes":  *owned(Entry{Kind: store.KindFile, Mode: 0o644, Size: 12}),
		"run":    *owned(Entry{Kind: store.KindFile, Mode: 0o755, Size: 3}),
		"sub":    *owned(Entry{Kind: store.KindDirectory, Mode: 0o700}),
		"sub/to": *owned(Entry{Kind: store.KindSymlink, Mode: 0o777, Target: "../notes"}),
	}
	text := []byte(Header)
	dir := want[""]
	b := NewBlock(&dir)
	text = b.AppendDirectory(text, ".", &dir)
	for _, name := range []string{"notes", "run"} {
		e := want[name]
		text = b.Append(text, name, &e)
	}
	dir = want["sub"]
	b = NewBlock(&dir)
	text = b.AppendDirectory(text, "sub", &dir)
	e := want["sub/to"]
	text = append(b.Append(text, "to", &e), Up+Up...)
	if diff := cmp.Diff(example, string(text)); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	got, problems := collect(example, map[string][]string{"": {"notes", "run", "sub", "more"}, "sub": {"to"}})
	if diff := cmp.Diff(want, got); diff != "" || problems != nil {
		t.Errorf("problems %q, entries (-want +got):\n%s", problems, diff)
	}
}

// drawEntry draws an entry of a kind.
func drawEntry(t *rapid.T, kind store.Kind) Entry {
	owner := rapid.StringN(0, 8, 16)
	e := Entry{Kind: kind, Mode: rapid.Uint32Range(0, modeMask).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"),
		GID: rapid.Uint32().Draw(t, "gid"), User: owner.Draw(t, "user"), Group: owner.Draw(t, "group"),
		Seconds: rapid.Int64().Draw(t, "seconds"), Nanoseconds: rapid.Uint32Range(0, 999_999_999).Draw(t, "nanoseconds")}
	switch kind {
	case store.KindFile:
		e.Size = rapid.Uint64().Draw(t, "size")
		if rapid.Bool().Draw(t, "linked") {
			e.Links, e.Inode = rapid.Uint64Min(1).Draw(t, "links"), rapid.Uint64().Draw(t, "inode")
			e.Device = rapid.Uint64().Draw(t, "device")
		}
		if e.Sparse = rapid.Bool().Draw(t, "sparse"); e.Sparse {
			e.Allocated = rapid.Uint64().Draw(t, "allocated")
		}
	case store.KindSymlink:
		e.Target = string(rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "target"))
	}
	for n := range rapid.IntRange(0, 2).Draw(t, "attributes") {
		e.Xattrs = append(e.Xattrs, Xattr{fmt.Sprintf("user.\x01=%d", n), append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "value")...)})
	}
	return e
}

// Whatever is written comes back.
func TestRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[^/\x00]{1,20}`).Filter(func(s string) bool { return store.ValidateName(s) == nil })
	rapid.Check(t, func(t *rapid.T) {
		want, names := make(entries), make(map[string][]string)
		var write func(text []byte, path, last string, depth int) []byte
		write = func(text []byte, path, last string, depth int) []byte {
			dir := drawEntry(t, store.KindDirectory)
			want[path] = dir
			b := NewBlock(&dir)
			text = b.AppendDirectory(text, last, &dir)
			all := rapid.SliceOfNDistinct(name, 0, 4, rapid.ID).Draw(t, "names")
			slices.Sort(all)
			names[path] = all
			var below []string
			for _, n := range all {
				kind := rapid.SampledFrom([]store.Kind{store.KindFile, store.KindSymlink, store.KindDirectory}).Draw(t, "kind")
				if kind == store.KindDirectory && depth < 3 {
					below = append(below, n)
				} else if kind != store.KindDirectory {
					e := drawEntry(t, kind)
					want[strings.TrimPrefix(path+"/"+n, "/")] = e
					text = b.Append(text, n, &e)
				}
			}
			for _, n := range below {
				text = write(text, strings.TrimPrefix(path+"/"+n, "/"), n, depth+1)
			}
			return append(text, Up...)
		}
		text := write([]byte(Header), "", ".", 0)
		got, problems := collect(string(text), names)
		if diff := cmp.Diff(want, got); diff != "" || problems != nil {
			t.Fatalf("problems %q, entries (-want +got):\n%s", problems, diff)
		}
	})
}

// A root that is a file or a link has a block without an end.
func TestSingle(t *testing.T) {
	for _, e := range []Entry{{Kind: store.KindFile, Size: 3, Mode: 0o600, UID: 7}, {Kind: store.KindSymlink, Target: "x y", Mode: 0o777}} {
		got, problems := collect(string(NewBlock(&e).AppendDirectory([]byte(Header), ".", &e)), nil)
		if diff := cmp.Diff(entries{"": e}, got); diff != "" || problems != nil {
			t.Errorf("problems %q, entries (-want +got):\n%s", problems, diff)
		}
	}
}

// What makes no sense is named, and nothing else is lost.
func TestBadLines(t *testing.T) {
	const before, after = "#mtree\n/set type=file\n. type=dir\ngood mode=0600\n", "/set type=file\ngood2 type=dir\nin size=1\n..\n..\n"
	names := map[string][]string{"": {"good", "good2", "a", "passwd", "etc", "..", "."}, "good2": {"in"}}
	for _, lines := range []string{
		"/etc/passwd type=file", "../x", "./a", "a/b", "a\\000b", "a\\9", "a\\77", "a\\777", strings.Repeat("a", 256),
		"a type=block", "a type=", "a mode=10000", "a mode=8", "a mode=-1", "a uid=4294967296", "a uid=-1", "a time=x", "a time=1.1234567890",
		"a time=99999999999999999999", "a size=-1", "a xattr.user.x=*", "a xattr.=", "a tags=allocated-x", "a resdevice=x", "a inode=x", "a nlink=x",
		"/set type=file\na type=file\n..", "/set type=file\n../a type=dir\n..", "/set type=file\n. type=dir\nx\n..", "/set mode=x\na type=dir\n..",
		"/set type=file\na\\057b type=dir\n/set type=file\nc type=dir\n..\n..", "/set type=file\na type=dir mode=99999\n..",
	} {
		got, problems := collect(before+lines+"\n"+after, names)
		if len(problems) == 0 || got["good"].Mode != 0o600 || got["good2"].Kind != store.KindDirectory || got["good2/in"].Size != 1 || len(got) != 4 {
			t.Errorf("%q: %v, problems %q", lines, got, problems)
		}
	}
	for _, text := range []string{"", "#mtree\n", "garbage", "..\n", "/set\n", "/set type=dir\nsub type=dir\n", strings.Repeat("x", maxLine+1)} {
		if got, problems := collect(text, names); len(got) > 0 || len(problems) == 0 {
			t.Errorf("%.20q: %v, %d problems", text, got, len(problems))
		}
	}
	twice := "/set type=file\n. type=dir\n/set type=file\nsub type=dir mode=0700\n..\n/set type=file\nsub type=dir mode=0777\n..\n..\n"
	if got, problems := collect(twice, map[string][]string{"": {"sub"}}); got["sub"].Mode != 0o700 || len(problems) != 1 {
		t.Errorf("two of a name: %v, %q", got, problems)
	}
}

// A deep listing is as long as it is deep, and is read in as little time.
func TestDeep(t *testing.T) {
	dir := Entry{Kind: store.KindDirectory, Mode: 0o755}
	text, n := []byte(Header), store.MaxDepth
	for i := range n + 10 {
		name := "d"
		if i == 0 {
			name = "."
		}
		text = NewBlock(&dir).AppendDirectory(text, name, &dir)
	}
	problems := 0
	root, err := Open(bytes.NewReader(text), int64(len(text)), func(error) { problems++ })
	if err != nil || problems != 10 {
		t.Fatalf("%v, %d problems", err, problems)
	}
	for f := root; f != nil; f = f.Folder("d") {
		n--
	}
	if n != 0 {
		t.Errorf("%d directories are missing", n)
	}
}

// Keywords of other programs, and of next year, do no harm.
func TestUnknownKeywords(t *testing.T) {
	text := "#mtree v2.0\n\n# comment\n/set type=file flags=none\n\n. type=dir x=1\n# more\na cksum=1 optional size=3 tags=red,allocated-1,blue\n..\n"
	got, problems := collect(text, map[string][]string{"": {"a"}})
	want := entries{"": {Kind: store.KindDirectory}, "a": {Kind: store.KindFile, Size: 3, Sparse: true, Allocated: 1}}
	if diff := cmp.Diff(want, got); diff != "" || problems != nil {
		t.Errorf("problems %q, entries (-want +got):\n%s", problems, diff)
	}
}

// badDisk is a text that cannot be read.
type badDisk struct{}

func (badDisk) ReadAt([]byte, int64) (int, error) { return 0, errBadDisk }

var errBadDisk = errors.New("bad disk")

func TestReadError(t *testing.T) {
	if _, err := Open(badDisk{}, 100, func(error) {}); !errors.Is(err, errBadDisk) {
		t.Errorf("got %v", err)
	}
}

// libarchive reads what we write.
func TestBsdtar(t *testing.T) {
	bsdtar, err := exec.LookPath("bsdtar")
	if err != nil {
		t.Skip("NOT TESTED: that libarchive reads listings, because bsdtar is not installed")
	}
	cmd := exec.Command(bsdtar, "-tvf", "-")
	cmd.Stdin = strings.NewReader(strings.Replace(example, "notes", `no\040t\303\251s`, 1))
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("-rwxr-xr-x")) || !bytes.Contains(out, []byte("sub/to -> ../notes")) ||
		!bytes.Contains(out, []byte("ann")) {
		t.Errorf("%v:\n%s", err, out)
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(example)
	f.Add("/set type=dir\n. mode=4755 uid=1\na\\040b xattr.user.x=AAA= nlink=2 inode=3 tags=allocated-0\n")
	f.Add("/set type=dir\n. type=dir\n/set\n\\\n..\n")
	f.Fuzz(func(t *testing.T, text string) {
		root, err := Open(strings.NewReader(text), int64(len(text)), func(error) {})
		if err != nil {
			return
		}
		check := func(e Entry) {
			if e.Mode > modeMask || e.Nanoseconds > 999_999_999 {
				t.Fatalf("%+v", e)
			}
		}
		var walk func(f *Folder)
		walk = func(f *Folder) {
			l, ok := f.Lines(nil, func(error) {})
			if !ok {
				return
			}
			check(l.Self)
			for _, s := range l.lines {
				if e, ok, _ := l.Find(s.name); ok {
					check(e)
				}
			}
			for _, below := range f.folders {
				if err := store.ValidateName(below.name); err != nil {
					t.Fatal(err)
				}
				walk(below)
			}
		}
		walk(root)
	})
}

func BenchmarkAppend(b *testing.B) {
	dir := Entry{Kind: store.KindDirectory, Mode: 0o755, Seconds: 1790000000}
	file := Entry{Kind: store.KindFile, Mode: 0o644, Seconds: 1790000000, Nanoseconds: 123456789, Size: 12345}
	b.ReportAllocs()
	block := NewBlock(&dir)
	var text []byte
	for b.Loop() {
		text = block.Append(text[:0], "Makefile", &file)
	}
}

package listing

import (
	"bytes"
	"errors"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"castar/store"
)

// collect reads a listing, and returns its lines and the texts of its errors.
func collect(text string) (lines []Line, errs []string) {
	for l, err := range Read(strings.NewReader(text)) {
		if err != nil {
			errs = append(errs, err.Error())
			continue
		}
		lines = append(lines, l)
	}
	return lines, errs
}

// The example of the package comment.
const example = `#mtree
/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
. type=dir mode=0755 time=1790000000.123456789
./notes time=1790000000.000000000 size=12
./run mode=0755 time=1790000000.000000000 size=3
/set type=file uid=1000 gid=1000 uname=ann gname=staff mode=0644
./sub type=dir mode=0700 time=1790000000.000000000
./sub/to type=link mode=0777 time=1790000000.000000000 link=../notes
`

func TestExample(t *testing.T) {
	owned := func(e Entry) *Entry {
		e.UID, e.GID, e.User, e.Group, e.Seconds = 1000, 1000, "ann", "staff", 1790000000
		return &e
	}
	root := NewBlock([]byte(Header), "", owned(Entry{Kind: store.KindDirectory, Mode: 0o755, Nanoseconds: 123456789}))
	root.Add("notes", owned(Entry{Kind: store.KindFile, Mode: 0o644, Size: 12}))
	root.Add("run", owned(Entry{Kind: store.KindFile, Mode: 0o755, Size: 3}))
	sub := NewBlock(root.Text(), "sub", owned(Entry{Kind: store.KindDirectory, Mode: 0o700}))
	sub.Add("to", owned(Entry{Kind: store.KindSymlink, Mode: 0o777, Target: "../notes"}))
	if diff := cmp.Diff(example, string(sub.Text())); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	want := []Line{
		{"", *owned(Entry{Kind: store.KindDirectory, Mode: 0o755, Nanoseconds: 123456789})},
		{"notes", *owned(Entry{Kind: store.KindFile, Mode: 0o644, Size: 12})},
		{"run", *owned(Entry{Kind: store.KindFile, Mode: 0o755, Size: 3})},
		{"sub", *owned(Entry{Kind: store.KindDirectory, Mode: 0o700})},
		{"sub/to", *owned(Entry{Kind: store.KindSymlink, Mode: 0o777, Target: "../notes"})},
	}
	lines, errs := collect(example)
	if diff := cmp.Diff(want, lines); diff != "" || errs != nil {
		t.Errorf("errors %v, lines (-want +got):\n%s", errs, diff)
	}
}

// Whatever is written comes back.
func TestRoundTrip(t *testing.T) {
	name := rapid.StringMatching(`[^/\x00]{1,20}`).Filter(func(s string) bool { return store.ValidateName(s) == nil })
	owner := rapid.StringN(0, 8, 16)
	entry := func(t *rapid.T, kind store.Kind) Entry {
		e := Entry{Kind: kind, Mode: rapid.Uint32Range(0, modeMask).Draw(t, "mode"), UID: rapid.Uint32().Draw(t, "uid"),
			GID: rapid.Uint32().Draw(t, "gid"), User: owner.Draw(t, "user"), Group: owner.Draw(t, "group"),
			Seconds: rapid.Int64().Draw(t, "seconds"), Nanoseconds: rapid.Uint32Range(0, 999_999_999).Draw(t, "nanoseconds")}
		switch kind {
		case store.KindFile:
			e.Size = rapid.Uint64().Draw(t, "size")
			if rapid.Bool().Draw(t, "linked") {
				e.Link, e.Links = rapid.Uint64Min(1).Draw(t, "link"), rapid.Uint64().Draw(t, "links")
			}
			if e.Sparse = rapid.Bool().Draw(t, "sparse"); e.Sparse {
				e.Allocated = rapid.Uint64().Draw(t, "allocated")
			}
		case store.KindSymlink:
			e.Target = string(rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(t, "target"))
		}
		for range rapid.IntRange(0, 2).Draw(t, "attributes") {
			e.Xattrs = append(e.Xattrs, Xattr{"user." + name.Draw(t, "attribute"), append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "value")...)})
		}
		return e
	}
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(Header)
		var want []Line
		for range rapid.IntRange(0, 4).Draw(t, "directories") {
			path := strings.Join(rapid.SliceOfN(name, 0, 3).Draw(t, "path"), "/")
			dir := entry(t, store.KindDirectory)
			b := NewBlock(text, path, &dir)
			want = append(want, Line{path, dir})
			for range rapid.IntRange(0, 3).Draw(t, "entries") {
				n, e := name.Draw(t, "name"), entry(t, rapid.SampledFrom([]store.Kind{store.KindFile, store.KindSymlink}).Draw(t, "kind"))
				b.Add(n, &e)
				want = append(want, Line{strings.TrimPrefix(path+"/"+n, "/"), e})
			}
			text = b.Text()
		}
		got, errs := collect(string(text))
		if diff := cmp.Diff(want, got); diff != "" || errs != nil {
			t.Fatalf("errors %v, lines (-want +got):\n%s", errs, diff)
		}
	})
}

func TestBadLines(t *testing.T) {
	for _, line := range []string{
		"/etc/passwd type=file", "../x type=file", "./../x type=file", "./a/../b type=file", "./a//b type=file", "./ type=file",
		"x type=file", "./a\\000b type=file", "./a\\9 type=file", "./a\\77 type=file", "./a\\777 type=file", "./a",
		"./a type=block", "./a type=", "./a type=file mode=10000", "./a type=file mode=8", "./a type=file mode=-1",
		"./a type=file uid=4294967296", "./a type=file uid=-1", "./a type=file time=x", "./a type=file time=1.1234567890",
		"./a type=file time=99999999999999999999", "./a type=file size=-1", "./a type=file xattr.user.x=*", "./a type=file xattr.=",
		"./a type=file tags=allocated-x", "/set mode=x", "./" + strings.Repeat("a", 256) + " type=file",
	} {
		lines, errs := collect("#mtree\n" + line + "\n./good type=file\n")
		if len(errs) != 1 || !strings.HasPrefix(errs[0], "line 2: ") || len(lines) != 1 || lines[0].Path != "good" {
			t.Errorf("%q: %d lines, errors %q", line, len(lines), errs)
		}
	}
}

// Keywords of other programs, and of next year, do no harm.
func TestUnknownKeywords(t *testing.T) {
	lines, errs := collect("#mtree v2.0\n\n# comment\n/set type=file flags=none\n./a cksum=1 optional size=3 tags=red,allocated-1,blue\n/unset all\n./b type=dir")
	want := []Line{{"a", Entry{Kind: store.KindFile, Size: 3, Sparse: true, Allocated: 1}}, {"b", Entry{Kind: store.KindDirectory}}}
	if diff := cmp.Diff(want, lines); diff != "" || errs != nil {
		t.Errorf("errors %v, lines (-want +got):\n%s", errs, diff)
	}
}

func TestReadError(t *testing.T) {
	bad := errors.New("bad disk")
	var last error
	for _, err := range Read(iotest.ErrReader(bad)) {
		last = err
	}
	if !errors.Is(last, bad) {
		t.Errorf("got %v", last)
	}
	_, errs := collect("./a type=file " + strings.Repeat("x", maxLine))
	if len(errs) != 1 {
		t.Errorf("a line that is too long: %d errors", len(errs))
	}
}

// libarchive reads what we write.
func TestBsdtar(t *testing.T) {
	bsdtar, err := exec.LookPath("bsdtar")
	if err != nil {
		t.Skip("NOT TESTED: that libarchive reads listings, because bsdtar is not installed")
	}
	cmd := exec.Command(bsdtar, "-tvf", "-")
	cmd.Stdin = strings.NewReader(strings.Replace(example, "./notes", `./no\040t\303\251s`, 1))
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("-rwxr-xr-x")) || !bytes.Contains(out, []byte("sub/to -> ../notes")) ||
		!bytes.Contains(out, []byte("ann")) {
		t.Errorf("%v:\n%s", err, out)
	}
}

func FuzzRead(f *testing.F) {
	f.Add(example)
	f.Add("./a\\040b type=file mode=4755 uid=1 xattr.user.x=AAA= nlink=2 inode=3 tags=allocated-0\n")
	f.Add("/set type=dir\n./\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		for l, err := range Read(strings.NewReader(text)) {
			if err != nil {
				continue
			}
			if l.Mode > modeMask || l.Nanoseconds > 999_999_999 || l.Kind < store.KindDirectory || l.Kind > store.KindSymlink {
				t.Fatalf("%+v", l)
			}
			for name := range strings.SplitSeq(l.Path, "/") {
				if l.Path != "" && store.ValidateName(name) != nil {
					t.Fatalf("path %q", l.Path)
				}
			}
		}
	})
}

func BenchmarkBlock(b *testing.B) {
	dir := Entry{Kind: store.KindDirectory, Mode: 0o755, Seconds: 1790000000}
	file := Entry{Kind: store.KindFile, Mode: 0o644, Seconds: 1790000000, Nanoseconds: 123456789, Size: 12345}
	b.ReportAllocs()
	block := NewBlock(nil, "drivers/net/ethernet", &dir)
	for b.Loop() {
		block.text = block.text[:0]
		block.Add("Makefile", &file)
	}
}

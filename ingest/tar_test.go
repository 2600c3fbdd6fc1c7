package ingest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"castar/ingest/treetest"
	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"

	"pgregory.net/rapid"
)

// packTree writes the tree in dir as a tar archive of a format. It reports false if the format cannot hold the tree.
func packTree(t testing.TB, dir string, format tar.Format) ([]byte, bool) {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		try(t, err)
		info, err := d.Info()
		try(t, err)
		target := ""
		if d.Type() == fs.ModeSymlink {
			target, err = os.Readlink(path)
			try(t, err)
		}
		h, err := tar.FileInfoHeader(info, target)
		try(t, err)
		h.Name, h.Format, h.ModTime = "."+strings.TrimPrefix(path, dir), format, h.ModTime.Truncate(1e9)
		h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
		if d.IsDir() {
			h.Name += "/"
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if d.Type().IsRegular() {
			data, err := os.ReadFile(path)
			try(t, err)
			_, err = w.Write(data)
			try(t, err)
		}
		return nil
	})
	if err != nil && strings.Contains(err.Error(), "cannot encode header") {
		return nil, false
	}
	try(t, err)
	try(t, w.Close())
	return buf.Bytes(), true
}

// packers are commands that write the tree in the current directory as an archive.
func packers() map[string][]string {
	python := func(format string) []string {
		return []string{"python3", "-c", `import sys, tarfile
with tarfile.open(fileobj=sys.stdout.buffer, mode="w|", format=tarfile.` + format + `, encoding="utf-8", errors="surrogateescape") as t: t.add(".")`}
	}
	return map[string][]string{
		"GNU tar, gnu":    {"tar", "--format=gnu", "-cf", "-", "."},
		"GNU tar, posix":  {"tar", "--format=posix", "-cf", "-", "."},
		"GNU tar, 0.0":    {"tar", "--format=posix", "-S", "--sparse-version=0.0", "-cf", "-", "."},
		"GNU tar, 0.1":    {"tar", "--format=posix", "-S", "--sparse-version=0.1", "-cf", "-", "."},
		"GNU tar, 1.0":    {"tar", "--format=posix", "-S", "--sparse-version=1.0", "-cf", "-", "."},
		"GNU tar, oldgnu": {"tar", "--format=oldgnu", "-S", "-cf", "-", "."},
		"bsdtar, pax":     {"bsdtar", "--format=pax", "-cf", "-", "."},
		"bsdtar, gnutar":  {"bsdtar", "--format=gnutar", "-cf", "-", "."},
		"Python, PAX":     python("PAX_FORMAT"),
		"Python, GNU":     python("GNU_FORMAT"),
	}
}

// TestTarIsTheTree asserts that a tar archive of a tree has the root of the tree, whatever wrote it.
func TestTarIsTheTree(t *testing.T) {
	programs := packers()
	for name, command := range programs {
		if _, err := osexec.LookPath(command[0]); err != nil {
			t.Logf("NOT TESTED: %s: %v", name, err)
			delete(programs, name)
		}
	}
	base, trees, number := onTmpfs(t), treetest.New(), 0
	storetest.Check(t, func(rt *rapid.T) {
		number++
		dir := filepath.Join(base, fmt.Sprint(number))
		trees.Tree(rt, dir, 3)
		defer os.RemoveAll(dir)
		want, err := FS(context.Background(), nil, dir, Options{})
		try(t, err)
		check := func(name string, archive []byte) {
			got, err := Tar(context.Background(), nil, bytes.NewReader(archive), Options{})
			if err != nil || got.Root != want.Root || got.Counts != want.Counts {
				rt.Errorf("%s: root %v, counts %v, error %v; want %v, %v", name, got.Root, got.Counts, err, want.Root, want.Counts)
			}
		}
		for _, format := range []tar.Format{tar.FormatUSTAR, tar.FormatPAX, tar.FormatGNU} {
			if archive, ok := packTree(t, dir, format); ok {
				check(format.String(), archive)
			}
		}
		if number%50 != 7 { // programs take long to start; the first trees are small
			return
		}
		for name, command := range programs {
			c := osexec.Command(command[0], command[1:]...)
			c.Dir, c.Env = dir, append(os.Environ(), "LC_ALL=C.UTF-8")
			archive, err := c.Output()
			if err != nil {
				rt.Fatalf("%s: %v", name, err)
			}
			check(name, archive)
		}
	})
}

// entry is a member of an archive made by hand.
type entry struct {
	name, link, data string
	kind             byte // of package tar; 0 is a file
	as               byte // replaces kind in the archive, if package tar would not write it; or 0
	mode             int64
	pax              map[string]string
}

// tarOf returns an archive of entries.
func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Linkname: e.link, Typeflag: e.kind, Mode: e.mode, PAXRecords: e.pax}
		if e.kind == 0 {
			h.Typeflag = tar.TypeReg
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(e.data))
		}
		try(t, w.Flush())
		at := buf.Len()
		try(t, w.WriteHeader(h))
		if e.as != 0 {
			retype(buf.Bytes()[at:], e.as)
		}
		_, err := io.WriteString(w, e.data)
		try(t, err)
	}
	try(t, w.Close())
	return buf.Bytes()
}

// retype gives a header another type.
func retype(header []byte, kind byte) {
	header[156] = kind
	copy(header[148:], "        ")
	sum := 0
	for _, c := range header[:512] {
		sum += int(c)
	}
	copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
}

// dirs, links and hard links.
func d(name string) entry          { return entry{name: name, kind: tar.TypeDir} }
func f(name, data string) entry    { return entry{name: name, data: data} }
func x(name, data string) entry    { return entry{name: name, data: data, mode: 0o100} }
func s(name, target string) entry  { return entry{name: name, link: target, kind: tar.TypeSymlink} }
func hl(name, target string) entry { return entry{name: name, link: target, kind: tar.TypeLink} }
func pipe(name string) entry       { return entry{name: name, kind: tar.TypeFifo} }

func TestTarMembers(t *testing.T) {
	long := strings.Repeat("long/", 60)
	tests := []struct {
		name    string
		entries []entry
		want    any
	}{
		{"nothing", nil, tree{}},
		{"the root alone", []entry{d("./")}, tree{}},
		{"parents that are missing", []entry{f("a/b/c", "c")}, tree{"a": tree{"b": tree{"c": "c"}}}},
		{"a directory after its entries", []entry{f("a/b", "b"), d("a/"), d("a")}, tree{"a": tree{"b": "b"}}},
		{"odd spellings", []entry{f("./a//b/./c", "c"), d("a/b//"), f("././d", "")}, tree{"a": tree{"b": tree{"c": "c"}}, "d": ""}},
		{"executable by the user's bit", []entry{x("a", "x"), {name: "b", data: "b", mode: 0o077}}, tree{"a": exec("x"), "b": "b"}},
		{"a symlink with any target", []entry{s("a", "/etc"), s("b", "../../.."), s("c", long+"x")}, tree{"a": link("/etc"), "b": link("../../.."), "c": link(long + "x")}},
		{"the last counts", []entry{f("a", "1"), x("a", "2"), f("a", "3")}, tree{"a": "3"}},
		{"a file for a symlink", []entry{s("a", "/etc/passwd"), f("a", "1")}, tree{"a": "1"}},
		{"a directory for a symlink", []entry{s("a", "/etc"), d("a"), f("a/b", "b")}, tree{"a": tree{"b": "b"}}},
		{"a directory for a file", []entry{f("a", "1"), d("a/"), f("a/b", "b")}, tree{"a": tree{"b": "b"}}},
		{"a file for a directory", []entry{f("a/b", "b"), f("a", "1")}, tree{"a": "1"}},
		{"directories are merged", []entry{f("a/b", "b"), d("a"), f("a/c", "c"), d("a")}, tree{"a": tree{"b": "b", "c": "c"}}},
		{"hard links", []entry{x("d/a", "1"), hl("b", "d/a"), hl("./c/c", "./d//a"), hl("d/a", "d/a")}, tree{"d": tree{"a": exec("1")}, "b": exec("1"), "c": tree{"c": exec("1")}}},
		{"a hard link to what is replaced later", []entry{f("a", "1"), hl("b", "a"), f("a", "2"), hl("c", "a")}, tree{"a": "2", "b": "1", "c": "2"}},
		{"a hard link to a symlink", []entry{s("a", "x"), hl("b", "a")}, tree{"a": link("x"), "b": link("x")}},
		{"a pipe that is replaced", []entry{pipe("a"), f("a", "1"), pipe("d/p"), f("d", "2")}, tree{"a": "1", "d": "2"}},
		{"names that are not UTF-8", []entry{f("\xff/\xfe", "1")}, tree{"\xff": tree{"\xfe": "1"}}},
		{"an old directory", []entry{{name: "a/", kind: tar.TypeDir, as: tar.TypeReg}, f("a/b", "")}, tree{"a": tree{"b": ""}}},
		{"long names", []entry{f(long+"x", "1")}, nested(strings.Repeat("long/", 60), "1")},
		{"a long file", []entry{f("a", strings.Repeat("long", batchBytes)), f("b", "1")}, tree{"a": strings.Repeat("long", batchBytes), "b": "1"}},
	}
	for _, tt := range tests {
		st := memory.New()
		r, err := Tar(context.Background(), st, bytes.NewReader(tarOf(t, tt.entries...)), Options{})
		if want := rootOf(t, tt.want); err != nil || r.Root != want {
			t.Errorf("%s: root %v, error %v; want %v", tt.name, r.Root, err, want)
			continue
		}
		for _, err := range st.Directories.Walk(context.Background(), r.Root.Digest) {
			try(t, err)
		}
	}
}

// nested returns directories inside each other with a file x in the last.
func nested(path, data string) any {
	var v any = data
	name := "x"
	for range strings.Count(path, "/") {
		v = tree{name: v}
		name = "long"
	}
	return tree{name: v}
}

func TestTarRefused(t *testing.T) {
	deep := strings.Repeat("d/", store.MaxDepth)
	tests := []struct {
		name   string // the member that is refused
		reason string
		all    []entry
		kept   any // with IgnoreErrors
	}{
		{"../a", "leads out of the tree", []entry{f("../a", "1"), f("b", "b")}, tree{"b": "b"}},
		{"a/../../b", "leads out of the tree", []entry{f("a/../../b", "1")}, tree{}},
		{"a/..", "leads out of the tree", []entry{d("a/..")}, tree{}},
		{"/etc/passwd", "is an absolute name", []entry{f("/etc/passwd", "1"), f("b", "b")}, tree{"b": "b"}},
		{"a/b", "is below a symbolic link", []entry{s("a", "/etc"), f("a/b", "1")}, tree{"a": link("/etc")}},
		{"a/b/", "is below a symbolic link", []entry{s("a", "/etc"), d("a/b/")}, tree{"a": link("/etc")}},
		{"a/b", "is below a file", []entry{f("a", "1"), f("a/b", "1")}, tree{"a": "1"}},
		{"a/b/c", "is below a symbolic link", []entry{d("a"), s("a/b", "."), s("a/b/c", "x")}, tree{"a": tree{"b": link(".")}}},
		{"b", "a hard link to something that is not in the archive before it", []entry{hl("b", "a"), f("a", "1")}, tree{"a": "1"}},
		{"b", "a hard link to something that is not in the archive before it", []entry{s("s", "d"), f("d/a", "1"), hl("b", "s/a")}, tree{"s": link("d"), "d": tree{"a": "1"}}},
		{"b", "a hard link to a directory", []entry{d("a"), hl("b", "a")}, tree{"a": tree{}}},
		{"b", "a hard link to a directory", []entry{hl("b", ".")}, tree{}},
		{"b", "a hard link to /etc/passwd: is an absolute name", []entry{hl("b", "/etc/passwd")}, tree{}},
		{"b", "a hard link to ../a: leads", []entry{hl("b", "../a")}, tree{}},
		{".", "names the whole tree", []entry{s(".", "/etc"), f("a", "")}, tree{"a": ""}},
		{".", "with the name of a directory", []entry{f(".", "1")}, tree{}},
		{strings.Repeat("n", 256), "longer than 255 bytes", []entry{f(strings.Repeat("n", 256), "")}, tree{}},
		{"s", "longer than 4095 bytes", []entry{s("s", strings.Repeat("t", 4096))}, tree{}},
		{"s", "empty", []entry{{name: "s", kind: tar.TypeSymlink}}, tree{}},
		{deep, store.ErrTooDeep.Error(), []entry{d(deep)}, nil},
		{"q", "is of type 'Q'", []entry{{name: "q", kind: 'Q'}}, tree{}},
		{"p/a", "is below something that is not a directory", []entry{pipe("p"), f("p/a", "")}, nil},
	}
	for _, tt := range tests {
		archive := tarOf(t, tt.all...)
		r, err := Tar(context.Background(), memory.New(), bytes.NewReader(archive), Options{})
		if left := (*LeftOutError)(nil); !errors.As(err, &left) || r.Root != (store.Node{}) {
			t.Errorf("%s: root %v, error %v", store.ShortPath(tt.name), r.Root, err)
			continue
		}
		if p := r.LeftOut[len(r.LeftOut)-1]; p.Path != tt.name || !strings.Contains(p.Err.Error(), tt.reason) || p.Special {
			t.Errorf("%s: left out %v, want %s", store.ShortPath(tt.name), r.LeftOut, tt.reason)
		}
		r, err = Tar(context.Background(), memory.New(), bytes.NewReader(archive), Options{IgnoreErrors: true})
		if err != nil || tt.kept != nil && r.Root != rootOf(t, tt.kept) || len(r.LeftOut) == 0 {
			t.Errorf("%s: with IgnoreErrors: root %v, error %v, left out %v", store.ShortPath(tt.name), r.Root, err, r.LeftOut)
		}
	}
}

func TestTarSpecial(t *testing.T) {
	all := []entry{f("a", "1"), pipe("d/p"), {name: "null", kind: tar.TypeChar}, {name: "sda", kind: tar.TypeBlock}}
	archive := tarOf(t, all...)
	if r, err := Tar(context.Background(), nil, bytes.NewReader(archive), Options{}); !errors.Is(err, ErrSpecial) {
		t.Errorf("root %v, error %v", r.Root, err)
	}
	r, err := Tar(context.Background(), nil, bytes.NewReader(archive), Options{SkipSpecial: true})
	if want := rootOf(t, tree{"a": "1", "d": tree{}}); err != nil || r.Root != want || len(r.LeftOut) != 3 {
		t.Errorf("root %v, error %v, left out %v", r.Root, err, r.LeftOut)
	}
	bad := tarOf(t, append(all, f("../x", ""))...)
	if r, err := Tar(context.Background(), nil, bytes.NewReader(bad), Options{SkipSpecial: true}); err == nil {
		t.Errorf("a name that leads out: root %v", r.Root)
	}
}

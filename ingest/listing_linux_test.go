package ingest

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"castar/store"
	"castar/store/listing"
	"castar/store/memory"
)

// listed ingests path and returns the text of its listing.
func listed(t *testing.T, st *store.Store, path string, o Options) string {
	t.Helper()
	ctx := context.Background()
	o.Listing = true
	r, err := FS(ctx, st, path, o)
	if err != nil {
		t.Fatal(err)
	}
	b, err := st.Blobs.Open(ctx, r.Listing)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	text, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// must fails the test if there is an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// The listing says of each entry what a stat does.
func TestListing(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	when := time.Unix(1_000_000_000, 123_456_789)
	old := time.Unix(-5, 999_999_999)
	must(t, os.Mkdir(at("b"), 0o700))
	must(t, os.WriteFile(at("b/file"), []byte("hello"), 0o600))
	must(t, unix.Chmod(at("b/file"), 0o4751))
	must(t, os.Chtimes(at("b/file"), when, when))
	must(t, os.Link(at("b/file"), at("z")))
	must(t, os.WriteFile(at("old \n"), nil, 0o644))
	must(t, os.Chtimes(at("old \n"), old, old))
	must(t, os.Symlink("to where", at("link")))
	must(t, os.WriteFile(at("holes"), nil, 0o644))
	must(t, os.Truncate(at("holes"), 1<<20))
	must(t, unix.Chmod(dir, 0o1755))
	text := listed(t, memory.New(), dir, Options{})
	root, err := listing.Open(strings.NewReader(text), int64(len(text)), func(err error) { t.Error(err) })
	must(t, err)
	top, _ := root.Lines(nil, func(err error) { t.Error(err) })
	find := func(l *listing.Lines, name string) listing.Entry {
		e, ok, err := l.Find(name)
		if !ok || err != nil {
			t.Errorf("%q: %v, %v", name, ok, err)
		}
		return e
	}
	var st unix.Stat_t
	must(t, unix.Lstat(at("z"), &st))
	want := listing.Entry{Kind: store.KindFile, Mode: 0o4751, UID: st.Uid, GID: st.Gid, User: top.Self.User, Group: top.Self.Group,
		Seconds: 1_000_000_000, Nanoseconds: 123_456_789, Size: 5, Links: 2, Inode: st.Ino}
	if diff := cmp.Diff(want, find(top, "z")); diff != "" {
		t.Errorf("z (-want +got):\n%s", diff)
	}
	below, _ := root.Folder("b").Lines(nil, func(err error) { t.Error(err) })
	if diff := cmp.Diff(want, find(below, "file")); diff != "" {
		t.Errorf("b/file (-want +got):\n%s", diff)
	}
	if e := find(top, "old \n"); e.Seconds != -5 || e.Nanoseconds != 999_999_999 || e.Sparse {
		t.Errorf("old: %+v", e)
	}
	if e := find(top, "link"); e.Kind != store.KindSymlink || e.Target != "to where" {
		t.Errorf("link: %+v", e)
	}
	if e := find(top, "holes"); !e.Sparse || e.Allocated != 0 || e.Size != 1<<20 {
		t.Errorf("holes: %+v", e)
	}
	if top.Self.Mode != 0o1755 || below.Self.Mode != 0o700 || top.Self.UID != uint32(os.Getuid()) {
		t.Errorf("directories: %+v, %+v", top.Self, below.Self)
	}
}

// The text is the same however many goroutines walk, and whether files are read or known.
func TestListingDeterministic(t *testing.T) {
	dir, st := t.TempDir(), memory.New()
	for _, a := range []string{"a", "b", "c/d", "c/e"} {
		must(t, os.MkdirAll(filepath.Join(dir, a), 0o755))
		for i := range 3*batchSize + 1 {
			must(t, os.WriteFile(filepath.Join(dir, a, string(rune('A'+i))), []byte{byte(i)}, 0o644))
		}
	}
	want := listed(t, st, dir, Options{Jobs: 1})
	for jobs := range 8 {
		if diff := cmp.Diff(want, listed(t, st, dir, Options{Jobs: jobs})); diff != "" {
			t.Fatalf("%d jobs (-want +got):\n%s", jobs, diff)
		}
	}
}

// What does not fit into memory comes back from the file.
func TestListingSpill(t *testing.T) {
	n := &listingSpool{}
	defer n.close()
	var root spooledBlock
	batches := func(texts ...string) (all []*[]byte) {
		for _, text := range texts {
			if text == "" {
				all = append(all, nil)
				continue
			}
			b := n.buffer()
			*b = append(*b, text...)
			all = append(all, b)
		}
		return all
	}
	must(t, n.keep(&root, batches("root\n")))
	root.isDir = true
	for i := range 4 {
		if i%2 == 1 {
			must(t, n.spill())
		}
		below := &spooledBlock{}
		must(t, n.keep(below, batches(string(rune('a'+i))+"\n", "x\n", "", "y\n")))
		root.below = append(root.below, below)
	}
	st := memory.New()
	d, err := n.put(context.Background(), st.Blobs, &root)
	must(t, err)
	b, err := st.Blobs.Open(context.Background(), d)
	must(t, err)
	text, err := io.ReadAll(b)
	must(t, err)
	if want := "#mtree\nroot\na\nx\ny\nb\nx\ny\nc\nx\ny\nd\nx\ny\n..\n"; string(text) != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestListingXattrs(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o644))
	if err := unix.Setxattr(file, "user.b", []byte("two"), 0); err != nil {
		t.Skip("NOT TESTED: extended attributes, which this file system does not have: ", err)
	}
	must(t, unix.Setxattr(file, "user.a", []byte{0, 1}, 0))
	must(t, unix.Setxattr(dir, "user.top", nil, 0))
	text := listed(t, memory.New(), dir, Options{Xattrs: true})
	for _, want := range []string{"xattr.user.a=AAE= xattr.user.b=dHdv\n", "xattr.user.top=\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if strings.Contains(listed(t, memory.New(), dir, Options{}), "xattr") {
		t.Error("attributes were not asked for")
	}
}

// A root that is a file or a link has a listing too, and a dry run none.
func TestListingSingle(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, []byte("x"), 0o640))
	text := listed(t, memory.New(), file, Options{})
	if !strings.Contains(text, "\n. ") || !strings.Contains(text, "mode=0640") || strings.Contains(text, "..") {
		t.Errorf("got %s", text)
	}
	r, err := FS(context.Background(), nil, file, Options{Listing: true})
	if err != nil || r.Listing != (store.Digest{}) || r.Private != 0 {
		t.Errorf("dry run: %+v, %v", r, err)
	}
}

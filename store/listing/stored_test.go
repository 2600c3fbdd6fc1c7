package listing

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"castar/store"
	"castar/store/memory"
	"castar/store/storetest"

	"github.com/google/go-cmp/cmp"
)

// putListing stores a listing.
func putListing(t *testing.T, st *store.Store, text []byte) store.Digest {
	t.Helper()
	w, err := st.Blobs.Create(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	d, err := w.Commit()
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// A long listing waits in a file, and says the same.
func TestStoredInFile(t *testing.T) {
	storetest.NotUnderRace(t)
	ctx, st := context.Background(), memory.New()
	var text bytes.Buffer
	text.WriteString("#mtree\n/set type=file uid=1 gid=2 mode=0644\n. type=dir mode=0700 time=5.0\n")
	long := "n size=1 time=1.0 xattr.user.x=" + strings.Repeat("QUFB", 1<<20) + "\n"
	for text.Len() <= mostMemory {
		text.WriteString(long)
	}
	text.WriteString("z size=1 mode=0600 time=7.5\n..\n")
	d := putListing(t, st, text.Bytes())
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	s, err := Read(ctx, st.Blobs, d, "z", func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	names, err := os.ReadDir(tmp)
	if err != nil || len(names) > 0 || s.file == nil {
		t.Errorf("files %v, %v", names, err)
	}
	want := Entry{Kind: store.KindFile, Mode: 0o600, UID: 1, GID: 2, Seconds: 7, Nanoseconds: 5e8, Size: 1}
	if l, ok := s.Lines(nil, func(err error) { t.Error(err) }); !ok || !cmp.Equal(l.Self, want) {
		t.Errorf("%+v, want %+v", l.Self, want)
	}
	if _, err := Read(ctx, st.Blobs, store.Sum([]byte("lost")), "", nil); !store.IsNotFound(err) {
		t.Errorf("a listing that is lost: %v", err)
	}
}

// Find goes down and up again, and believes no line that the tree contradicts.
func TestStoredFind(t *testing.T) {
	const text = "#mtree\n/set type=file uid=1 gid=2 mode=0644\n. type=dir mode=0700 time=5.0\nb size=1 mode=0600\nc size=9\n" +
		"/set type=file uid=3 gid=2 mode=0644\na type=dir mode=0755\nx size=2 mode=0444\n" +
		"/set type=file uid=4 gid=2 mode=0644\nin type=dir mode=0711\n..\n..\n..\n"
	st := memory.New()
	d := putListing(t, st, []byte(text))
	s, err := Read(context.Background(), st.Blobs, d, "", func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	dir, file := store.KindDirectory, store.KindFile
	for _, test := range []struct {
		path string
		node store.Node
		mode uint32 // 0 if nothing is known
	}{
		{"", store.Node{Kind: dir}, 0o700},
		{"a", store.Node{Kind: dir}, 0o755},
		{"a/in", store.Node{Kind: dir}, 0o711},
		{"a/in/none", store.Node{Kind: file, Size: 1}, 0},
		{"a/x", store.Node{Kind: file, Size: 2}, 0o444},
		{"b", store.Node{Kind: file, Size: 1}, 0o600},
		{"c", store.Node{Kind: file, Size: 8}, 0}, // the listing says 9
		{"b", store.Node{Kind: dir}, 0},
		{"d/e/f", store.Node{Kind: file}, 0},
		{"a/x", store.Node{Kind: file, Size: 2}, 0o444},
	} {
		e, ok := s.Find(test.path, &test.node)
		if ok != (test.mode != 0) || ok && e.Mode != test.mode {
			t.Errorf("%q: %v, mode %o, want %o", test.path, ok, e.Mode, test.mode)
		}
	}
	var none *Stored
	if _, ok := none.Find("a", &store.Node{Kind: dir}); ok {
		t.Error("a nil Stored knows something")
	}
	none.Close()
}

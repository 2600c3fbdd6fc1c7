package export

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/storetest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// archiveOf returns v as an archive.
func archiveOf(t testing.TB, v any, o ArchiveOptions) []byte {
	t.Helper()
	f := newFake()
	var buf bytes.Buffer
	if _, err := Archive(context.Background(), f.store(), f.put(t, "", v), &buf, o); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// flat returns the entries of v by path, as mode and contents.
func flat(v any, path string, all map[string]string) map[string]string {
	switch v := v.(type) {
	case string:
		all[path] = "-rw-r--r-- " + v
	case exec:
		all[path] = "-rwxr-xr-x " + string(v)
	case link:
		all[path] = "Lrwxrwxrwx " + string(v)
	case tree:
		if path != "" {
			path += "/"
			all[path] = "drwxr-xr-x "
		}
		for name, kid := range v {
			flat(kid, path+name, all)
		}
	}
	return all
}

// readTar returns the members of an archive in the form of flat.
func readTar(t testing.TB, archive []byte) (map[string]string, []string) {
	t.Helper()
	all, order, r := map[string]string{}, []string(nil), tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return all, order
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil || h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Fatalf("%+v: error %v", h, err)
		}
		all[h.Name] = h.FileInfo().Mode().String() + " " + string(data) + h.Linkname
		order = append(order, h.Name)
	}
}

// readZip is readTar for a zip archive.
func readZip(t testing.TB, archive []byte) map[string]string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, f := range r.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil || !f.Modified.Equal(time.Unix(0, 0)) {
			t.Fatalf("%s: modified %v, error %v", f.Name, f.Modified, err)
		}
		all[f.Name] = f.Mode().String() + " " + string(data)
	}
	return all
}

func TestArchive(t *testing.T) {
	long := strings.Repeat("long contents ", longFile/10)
	deep := strings.Repeat("d", 200)
	v := tree{
		"a": "1", "b": exec("22"), "c": link("../x"), "d": tree{}, "empty": "", "e": tree{"f": tree{"g": long, "h": "after it"}},
		strings.Repeat("n", 100): "1", strings.Repeat("n", 101): "1", strings.Repeat("n", 255): tree{"x": "1"},
		deep: tree{deep: tree{deep: "1"}}, "\xff": "raw", deep + "\xff": tree{deep: link(strings.Repeat("\xff", 1000))},
		"é": link(strings.Repeat("é", 500)), "p": tree{strings.Repeat("q", 99): "1", strings.Repeat("q", 98): tree{"r": "1"}},
		"zeros": strings.Repeat("\x00", 600_000),
	}
	want := flat(v, "", map[string]string{})
	for _, jobs := range []int{0, 1, 3} {
		archive := archiveOf(t, v, ArchiveOptions{Format: FormatTar, Options: Options{Jobs: jobs}})
		got, _ := readTar(t, archive)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("tar:\n%.2000s", diff)
		}
		if again := archiveOf(t, v, ArchiveOptions{Format: FormatTar}); !bytes.Equal(again, archive) {
			t.Error("tar: another archive of the same tree")
		}
		packed := archiveOf(t, v, ArchiveOptions{Format: FormatZip, Options: Options{Jobs: jobs}})
		if diff := cmp.Diff(want, readZip(t, packed)); diff != "" {
			t.Errorf("zip:\n%.2000s", diff)
		}
		if again := archiveOf(t, v, ArchiveOptions{Format: FormatZip}); !bytes.Equal(again, packed) {
			t.Error("zip: another archive of the same tree")
		}
	}
	storetest.Check(t, func(rt *rapid.T) {
		v := genTree(3).Draw(rt, "tree")
		want := flat(v, "", map[string]string{})
		got, _ := readTar(t, archiveOf(t, v, ArchiveOptions{Format: FormatTar}))
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Errorf("tar:\n%s", diff)
		}
		if diff := cmp.Diff(want, readZip(t, archiveOf(t, v, ArchiveOptions{Format: FormatZip}))); diff != "" {
			rt.Errorf("zip:\n%s", diff)
		}
	})
}

func TestArchiveName(t *testing.T) {
	tests := []struct {
		v    any
		name string
		want map[string]string // nil: an error
	}{
		{tree{"a": "1"}, "top", map[string]string{"top/": "drwxr-xr-x ", "top/a": "-rw-r--r-- 1"}},
		{tree{"a": tree{}}, "x/y", map[string]string{"x/y/": "drwxr-xr-x ", "x/y/a/": "drwxr-xr-x "}},
		{"1", "x/file", map[string]string{"x/file": "-rw-r--r-- 1"}},
		{link("t"), "l", map[string]string{"l": "Lrwxrwxrwx t"}},
		{tree{}, "", map[string]string{}},
		{"1", "", nil}, {link("t"), "", nil},
		{"1", "../x", nil}, {"1", "/x", nil}, {"1", "x/", nil}, {"1", ".", nil}, {tree{}, "a\x00", nil},
	}
	for _, tt := range tests {
		for _, format := range []Format{FormatTar, FormatZip} {
			f := newFake()
			var buf bytes.Buffer
			_, err := Archive(context.Background(), f.store(), f.put(t, "", tt.v), &buf, ArchiveOptions{Format: format, Name: tt.name})
			if (err == nil) != (tt.want != nil) {
				t.Errorf("%s, %v as %q: error %v", format, tt.v, tt.name, err)
			}
			if tt.want == nil {
				continue
			}
			var got map[string]string
			if format == FormatTar {
				got, _ = readTar(t, buf.Bytes())
			} else {
				got = readZip(t, buf.Bytes())
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("%s, %v as %q:\n%s", format, tt.v, tt.name, diff)
			}
		}
	}
}

// TestTarHeaderFits asserts what goes into a header and what needs a record.
func TestTarHeaderFits(t *testing.T) {
	tests := []struct {
		e      tarEntry
		mtime  int64
		blocks int // of headers
	}{
		{tarEntry{name: strings.Repeat("n", 100)}, 0, 1},
		{tarEntry{name: strings.Repeat("n", 101)}, 0, 3},
		{tarEntry{name: strings.Repeat("n", 155) + "/" + strings.Repeat("n", 100)}, 0, 1},
		{tarEntry{name: strings.Repeat("n", 156) + "/" + strings.Repeat("n", 99)}, 0, 3},
		{tarEntry{name: strings.Repeat("n", 154) + "/" + strings.Repeat("n", 101)}, 0, 3},
		{tarEntry{name: strings.Repeat("n", 101) + "/"}, 0, 3},
		{tarEntry{name: "\xff" + strings.Repeat("n", 100)}, 0, 3},
		{tarEntry{name: "l", target: strings.Repeat("t", 100)}, 0, 1},
		{tarEntry{name: "l", target: strings.Repeat("t", 101)}, 0, 3},
		{tarEntry{name: "f", size: 1<<33 - 1}, 0, 1},
		{tarEntry{name: "f", size: 1 << 33}, 0, 3},
		{tarEntry{name: "f", size: math.MaxInt64}, 0, 3},
		{tarEntry{name: "f"}, 1<<33 - 1, 1},
		{tarEntry{name: "f"}, 1 << 33, 3},
		{tarEntry{name: "f"}, -1, 3},
	}
	for _, tt := range tests {
		tt.e.kind = tarTypeFile
		if tt.e.target != "" {
			tt.e.kind = tarTypeSymlink
		}
		tt.e.seconds = tt.mtime
		b := new(tarEncoder).header(nil, tt.e)
		if len(b) != tt.blocks*tarBlock {
			t.Errorf("%+.60v: %d bytes", tt.e, len(b))
		}
		h, err := tar.NewReader(bytes.NewReader(b)).Next()
		if err != nil || h.Name != tt.e.name || h.Linkname != tt.e.target || uint64(h.Size) != tt.e.size || h.ModTime.Unix() != tt.mtime {
			t.Errorf("%+.60v: read as %+v, error %v", tt.e, h, err)
		}
	}
	for n := range 1200 { // a record begins with its own length
		if b := appendPAX(nil, "k", strings.Repeat("v", n)); !strings.HasPrefix(string(b), fmt.Sprint(len(b), " k=")) {
			t.Errorf("a record of %d bytes begins with %.10q", len(b), b)
		}
	}
}

// TestZip64 lists entries with sizes and offsets that need 64 bits.
func TestZip64(t *testing.T) {
	z := newZipEncoder()
	sizes := []uint64{1, math.MaxUint32 - 1, math.MaxUint32, 1 << 40}
	for i, size := range sizes {
		z.list(&zipEntry{name: fmt.Sprint(i), mode: unixFile | 0o644, size: size, packed: size / 2, at: size})
	}
	b := z.end(1 << 34)
	r, err := zip.NewReader(&hole{size: 1 << 34, tail: b}, 1<<34+int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range r.File {
		if f.UncompressedSize64 != sizes[i] || f.CompressedSize64 != sizes[i]/2 {
			t.Errorf("%s: %d bytes, %d compressed, want %d", f.Name, f.UncompressedSize64, f.CompressedSize64, sizes[i])
		}
	}
	many := newZipEncoder()
	for i := range 70_000 {
		many.list(&zipEntry{name: fmt.Sprint(i), mode: unixFile | 0o644})
	}
	if b := many.end(0); true {
		if r, err := zip.NewReader(bytes.NewReader(b), int64(len(b))); err != nil || len(r.File) != 70_000 {
			t.Errorf("70000 entries: %v", err)
		}
	}
}

// hole is a file of zeros with a tail.
type hole struct {
	size int64
	tail []byte
}

func (h *hole) ReadAt(p []byte, at int64) (int, error) {
	for i := range p {
		if j := at + int64(i) - h.size; j >= 0 {
			return i + copy(p[i:], h.tail[j:]), nil
		}
		p[i] = 0
	}
	return len(p), nil
}

// TestArchiveDamage damages a tree in every way. There must be an error, and no end.
func TestArchiveDamage(t *testing.T) {
	long := strings.Repeat("long", longFile/4+1)
	tests := map[string]func(f *fake, small, big, sub store.Node) error{
		"a small file is missing": func(f *fake, small, _, _ store.Node) error { delete(f.blobs, small.Digest); return store.ErrNotFound },
		"a long file is missing":  func(f *fake, _, big, _ store.Node) error { delete(f.blobs, big.Digest); return store.ErrNotFound },
		"a directory is missing":  func(f *fake, _, _, sub store.Node) error { delete(f.dirs, sub.Digest); return store.ErrNotFound },
		"a small file is another": func(f *fake, small, _, _ store.Node) error {
			f.blobs[small.Digest] = []byte("X")
			return store.ErrDigestMismatch
		},
		"a long file ends differently": func(f *fake, _, big, _ store.Node) error {
			f.blobs[big.Digest] = []byte(long[1:] + "X")
			return store.ErrDigestMismatch
		},
		"a long file is shorter": func(f *fake, _, big, _ store.Node) error { f.blobs[big.Digest] = []byte(long[1:]); return nil },
		"a long file is longer": func(f *fake, _, big, _ store.Node) error {
			f.blobs[big.Digest], f.sizes[big.Digest] = []byte(long+"X"), big.Size
			return nil
		},
		"a directory has a name with a slash": func(f *fake, _, _, sub store.Node) error {
			f.dirs[sub.Digest] = store.Directory{{Name: "../x", Kind: store.KindSymlink, Target: "x"}}
			return nil
		},
		"a directory is in itself": func(f *fake, _, _, sub store.Node) error {
			sub.Name = "again"
			f.dirs[sub.Digest] = store.Directory{sub}
			return nil
		},
	}
	ends := map[Format]int{FormatTar: 1024, FormatNAR: 48, FormatZip: 22} // lengths of what only a whole archive ends with
	for name, damage := range tests {
		for format := range ends {
			f := newFake()
			small, big := f.file("small", "1"), f.file("big", long)
			sub := f.dir(t, "sub", store.Directory{{Name: "x", Kind: store.KindSymlink, Target: "x"}})
			root := f.dir(t, "", store.Directory{big, small, sub})
			var whole, cut bytes.Buffer
			if _, err := Archive(context.Background(), f.store(), root, &whole, ArchiveOptions{Format: format}); err != nil {
				t.Fatal(err)
			}
			reason := damage(f, small, big, sub)
			dest := filepath.Join(t.TempDir(), "archive")
			_, err := Archive(context.Background(), f.store(), root, &cut, ArchiveOptions{Format: format})
			if err == nil || reason != nil && !errors.Is(err, reason) {
				t.Errorf("%s, %s: error %v", format, name, err)
			}
			if at := (*Error)(nil); !errors.As(err, &at) {
				t.Errorf("%s, %s: error %v, without a path", format, name, err)
			}
			end := whole.Bytes()[whole.Len()-ends[format]:]
			if bytes.HasSuffix(cut.Bytes(), end) {
				t.Errorf("%s, %s: there is an end", format, name)
			}
			if _, err := ArchiveFile(context.Background(), f.store(), root, dest, false, ArchiveOptions{Format: format}); err == nil {
				t.Errorf("%s, %s: a file, and no error", format, name)
			}
			only(t, filepath.Dir(dest), 0)
		}
	}
}

// failingWriter fails after some bytes.
type failingWriter struct{ left int }

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestArchiveStops(t *testing.T) {
	f := newFake()
	v := tree{}
	for i := range 300 {
		v[fmt.Sprint(i)] = tree{"file": strings.Repeat("x", i*100)}
	}
	root := f.put(t, "", v)
	for _, left := range []int{0, 100_000, 3_000_000} {
		if _, err := Archive(context.Background(), f.store(), root, &failingWriter{left}, ArchiveOptions{Format: FormatTar}); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("a writer that fails after %d bytes: %v", left, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.onGet = func(store.Digest) error { cancel(); return nil }
	if _, err := Archive(ctx, f.store(), root, io.Discard, ArchiveOptions{Format: FormatNAR}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestArchiveFile(t *testing.T) {
	f, dir := newFake(), t.TempDir()
	root := f.put(t, "", tree{"a": "1"})
	write := func(dest string, overwrite bool) error {
		_, err := ArchiveFile(context.Background(), f.store(), root, dest, overwrite, ArchiveOptions{Format: FormatTar})
		return err
	}
	if err := write(dir+"/a.tar", false); err != nil {
		t.Fatal(err)
	}
	if err := write(dir+"/a.tar", false); !errors.Is(err, fs.ErrExist) {
		t.Errorf("it exists: %v", err)
	}
	if err := os.WriteFile(dir+"/a.tar", []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(dir+"/a.tar", true); err != nil {
		t.Error(err)
	}
	data, err := os.ReadFile(dir + "/a.tar")
	if got, _ := readTar(t, data); err != nil || got["a"] == "" {
		t.Errorf("%v, error %v", got, err)
	}
	if err := os.Symlink("a.tar", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, dest := range []string{"", ".", "/", dir, dir + "/new/", dir + "/no/such", dir + "/a.tar/x", dir + "/link"} {
		if err := write(dest, true); err == nil || !strings.HasPrefix(err.Error(), store.Quote(dest)+": ") {
			t.Errorf("%q: error %v", dest, err)
		}
	}
	only(t, dir, 2)
}

package mount

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"castar/store"

	"github.com/google/go-cmp/cmp"
)

// errDamaged is the damage that tests make.
func errDamaged(d store.Digest) error {
	return &store.CorruptError{Digest: d, Err: store.ErrDigestMismatch}
}

func TestDamage(t *testing.T) {
	st, b := newBroken()
	data := make([]byte, 3<<20)
	for i := range data {
		data[i] = byte(i >> 9)
	}
	big := b.cut(t, data)
	big.Name = "big"
	wrong := plant(t, st, "wrong", "five!")
	wrong.Size = 6
	small := plant(t, st, "small", files{"a": "1", "b": "2"})
	small.Size = 1 // there are two
	dir := store.Directory{
		plant(t, st, "bad", "bad"), big, plant(t, st, "good", files{"x": "y"}), plant(t, st, "lost", "lost"),
		plant(t, st, "missing", files{"z": "z"}), small, wrong,
	}
	digests := map[string]store.Digest{}
	for _, n := range dir {
		digests[n.Name] = n.Digest
	}
	size, err := dir.Size(store.SizeDocumented)
	if err != nil {
		t.Fatal(err)
	}
	d, err := st.Directories.Put(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	chunk := b.chunks[big.Digest][3].Digest
	b.set(digests["bad"], errDamaged(digests["bad"]))
	b.set(digests["lost"], store.ErrNotFound)
	b.set(digests["missing"], store.ErrNotFound)
	b.set(chunk, errDamaged(chunk))
	at, n := mounted(t, st, &store.Node{Kind: store.KindDirectory, Digest: d, Size: size})
	for _, name := range []string{"bad", "big", "lost", "missing/z", "small/a", "wrong"} {
		for range 2 {
			if got, err := os.ReadFile(in(at, name)); !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
	}
	want := []string{"bad", "big", "lost", "missing", "small", "wrong"}
	if d := cmp.Diff(want, n.take()); d != "" {
		t.Errorf("reported: %s", d)
	}
	for name, content := range map[string]string{"good/x": "y", "bad": "bad"} { // all else is whole, and damage may be healed
		b.set(digests["bad"], nil)
		if got, err := os.ReadFile(in(at, name)); err != nil || string(got) != content {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	f, err := os.Open(in(at, "big"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 100)
	if _, err := f.ReadAt(buf, int64(len(data))-100); err != nil || string(buf) != string(data[len(data)-100:]) {
		t.Errorf("after the damage: %v", err)
	}
}

func TestStoreAway(t *testing.T) {
	st, b := newBroken()
	root := plant(t, st, "", files{"a": "1", "b": "2", "c": "3", "d": "4"})
	at, n := mounted(t, st, &root)
	if _, err := os.ReadDir(at); err != nil {
		t.Fatal(err)
	}
	try := func(name string, ok bool) {
		t.Helper()
		_, err := os.ReadFile(in(at, name))
		if ok && err != nil || !ok && !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: %v", name, err)
		}
	}
	reported := func(want ...string) {
		t.Helper()
		if d := cmp.Diff(want, n.take()); d != "" {
			t.Error(d)
		}
	}
	gone := errors.New("connection refused")
	b.goAway(gone)
	try("a", false)
	try("b", false)
	reported("a")
	b.goAway(nil)
	try("b", true)
	b.goAway(gone)
	try("c", false)
	try("b", true) // the kernel has it
	reported("c")
	b.goAway(nil)
	try("a", true)
	try("d", true)
	reported()
}

func TestRefused(t *testing.T) {
	st, _ := newBroken()
	dir := t.TempDir()
	root := plant(t, st, "", files{})
	file := plant(t, st, "", "file")
	huge := root
	huge.Size = maxSize + 1
	if err := os.WriteFile(in(dir, "here"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		root *store.Node
		dir  string
		want error
	}{
		"nonempty": {&root, dir, ErrNonempty},
		"absent":   {&root, in(dir, "absent"), fs.ErrNotExist},
		"a file":   {&root, in(dir, "here"), syscall.ENOTDIR},
		"no tree":  {&file, t.TempDir(), nil},
		"huge":     {&huge, t.TempDir(), errSize},
	} {
		m, err := Mount(t.Context(), st, tt.root, tt.dir, Options{})
		if err == nil {
			_ = m.Unmount(true)
			m.Close()
		}
		if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if err := Unmount(dir, false); !errors.Is(err, ErrNotMounted) {
		t.Errorf("unmount: %v", err)
	}
}

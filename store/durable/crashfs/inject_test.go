package crashfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"castar/store/durable/crashfs"
)

func TestInject(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, made)
	r, err := fsys.Open("f")
	check(t, err)
	w, err := fsys.Append("f")
	check(t, err)
	l, err := fsys.Lock("f", true)
	check(t, err)

	var seen []string
	fsys.Inject(func(op crashfs.Op) error {
		seen = append(seen, op.String())
		return syscall.EIO
	})
	discard := func(_ any, err error) error { return err }
	for _, got := range []error{
		discard(fsys.Open("f")), discard(fsys.Create("g")), discard(fsys.Append("g")), fsys.Mkdir("d"),
		fsys.Rename("f", "g"), fsys.Remove("f"), discard(fsys.ReadDir(".")), discard(fsys.Stat("f")),
		fsys.SyncDir("."), discard(fsys.Lock("f", false)), discard(r.ReadAt(make([]byte, 2), 1)), discard(r.Size()),
		discard(r.Map()), discard(w.Write([]byte("xyz"))), w.Sync(), l.Shared(), l.Close(), w.Close(), r.Close(),
	} {
		if !errors.Is(got, syscall.EIO) {
			t.Errorf("got %v, want EIO", got)
		}
	}
	fsys.Inject(nil)
	want := []string{"open f", "create g", "append g", "mkdir d", "rename f to g", "remove f", "readdir .", "stat f",
		"syncdir .", "lock f", "read f 1+2", "size f", "map f", "write f 2+3", "sync f", "shared f", "unlock f",
		"close f", "close f"}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
	if got := describe(t, fsys); got != "f=ab" || fsys.InUse() != 0 {
		t.Errorf("changed to %q, %d in use", got, fsys.InUse())
	}
	var log []string
	for _, op := range fsys.Ops()[4:] {
		log = append(log, op.String())
	}
	if diff := cmp.Diff([]string{"syncdir . (failed)", "sync f (failed)"}, log); diff != "" {
		t.Error(diff)
	}
}

func TestShortWrite(t *testing.T) {
	fsys := crashfs.New()
	f, err := fsys.Create("f")
	check(t, err)
	fsys.Inject(func(crashfs.Op) error { return &crashfs.Short{N: 2, Err: syscall.ENOSPC} })
	n, err := f.Write([]byte("abcd"))
	if n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("wrote %d, %v", n, err)
	}
	fsys.Inject(nil)
	_, err = f.Write([]byte("xy"))
	check(t, err)
	if got := describe(t, fsys); got != "f=abxy" {
		t.Errorf("got %q", got)
	}
}

func TestUnmapSpoils(t *testing.T) {
	fsys := crashfs.New()
	script(t, fsys, made)
	f, err := fsys.Open("f")
	check(t, err)
	m, err := f.Map()
	check(t, err)
	check(t, f.Close())
	if string(m) != "ab" || fsys.InUse() != 1 {
		t.Errorf("map %q, %d in use", m, fsys.InUse())
	}
	check(t, f.Unmap(m))
	if string(m) == "ab" || fsys.InUse() != 0 {
		t.Errorf("after unmap %q, %d in use", m, fsys.InUse())
	}
	if err := f.Unmap(m); err == nil {
		t.Error("unmapped twice")
	}
	if _, err := f.ReadAt(m, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read of a closed file: %v", err)
	}
}

func BenchmarkStates(b *testing.B) {
	fsys := crashfs.New()
	for i := range 8 {
		f, _ := fsys.Create(fmt.Sprintf("f%d", i))
		for range 4 {
			f.Write(make([]byte, 2000))
		}
		f.Sync()
		f.Write(make([]byte, 2000))
	}
	for b.Loop() {
		for range fsys.States(fsys.Len(), 1, 0) {
		}
	}
}

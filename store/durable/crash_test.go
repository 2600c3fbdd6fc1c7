package durable_test

import (
	"cmp"
	"errors"
	"io"
	"syscall"
	"testing"

	"castar/store/durable"
	"castar/store/durable/crashfs"
)

// written returns an FS with a folder tmp, in which the file name durably holds old, and the length of its log.
func written(t *testing.T, name, old string) (*crashfs.FS, int) {
	t.Helper()
	fsys := crashfs.New()
	check(t, durable.MkdirAll(fsys, "tmp"))
	check(t, durable.WriteFile(fsys, "tmp/0", name, []byte(old)))
	return fsys, fsys.Len()
}

// After every crash the file has its complete old contents or the complete new ones, and the new ones once WriteFile
// has returned.
func TestWriteFileCrash(t *testing.T) {
	for _, tmp := range []string{"1", "tmp/1"} {
		fsys, before := written(t, "f", "old")
		check(t, durable.WriteFile(fsys, tmp, "f", []byte("newer")))
		states := 0
		for k := before; k <= fsys.Len(); k++ {
			for s := range fsys.States(k, 1000, 0) {
				states++
				got := get(t, s, "f")
				if got != "newer" && (got != "old" || k == fsys.Len()) {
					t.Errorf("%s: crash after %d of %v leaves %q", tmp, k-before, fsys.Ops()[before:], got)
				}
			}
		}
		if states < 30 {
			t.Errorf("only %d states were tried", states)
		}
	}
}

// If WriteFile lacked any one of its syncs, the crash test would find a wrong state.
func TestWriteFileNeedsSyncs(t *testing.T) {
	for _, omit := range []string{"sync", "syncdir"} {
		fsys, _ := written(t, "f", "old")
		f, err := fsys.Create("1")
		check(t, err)
		_, err = f.Write([]byte("newer"))
		check(t, err)
		if omit != "sync" {
			check(t, f.Sync())
		}
		check(t, f.Close())
		check(t, fsys.Rename("1", "f"))
		if omit != "syncdir" {
			check(t, fsys.SyncDir("."))
		}
		wrong := 0
		for s := range fsys.States(fsys.Len(), 1000, 0) {
			if get(t, s, "f") != "newer" {
				wrong++
			}
		}
		if wrong == 0 {
			t.Errorf("without %s no state is wrong", omit)
		}
	}
}

// WriteFile reports the failure of any operation. The old contents stay until the rename, and tmp is removed.
func TestWriteFileFaults(t *testing.T) {
	short := &crashfs.Short{N: 2, Err: syscall.ENOSPC}
	for _, injected := range []error{syscall.EIO, syscall.EMFILE, short} {
		for fault := 0; ; fault++ {
			fsys, _ := written(t, "f", "old")
			n, failed := -1, crashfs.Op{}
			fsys.Inject(func(op crashfs.Op) error {
				if n++; n != fault {
					return nil
				}
				failed = op
				return injected
			})
			err := durable.WriteFile(fsys, "tmp/1", "f", []byte("newer"))
			fsys.Inject(nil)
			if n < fault {
				if err != nil || fault != 6 {
					t.Errorf("after %d faults: %v", fault, err)
				}
				break
			}
			if want := cmp.Or(errors.Unwrap(injected), injected); !errors.Is(err, want) {
				t.Errorf("%v: got %v, want %v", failed, err, want)
			}
			checkFault(t, fsys, failed)
		}
	}
}

// checkFault checks what WriteFile left, and what a crash may leave after it.
func checkFault(t *testing.T, fsys *crashfs.FS, failed crashfs.Op) {
	t.Helper()
	visible := "old"
	if failed.Kind == crashfs.SyncDir {
		visible = "newer"
	}
	if got := fsys.Files(); len(got) != 1 || string(got["f"]) != visible || fsys.InUse() != 0 {
		t.Errorf("%v failed: left %q, %d in use", failed, got, fsys.InUse())
	}
	for s := range fsys.States(fsys.Len(), 1000, 0) {
		if got := get(t, s, "f"); got != "old" && (failed.Kind != crashfs.SyncDir || got != "newer") {
			t.Errorf("%v failed: a crash leaves %q", failed, got)
		}
	}
}

// Once MkdirAll has returned nil, the folder survives every crash, even if a killed process had made it or a folder
// above it without a sync.
func TestMkdirAllCrash(t *testing.T) {
	first := crashfs.New()
	check(t, durable.MkdirAll(first, "a/b/c"))
	for k := range first.Len() + 1 {
		fsys := first.Kill(k)
		check(t, durable.MkdirAll(fsys, "a/b/c"))
		for s := range fsys.States(fsys.Len(), 1000, 0) {
			check(t, second(s.Stat("a/b/c")))
		}
	}
	if len(first.Ops()) != 6 {
		t.Errorf("operations %v", first.Ops())
	}
}

// A file that becomes shorter while it is read is an error, not fewer bytes.
func TestReadFileShrunk(t *testing.T) {
	_, err := durable.ReadFile(shrinking{crashfs.New()}, "f", 1<<20)
	want(t, err, io.ErrUnexpectedEOF, "f")
}

// shrinking has files that say they are one byte longer than they are.
type shrinking struct{ durable.FS }

type shrunk struct{ durable.File }

func (s shrinking) Open(name string) (durable.File, error) {
	f, err := s.FS.Create(name)
	return shrunk{f}, err
}

func (s shrunk) Size() (int64, error) { return 1, nil }

// Reusing a buffer after a write does not change what was written, not even after a crash.
func TestCrashKeepsWrites(t *testing.T) {
	fsys := crashfs.New()
	f, err := fsys.Create("f")
	check(t, err)
	defer f.Close()
	buf := []byte("ab")
	_, err = f.Write(buf)
	check(t, err)
	clear(buf)
	if got := get(t, fsys.Crash(fsys.Len(), func(n int) int { return n - 1 }), "f"); got != "ab" {
		t.Errorf("got %q", got)
	}
}

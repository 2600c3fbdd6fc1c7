package packed

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/live"
	"castar/store/packed/internal/sealed"
)

// made returns a file system with a store in it.
func made(t *testing.T) *crashfs.FS {
	t.Helper()
	fsys := crashfs.New()
	st, err := openFS(t.Context(), fsys, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	return fsys
}

// Who has the store for itself is waited for as long as Wait says, and OnWait is called once.
func TestLockWait(t *testing.T) {
	tests := []struct {
		name   string
		wait   time.Duration
		held   time.Duration // how long the other has it
		opened bool
		told   int
	}{
		{"an instant", 0, time.Second, true, 0},
		{"longer than Wait", 0, time.Hour, false, 0},
		{"longer than a long Wait", 10 * time.Second, time.Hour, false, 1},
		{"less than Wait", time.Minute, 30 * time.Second, true, 1},
		{"for ever", -1, 5 * time.Minute, true, 1},
	}
	for _, tt := range tests {
		for _, readOnly := range []bool{false, true} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					fsys := made(t)
					held, err := fsys.Lock(sealed.LockName, true)
					if err != nil {
						t.Fatal(err)
					}
					timer := time.AfterFunc(tt.held, func() { held.Close() })
					defer timer.Stop()
					told := 0
					st, err := openFS(t.Context(), fsys, Options{ReadOnly: readOnly, Wait: tt.wait, OnWait: func() { told++ }})
					if err == nil {
						st.Close()
					}
					if tt.opened != (err == nil) || !tt.opened && !errors.Is(err, store.ErrLocked) {
						t.Errorf("error %v", err)
					}
					if told != tt.told {
						t.Errorf("OnWait was called %d times, want %d", told, tt.told)
					}
				})
			})
		}
	}
}

func TestLockWaitEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := made(t)
		held, err := fsys.Lock(sealed.LockName, true)
		if err != nil {
			t.Fatal(err)
		}
		defer held.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := openFS(ctx, fsys, Options{Wait: -1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// Everyone who has the store open holds the lock shared: others open it, nobody gets it for itself.
func TestLockShared(t *testing.T) {
	for _, o := range []Options{{}, {ReadOnly: true}} {
		fsys := made(t)
		a, err := openFS(t.Context(), fsys, o)
		if err != nil {
			t.Fatal(err)
		}
		b, err := openFS(t.Context(), fsys, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range []*live.Store{a, b} {
			if _, err := fsys.Lock(sealed.LockName, true); !errors.Is(err, store.ErrLocked) {
				t.Errorf("%+v: exclusive lock of a store in use: %v", o, err)
			}
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}
		if l, err := fsys.Lock(sealed.LockName, true); err != nil {
			t.Errorf("%+v: exclusive lock of a closed store: %v", o, err)
		} else {
			l.Close()
		}
	}
}

// racing is a file system on which another process acts when this one first looks whether the folder is empty.
type racing struct {
	durable.FS
	act func()
}

func (r *racing) ReadDir(name string) (entries []fs.DirEntry, err error) {
	entries, err = r.FS.ReadDir(name)
	if act := r.act; act != nil && name == "." {
		r.act = nil
		act()
	}
	return entries, err
}

// A store that another process makes at the same time, and keeps open, is used.
func TestCreateRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := crashfs.New()
		var other *live.Store
		st, err := openFS(t.Context(), &racing{fsys, func() {
			var err error
			if other, err = openFS(t.Context(), fsys, Options{Create: true}); err != nil {
				t.Error(err)
			}
		}}, Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		if st.Config.ID != other.Config.ID {
			t.Errorf("two stores were made: %s and %s", st.Config.ID, other.Config.ID)
		}
		for _, st := range []*live.Store{st, other} {
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A process that was stopped while it made the store is not waited for: its lock has gone with it.
func TestCreateAfterStoppedCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fsys := crashfs.New()
		st, err := openFS(t.Context(), &racing{fsys, func() {
			held, err := fsys.Lock(sealed.LockName, true)
			if err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(time.Second, func() { held.Close() })
		}}, Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil || fsys.InUse() > 0 {
			t.Errorf("%v, %d in use", err, fsys.InUse())
		}
	})
}

// Where another process takes the lock between the exclusive and the shared one, nothing is left open.
func TestLockTakenInBetween(t *testing.T) {
	fsys := made(t)
	times := 0
	fsys.Inject(func(op crashfs.Op) error {
		if times++; op.Kind == crashfs.Shared && times < 100 {
			times = 100
			return store.ErrLocked
		}
		return nil
	})
	st, err := openFS(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil || fsys.InUse() > 0 {
		t.Errorf("%v, %d in use", err, fsys.InUse())
	}
}

func TestCreateRefuses(t *testing.T) {
	ctx := t.Context()
	tests := []struct {
		name string
		make string // a file
		o    Options
		is   error
		says string
	}{
		{"nothing there", "", Options{}, store.ErrNoStore, "."},
		{"nothing there, to read", "", Options{Create: true, ReadOnly: true}, store.ErrNoStore, "."},
		{"something else there", "thesis.tex", Options{Create: true}, store.ErrNoStore, `"thesis.tex"`},
		{"a damaged config", sealed.ConfigName, Options{Create: true}, nil, sealed.ConfigName},
	}
	for _, tt := range tests {
		fsys := crashfs.New()
		if tt.make != "" {
			if err := durable.WriteFile(fsys, "0", tt.make, []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
		before := fsys.Len()
		_, err := openFS(ctx, fsys, tt.o)
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: error %v", tt.name, err)
		}
		if fsys.Len() > before {
			t.Errorf("%s: %v", tt.name, fsys.Ops()[before:])
		}
	}
	fsys := made(t)
	fsys.Inject(func(op crashfs.Op) error {
		if op.Kind == crashfs.ReadDir {
			return syscall.EACCES
		}
		return nil
	})
	if _, err := openFS(ctx, fsys, Options{}); !errors.Is(err, syscall.EACCES) || fsys.InUse() > 0 {
		t.Errorf("error %v, %d in use", err, fsys.InUse())
	}
}

package packed

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"castar/store"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
)

// TestTolerate opens stores of which something is damaged or lost, as they are only opened when asked to.
func TestTolerate(t *testing.T) {
	ctx := context.Background()
	for _, name := range []string{sealed.ConfigName, index.Dir, pack.TempDir} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			st := open(t, dir, Options{Create: true})
			if _, err := st.Blobs.Put(ctx, []byte("blob")); err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(st.Sync(ctx), st.Close()); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
			if st, err := Open(ctx, dir, Options{}); err == nil {
				st.Close()
				t.Error("opened without being asked to")
			}
			for _, readOnly := range []bool{true, false} {
				st, err := Open(ctx, dir, Options{Tolerate: true, ReadOnly: readOnly})
				if err != nil {
					t.Fatal(err)
				}
				has, err := st.Blobs.Has(ctx, store.Sum([]byte("blob")))
				if err != nil || has != (name != index.Dir) {
					t.Errorf("has %v, %v", has, err)
				}
				st.Close()
			}
		})
	}
	for name, replace := range map[string]func(path string) error{
		"missing": func(string) error { return nil },
		"a file":  func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link":  func(path string) error { return os.Symlink(t.TempDir(), path) },
	} {
		t.Run("packs "+name, func(t *testing.T) {
			dir := t.TempDir()
			open(t, dir, Options{Create: true}).Close()
			path := filepath.Join(dir, pack.Dir)
			if err := errors.Join(os.Remove(path), replace(path)); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(ctx, dir, Options{}); err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v", err)
			}
			open(t, dir, Options{Tolerate: true})
		})
	}
	t.Run("index", func(t *testing.T) {
		dir := t.TempDir()
		open(t, dir, Options{Create: true}).Close()
		if err := os.WriteFile(filepath.Join(dir, index.Dir, "x"+index.Ext), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
		var corrupt *store.CorruptError
		if _, err := Open(ctx, dir, Options{}); !errors.As(err, &corrupt) {
			t.Errorf("got %v", err)
		}
		open(t, dir, Options{Tolerate: true})
	})
	t.Run("no store", func(t *testing.T) {
		if _, err := Open(ctx, t.TempDir(), Options{Tolerate: true, Create: true}); !errors.Is(err, store.ErrNoStore) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("newer format", func(t *testing.T) {
		dir := t.TempDir()
		open(t, dir, Options{Create: true}).Close()
		if err := os.WriteFile(filepath.Join(dir, sealed.ConfigName), record.OneLine.Wrap([]byte(`{"version":99}`)), 0o600); err != nil {
			t.Fatal(err)
		}
		var corrupt *store.CorruptError
		if _, err := Open(ctx, dir, Options{Tolerate: true}); !errors.Is(err, pack.ErrFormat) || errors.As(err, &corrupt) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no format", func(t *testing.T) {
		dir := t.TempDir()
		open(t, dir, Options{Create: true}).Close()
		if err := os.WriteFile(filepath.Join(dir, sealed.ConfigName), record.OneLine.Wrap([]byte(`{"name":"of a tag"}`)), 0o600); err != nil {
			t.Fatal(err)
		}
		var corrupt *store.CorruptError
		if _, err := Open(ctx, dir, Options{}); !errors.As(err, &corrupt) {
			t.Errorf("got %v", err)
		}
		open(t, dir, Options{Tolerate: true})
	})
}

// An index that could not be opened is damage, also where nothing is wrong with it any more when the scrub comes to it.
func TestTolerateTransient(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.ReadDir, crashfs.Open} {
		for _, exclusive := range []bool{false, true} {
			for faults := 1; faults <= 3; faults++ {
				s := newSampler()
				r, err := s.run(crashfs.New(), asIs, newLedger())
				if err != nil {
					t.Fatal(err)
				}
				var n atomic.Int32
				r.fsys.Inject(func(op crashfs.Op) error {
					if op.Kind == kind && (op.Name == index.Dir || strings.HasPrefix(op.Name, index.Dir+"/")) && int(n.Add(1)) <= faults {
						return syscall.EIO
					}
					return nil
				})
				st, err := openFS(t.Context(), r.fsys, Options{Tolerate: true, ReadOnly: true, Exclusive: exclusive})
				if err != nil {
					t.Fatal(err)
				}
				damage := 0
				result, err := care.New(st).Scrub(t.Context(), store.ScrubOptions{}, func(d store.Damage) {
					if !d.Harmless {
						damage++
					}
				})
				if err != nil || damage == 0 && result.Objects < 18 {
					t.Errorf("%v, exclusive %v, %d faults: %d objects, no damage, %v", kind, exclusive, faults, result.Objects, err)
				}
				if err := st.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

package packed

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// newerPack is a pack of a format that is yet to come.
func newerPack() []byte {
	b := append([]byte("castarpk"), 2, 0, 0, 0, 0, 0, 0, 0)
	return append(b, "what nobody knows yet, but for those who wrote it"...)
}

// newerIndex is that of an index.
func newerIndex(x []byte) []byte {
	foot := x[len(x)-index.FootLen:]
	foot[8] = 2
	binary.LittleEndian.PutUint32(foot[index.FootLen-4:], pack.Checksum(foot[:index.FootLen-4]))
	return x
}

// A file of a newer program is neither removed nor written anew.
func TestNewer(t *testing.T) {
	s := newSampler()
	r, err := s.run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	pk := pack.Dir + "/0123456789abcdef" + pack.Ext
	idx := named(r.fsys, index.Dir)[0]
	addPack := func(fsys *crashfs.FS) error { return durable.WriteFile(fsys, pack.TempPath("newer"), pk, newerPack()) }
	t.Run("sweep", func(t *testing.T) {
		fsys := r.fsys.Clone()
		if err := addPack(fsys); err != nil {
			t.Fatal(err)
		}
		if _, err := s.sweep(fsys, asIs, store.SweepOptions{}); err != nil || !bytes.Equal(fsys.Files()[pk], newerPack()) {
			t.Errorf("%q, %v", fsys.Files()[pk], err)
		}
	})
	for name, hurt := range map[string]func(fsys *crashfs.FS) error{
		"pack": addPack,
		"pack, config damaged": func(fsys *crashfs.FS) error {
			return errors.Join(addPack(fsys), overwrite(fsys, sealed.ConfigName, func(b []byte) []byte { return b[1:] }))
		},
		"pack, heads damaged": func(fsys *crashfs.FS) error { return errors.Join(addPack(fsys), hurts["heads damaged"](fsys)) },
		"index":               func(fsys *crashfs.FS) error { return overwrite(fsys, idx, newerIndex) },
	} {
		t.Run("repair/"+name, func(t *testing.T) {
			fsys := r.fsys.Clone()
			if err := hurt(fsys); err != nil {
				t.Fatal(err)
			}
			before := fsys.Files()
			if _, err := s.repair(fsys, store.RepairOptions{}); !errors.Is(err, pack.ErrFormat) || store.IsCorrupt(err) {
				t.Errorf("got %v", err)
			}
			if !maps.EqualFunc(before, fsys.Files(), bytes.Equal) {
				t.Error("files were changed")
			}
		})
	}
	t.Run("damaged", func(t *testing.T) {
		fsys := r.fsys.Clone()
		for _, name := range named(fsys, pack.Dir) {
			if err := overwrite(fsys, name, func(b []byte) []byte { b[8] = 2; return b }); err != nil {
				t.Fatal(err)
			}
		}
		if err := hurts["index lost"](fsys); err != nil {
			t.Fatal(err)
		}
		if err := newCrasher(asIs, 1, 0).mended(fsys, r.final()); err != nil {
			t.Error(err)
		}
	})
}

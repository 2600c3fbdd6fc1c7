package packed

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
	"castar/store/storetest"
)

// repair opens a store, however damaged, and mends it.
func (s *sampler) repair(fsys *crashfs.FS, o store.RepairOptions) (r store.RepairResult, err error) {
	ctx := context.Background()
	st, err := openFS(ctx, fsys, Options{Exclusive: true, Tolerate: true})
	if err != nil {
		return r, err
	}
	defer func() { err = cmp.Or(err, st.Close()) }()
	st.Cutter, st.Packs.Coders = s.cutter, s.coders
	st.Writers = chunk.NewPool(st.Cutter, st.Slots)
	return care.New(st).Repair(ctx, o)
}

// named returns the files in a folder.
func named(fsys *crashfs.FS, dir string) (names []string) {
	for name := range fsys.Files() {
		if strings.HasPrefix(name, dir+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// hurts are kinds of damage after which everything can still be had.
var hurts = map[string]func(fsys *crashfs.FS) error{
	"no damage": func(*crashfs.FS) error { return nil },
	"index lost": func(fsys *crashfs.FS) error {
		for _, name := range named(fsys, index.Dir) {
			if err := fsys.Remove(name); err != nil {
				return err
			}
		}
		return fsys.SyncDir(index.Dir)
	},
	"folders lost": func(fsys *crashfs.FS) error {
		for _, name := range append(named(fsys, index.Dir), index.Dir, pack.TempDir) {
			if err := fsys.Remove(name); err != nil {
				return err
			}
		}
		return fsys.SyncDir(".")
	},
	"index damaged": func(fsys *crashfs.FS) error {
		return overwrite(fsys, named(fsys, index.Dir)[0], func(b []byte) []byte { return b[:len(b)-1] })
	},
	"folder among the indexes": func(fsys *crashfs.FS) error {
		return cmp.Or(fsys.Mkdir(index.Dir+"/folder"+index.Ext), fsys.SyncDir(index.Dir))
	},
	"packs extended": func(fsys *crashfs.FS) error {
		for _, name := range named(fsys, pack.Dir) {
			if err := overwrite(fsys, name, func(b []byte) []byte { return append(b, "more"...) }); err != nil {
				return err
			}
		}
		return nil
	},
	"heads damaged": func(fsys *crashfs.FS) error {
		for _, name := range named(fsys, pack.Dir) {
			if err := overwrite(fsys, name, func(b []byte) []byte { b[pack.PackHeadLen+20] ^= 1; return b }); err != nil {
				return err
			}
		}
		return nil
	},
	// The lists of chunks are whole, and so are their frames, but what they need is found last.
	"heads of contents damaged": func(fsys *crashfs.FS) error {
		for _, name := range named(fsys, pack.Dir) {
			damage := func(b []byte) []byte { b[pack.PackHeadLen+20] ^= 1; return b }
			if r, err := pack.ParsePackHead(fsys.Files()[name]); err != nil || r != pack.RoleData {
				continue
			}
			if err := overwrite(fsys, name, damage); err != nil {
				return err
			}
		}
		return nil
	},
	// A verify found damage that was not, such as of a cable, and nobody has looked again.
	"whole packs in quarantine": func(fsys *crashfs.FS) error {
		q := &sealed.Quarantine{Packs: map[pack.ID]bool{}}
		for _, name := range named(fsys, pack.Dir) {
			id, _ := pack.ParseName(path.Base(name))
			q.Packs[id] = true
		}
		return sealed.WriteQuarantine(fsys, q, nil)
	},
	"file where tags should be": func(fsys *crashfs.FS) error {
		if err := logTags(fsys); err != nil {
			return err
		}
		for _, name := range append(named(fsys, sealed.TagsDir), sealed.TagsDir) {
			if err := fsys.Remove(name); err != nil {
				return err
			}
		}
		return durable.WriteFile(fsys, pack.TempPath("tags"), sealed.TagsDir, nil)
	},
	"tag damaged": func(fsys *crashfs.FS) error {
		return cmp.Or(logTags(fsys), overwrite(fsys, sealed.TagPath("moved"), func(b []byte) []byte { return b[1:] }))
	},
	"config lost": func(fsys *crashfs.FS) error {
		return cmp.Or(fsys.Remove(sealed.ConfigName), fsys.SyncDir("."))
	},
}

// logTags enters the tags that there are in the log.
func logTags(fsys *crashfs.FS) error {
	return overwrite(fsys, sealed.LogName, func(log []byte) []byte {
		for _, name := range []string{"early2", "moved"} {
			_, tag := sampleTag(2, name)
			line, _ := record.EncodeTag(record.OneLine, tag)
			log = append(log, line...)
		}
		return log
	})
}

// overwrite changes a file behind the store's back, durably.
func overwrite(fsys *crashfs.FS, name string, change func(b []byte) []byte) error {
	b := change(slices.Clone(fsys.Files()[name]))
	return durable.WriteFile(fsys, pack.TempPath("overwrite"), name, b)
}

// TestRepairCrash stops the machine after each operation of a repair. The next repair finishes it, and nothing is lost that
// could be had before.
func TestRepairCrash(t *testing.T) {
	for name, hurt := range hurts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSampler()
			r, err := s.run(crashfs.New(), asIs, newLedger())
			if err != nil {
				t.Fatal(err)
			}
			l, fsys := r.final(), r.fsys
			if name == "config lost" {
				l.id = ""
			}
			l.mayLoseTags = name == "file where tags should be"
			if err := hurt(fsys); err != nil {
				t.Fatal(err)
			}
			before := fsys.Len()
			if _, err := s.repair(fsys, store.RepairOptions{}); err != nil {
				t.Fatal(err)
			}
			c := newCrasher(asIs, crashStates(60), 0)
			for k := before; k <= fsys.Len(); k++ {
				if k == fsys.Len() {
					l.at = k // more is promised of the same state
				}
				for state := range fsys.States(k, c.limit, uint64(k)) {
					if !c.fresh(state, l) {
						continue
					}
					c.tried++
					if err := c.verify(state, l); err != nil && k == fsys.Len() {
						t.Fatalf("crash after the repair: %v", err)
					}
					if err := c.mended(state, l); err != nil {
						t.Fatalf("crash after %s: %v", upTo(fsys, k), err)
					}
				}
			}
			t.Logf("%d operations, %d states", fsys.Len()-before, c.tried)
		})
	}
}

// mended repairs a store and reports what of l it lacks then, or what a second repair still finds.
func (c *crasher) mended(s *crashfs.FS, l ledger) error {
	result, err := c.repair(s, store.RepairOptions{})
	if err != nil {
		return err
	}
	if result.Lost > 0 {
		return fmt.Errorf("%d objects are lost", result.Lost)
	}
	if err := c.verify(s, l); err != nil {
		return err
	}
	if left := named(s, pack.TempDir); len(left) > 0 {
		return fmt.Errorf("left %q", left)
	}
	_, err = c.repair(s, store.RepairOptions{Did: func(where, what string) { err = fmt.Errorf("again: %s: %s", where, what) }})
	return err
}

// A fault in a repair is its error, and damages nothing.
func TestRepairFaults(t *testing.T) {
	for _, name := range []string{"packs extended", "index lost", "heads damaged"} {
		s := newSampler()
		r, err := s.run(crashfs.New(), asIs, newLedger())
		if err != nil {
			t.Fatal(err)
		}
		if err := hurts[name](r.fsys); err != nil {
			t.Fatal(err)
		}
		c := newCrasher(asIs, 1, 0)
		for fault := 0; ; fault += storetest.Sample(1, 13) {
			fsys := r.fsys.Clone()
			var n atomic.Int64
			fsys.Inject(func(op crashfs.Op) error {
				if n.Add(1)-1 != int64(fault) {
					return nil
				}
				return syscall.ENOSPC
			})
			_, err := s.repair(fsys, store.RepairOptions{})
			fsys.Inject(nil)
			if used := fsys.InUse(); used != 0 && err == nil {
				t.Errorf("%s, fault %d: %d in use", name, fault, used)
			}
			if n.Load() <= int64(fault) {
				break
			}
			if err := c.mended(fsys, r.final()); err != nil {
				t.Errorf("%s, fault %d: %v", name, fault, err)
			}
		}
	}
}

// What the disk did not give to a repair is found by the next one, when it does.
func TestRepairUnread(t *testing.T) {
	hurts := maps.Clone(hurts)
	hurts["heads of contents damaged, lists to be moved"] = func(fsys *crashfs.FS) error {
		if err := hurts["heads of contents damaged"](fsys); err != nil {
			return err
		}
		for _, name := range named(fsys, pack.Dir) {
			if role, _ := pack.ParsePackHead(fsys.Files()[name]); role != pack.RoleMeta {
				continue
			}
			if err := overwrite(fsys, name, func(b []byte) []byte { return append(b, "more"...) }); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range []string{
		"no damage", "heads damaged", "heads of contents damaged", "heads of contents damaged, lists to be moved",
	} {
		s := newSampler()
		r, err := s.run(crashfs.New(), asIs, newLedger())
		if err != nil {
			t.Fatal(err)
		}
		if err := hurts[name](r.fsys); err != nil {
			t.Fatal(err)
		}
		c := newCrasher(asIs, 1, 0)
		for fault, more := 0, true; more; fault += storetest.Sample(1, 9) {
			fsys := r.fsys.Clone()
			n := 0
			var mu sync.Mutex
			fsys.Inject(func(op crashfs.Op) error {
				if op.Kind != crashfs.Read || !strings.HasPrefix(op.Name, pack.Dir+"/") {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				n++
				if n-1 < fault || n-1 > fault+5 { // more than one look at a place
					return nil
				}
				return syscall.EIO
			})
			_, rerr := s.repair(fsys, store.RepairOptions{}) // it may fail, or not have found all
			fsys.Inject(nil)
			more = n > fault
			if rerr == nil {
				if err := s.stored(fsys.Clone(), r.fsys, c); err != nil {
					t.Errorf("%s, fault %d, ingest again: %v", name, fault, err)
				}
			}
			if err := c.mended(fsys, r.final()); err != nil {
				t.Errorf("%s, fault %d: %v", name, fault, err)
			}
		}
	}
}

// stored ingests again where the frames without a head, in the packs that a repair left, are lost after all.
func (s *sampler) stored(fsys, before *crashfs.FS, c *crasher) error {
	for _, name := range named(before, pack.Dir) {
		if fsys.Files()[name] == nil {
			continue
		}
		if err := overwrite(fsys, name, func(b []byte) []byte {
			head := b[pack.PackHeadLen:]
			if _, _, err := pack.ParseFrameHead(head); err == nil {
				return b
			}
			le := binary.LittleEndian
			clear(head[:le.Uint32(head[12:])+le.Uint32(head[16:])])
			return b
		}); err != nil {
			return err
		}
	}
	again, err := s.run(fsys, asIs, newLedger())
	if err != nil {
		return err
	}
	return c.verify(again.fsys, again.final())
}

// What a scrub calls damage a repair mends, also where all objects are whole.
func TestRepairPadding(t *testing.T) {
	dir := t.TempDir()
	blobs := scrubSample(t, dir)
	packs, err := filepath.Glob(filepath.Join(dir, pack.Dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range packs {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, blobs[0]); i >= 0 {
			data[i-1] = 1
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	st := open(t, dir, Options{Exclusive: true, Tolerate: true})
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 1 || s.damage[0].What != store.DamageFrame {
		t.Fatalf("%+v", s)
	}
	if _, err := st.Repairer.Repair(t.Context(), store.RepairOptions{}); err != nil {
		t.Fatal(err)
	}
	if s := scrub(t, st, store.ScrubOptions{}); len(s.damage) != 0 || s.Objects == 0 {
		t.Errorf("after a repair: %+v", s)
	}
}

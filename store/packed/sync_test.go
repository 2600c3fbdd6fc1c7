package packed

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/care"
	"castar/store/storetest"
)

// TestRepairNeedsEverySync deletes one call of fsync from a repair: of the promises of a repair that is done, one is
// broken.
func TestRepairNeedsEverySync(t *testing.T) {
	storetest.NotUnderRace(t)
	type hurtRun struct {
		fsys *crashfs.FS
		l    ledger
	}
	hurtRuns := map[string]hurtRun{}
	var all omitter
	for name, hurt := range hurts {
		s := newSampler()
		r, err := s.run(crashfs.New(), asIs, newLedger())
		if err != nil {
			t.Fatal(err)
		}
		if err := hurt(r.fsys); err != nil {
			t.Fatal(err)
		}
		l := r.final()
		if name == "config lost" {
			l.id = ""
		}
		hurtRuns[name] = hurtRun{r.fsys, l}
		if _, err := repairFS(s, all.wrap(r.fsys.Clone())); err != nil {
			t.Fatal(err)
		}
	}
	for _, site := range []string{
		"live.(*Store).WriteIndexFile syncs index",            // TestSweepNeedsEverySync has it
		"sealed.WriteConfig syncs .", "live.Tags.Set syncs .", // and TestCrashNeedsEverySync these
		"care.(*repair).setAside syncs index", "care.(*repair).setAside syncs .", // what takes the place syncs them again
	} {
		delete(all.sites, site)
	}
	for _, site := range slices.Sorted(maps.Keys(all.sites)) {
		t.Run(site, func(t *testing.T) {
			t.Parallel()
			without := omitter{omit: site}
			c := newCrasher(asIs, 60, 0)
			for name, h := range hurtRuns {
				fsys := h.fsys.Clone()
				if _, err := repairFS(c.sampler, without.wrap(fsys)); err != nil {
					t.Fatal(err)
				}
				for k := h.fsys.Len(); k <= fsys.Len(); k++ {
					if k == fsys.Len() {
						h.l.at = k
					}
					for state := range fsys.States(k, c.limit, uint64(k)) {
						if !c.fresh(state, h.l) {
							continue
						}
						if k == fsys.Len() {
							if err := c.verify(state, h.l); err != nil {
								t.Logf("%s: after: %v", name, err)
								return
							}
						}
						if err := c.mended(state, h.l); err != nil {
							t.Logf("%s: %s: %v", name, upTo(fsys, k), err)
							return
						}
					}
				}
			}
			t.Error("no state is wrong")
		})
	}
}

func repairFS(s *sampler, fsys durable.FS) (r store.RepairResult, err error) {
	st, err := openFS(context.Background(), fsys, Options{Exclusive: true, Tolerate: true})
	if err != nil {
		return r, err
	}
	defer func() { err = cmp.Or(err, st.Close()) }()
	st.Cutter, st.Packs.Coders = s.cutter, s.coders
	st.Writers = chunk.NewPool(st.Cutter, st.Slots)
	return care.New(st).Repair(context.Background(), store.RepairOptions{})
}

// spoilingFS is a disk that turns a bit of every index.
type spoilingFS struct{ durable.FS }

func (f spoilingFS) Create(name string) (durable.File, error) {
	file, err := f.FS.Create(name)
	if err == nil && strings.HasSuffix(name, index.Ext) {
		file = spoilingFile{file}
	}
	return file, err
}

type spoilingFile struct{ durable.File }

func (f spoilingFile) Write(p []byte) (int, error) {
	b := slices.Clone(p)
	b[len(b)/2] ^= 1
	return f.File.Write(b)
}

// An index that a sweep wrote and finds damaged is removed for good: it would make void those that are whole.
func TestSweepDamagedIndex(t *testing.T) {
	verify := func(wrap wrapper) error {
		s := newSampler()
		r, err := s.run(crashfs.New(), asIs, newLedger())
		if err != nil {
			t.Fatal(err)
		}
		spoil := func(fsys durable.FS) durable.FS { return spoilingFS{wrap(fsys)} }
		if _, err := s.sweep(r.fsys, spoil, store.SweepOptions{}); err == nil {
			t.Fatal("the index was not looked at")
		}
		c := newCrasher(asIs, 60, 0)
		for state := range r.fsys.States(r.fsys.Len(), c.limit, 1) {
			if err := c.verify(state, r.final()); err != nil {
				return err
			}
		}
		return nil
	}
	if err := verify(asIs); err != nil {
		t.Error(err)
	}
	without := omitter{omit: "live.(*Store).NewIndex syncs index"}
	if err := verify(without.wrap); err == nil {
		t.Error("no state is wrong without the sync")
	}
}

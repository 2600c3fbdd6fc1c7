package packed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// fullDisk is a disk on which indexes do not fit until packs were removed, as many as it says.
type fullDisk struct {
	durable.FS
	packs int
	free  int64
}

func full(packs int) wrapper {
	return func(fsys durable.FS) durable.FS { return &fullDisk{FS: fsys, packs: packs, free: 17} }
}

func (f *fullDisk) Free() (int64, error) { return f.free, nil }

func (f *fullDisk) Create(name string) (durable.File, error) {
	if f.packs > 0 && strings.HasSuffix(name, index.Ext) {
		return nil, fmt.Errorf("%s: %w", name, syscall.EDQUOT)
	}
	return f.FS.Create(name)
}

func (f *fullDisk) Remove(name string) error {
	err := f.FS.Remove(name)
	if err == nil && strings.HasPrefix(name, pack.Dir+"/") {
		f.packs--
	}
	return err
}

// TestSweepFullCrash stops the machine, and kills the process, after each operation of a sweep that has no room for an
// index until it has removed a pack.
func TestSweepFullCrash(t *testing.T) {
	fsys, l, before := swept(t, full(1))
	if err := checkSwept(fsys); err != nil {
		t.Error(err)
	}
	marked := false
	for _, op := range fsys.Ops()[before:] {
		marked = marked || op.Kind == crashfs.Rename && strings.HasPrefix(op.To, sealed.QuarantineDir+"/")
	}
	if !marked {
		t.Error("nothing was set apart")
	}
	if q, _, _, err := sealed.ReadQuarantine(fsys); q != nil || err != nil {
		t.Errorf("left in the quarantine: %+v, %v", q, err)
	}
	c := newCrasher(asIs, crashStates(60), 10)
	if err := c.sweepCrashes(fsys, l, before); err != nil {
		t.Error(err)
	}
	c.limit = statesAfterKill()
	if err := c.sweepKills(fsys, l, before, func(crashfs.Op) bool { return true }); err != nil {
		t.Error(err)
	}
	for k := before; k <= fsys.Len(); k++ {
		if err := scrubsClean(t.Context(), c.sampler, fsys.Kill(k)); err != nil {
			t.Errorf("killed after %s: %v", upTo(fsys, k), err)
		}
	}
}

// scrubsClean reports damage that a scrub finds. What an interrupted sweep was removing is none.
func scrubsClean(ctx context.Context, s *sampler, fsys *crashfs.FS) error {
	st, err := s.open(ctx, fsys, false)
	if err != nil {
		return err
	}
	_, serr := care.New(st).Scrub(ctx, store.ScrubOptions{}, func(d store.Damage) {
		if !d.Harmless {
			err = errors.Join(err, fmt.Errorf("%s %s: %w", d.What, d.Where, d.Err))
		}
	})
	return errors.Join(err, serr, st.Close())
}

// Where nothing fits, the error says what would, nothing is lost, and a sweep that has room goes on.
func TestSweepNoRoom(t *testing.T) {
	s := newSampler()
	r, err := s.run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.sweep(r.fsys, full(1000), store.SweepOptions{})
	if err == nil || !errors.Is(err, syscall.EDQUOT) || !strings.Contains(err.Error(), "for a while; 17 B is free") {
		t.Fatalf("a sweep without room: %v", err)
	}
	l := r.final().reachable()
	c := newCrasher(asIs, 1, 0)
	if err := c.verify(r.fsys, l); err != nil {
		t.Error(err)
	}
	if err := c.resweep(r.fsys, l); err != nil {
		t.Error(err)
	}
}

// An index in which nothing is alive goes without one that replaces it.
func TestSweepLoneIndex(t *testing.T) {
	s, fsys, ctx := newSampler(), crashfs.New(), t.Context()
	put := func(n int) (digests []store.Digest) {
		st, err := s.open(ctx, fsys, true)
		for i := 0; err == nil && i < n; i++ {
			var d store.Digest
			d, err = st.Blobs().Put(ctx, bytes.Repeat(fmt.Append(nil, n, i), 9))
			digests = append(digests, d)
		}
		if err = errors.Join(err, st.Sync(ctx), st.Close()); err != nil {
			t.Fatal(err)
		}
		return digests
	}
	kept, dead := put(40), put(2)
	before := fsys.Len()
	st, err := openFS(ctx, full(1)(fsys), Options{Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	keep := st.NewSet()
	for _, d := range kept {
		if _, err := keep.Add(store.KindFile, d); err != nil {
			t.Fatal(err)
		}
	}
	_, err = care.New(st).Sweep(ctx, keep, store.SweepOptions{})
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	for _, op := range fsys.Ops()[before:] {
		if strings.HasPrefix(op.Name, sealed.QuarantineDir+"/") || strings.HasPrefix(op.To, sealed.QuarantineDir+"/") {
			t.Errorf("%v, which takes room", op)
		}
	}
	for k := before; k <= fsys.Len(); k++ {
		for state := range fsys.States(k, 40, 1) {
			st, err := s.open(ctx, state, false)
			if err != nil {
				t.Fatalf("crash after %s: %v", upTo(fsys, k), err)
			}
			for _, d := range kept {
				if _, err := readBlob(ctx, st, d); err != nil {
					t.Errorf("crash after %s: %v", upTo(fsys, k), err)
				}
			}
			for _, d := range dead {
				if st.Has(pack.KindData, &d) {
					if _, err := readBlob(ctx, st, d); err != nil {
						t.Errorf("crash after %s: it has what it cannot read: %v", upTo(fsys, k), err)
					}
				}
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestLastEpoch repairs a store whose indexes claim the last epoch there can be. A sweep refuses it.
func TestLastEpoch(t *testing.T) {
	s := newSampler()
	r, err := s.run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.open(t.Context(), r.fsys, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.WriteIndexFile(index.LastEpoch, []index.Part{(*st.Indexes.Load())[0].Part()}); err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	c := newCrasher(asIs, crashStates(40), 0)
	if err := c.verify(r.fsys, r.final()); err != nil {
		t.Fatal(err)
	}
	if err := scrubsClean(t.Context(), s, r.fsys.Clone()); err == nil {
		t.Error("a scrub finds nothing")
	}
	if _, err := s.sweep(r.fsys.Clone(), asIs, store.SweepOptions{}); err == nil {
		t.Error("a sweep does not refuse")
	}
	before := r.fsys.Len()
	if _, err := s.repair(r.fsys, store.RepairOptions{}); err != nil {
		t.Fatal(err)
	}
	for k := before; k <= r.fsys.Len(); k++ {
		for state := range r.fsys.States(k, c.limit, uint64(k)) {
			if err := c.verify(state, r.final()); err != nil {
				t.Fatalf("crash after %s: %v", upTo(r.fsys, k), err)
			}
		}
	}
	if err := scrubsClean(t.Context(), s, r.fsys.Clone()); err != nil {
		t.Error(err)
	}
	if _, err := s.sweep(r.fsys, asIs, store.SweepOptions{}); err != nil {
		t.Error(err)
	}
}

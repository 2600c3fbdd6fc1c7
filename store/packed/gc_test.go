package packed

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
	"castar/store/storetest"
)

// sweep runs a sweep on fsys, as wrap shows it, that keeps what the tags reach.
func (s *sampler) sweep(fsys *crashfs.FS, wrap wrapper, o store.SweepOptions) (r store.SweepResult, err error) {
	ctx := context.Background()
	st, err := openFS(ctx, wrap(fsys), Options{Exclusive: true})
	if err != nil {
		return r, err
	}
	defer func() { err = cmp.Or(err, st.Close()) }()
	st.Cutter, st.Packs.Coders = s.cutter, s.coders
	st.Writers = chunk.NewPool(st.Cutter, st.Slots)
	keep := st.NewSet()
	for tag, err := range st.Tags().All(ctx) {
		if err == nil {
			err = markSample(ctx, st, keep, tag.Root.Digest)
		}
		if err != nil {
			return r, err
		}
	}
	return care.New(st).Sweep(ctx, keep, o)
}

// markSample adds a directory of the sample ingest to keep, and what it refers to.
func markSample(ctx context.Context, st *live.Store, keep store.ObjectSet, d store.Digest) error {
	dir, err := st.Directories().Get(ctx, d)
	if err == nil {
		_, err = keep.Add(store.KindDirectory, d)
	}
	for i := 0; err == nil && i < len(dir); i++ {
		if _, err = keep.Add(store.KindFile, dir[i].Digest); err != nil {
			return err
		}
		var chunks []store.Chunk
		chunks, err = st.Blobs().Chunks(ctx, dir[i].Digest)
		for _, c := range chunks {
			if _, err := keep.Add(store.KindFile, c.Digest); err != nil {
				return err
			}
		}
	}
	return err
}

// reachable returns what of l its tags reach.
func (l ledger) reachable() ledger {
	kept := l.clone()
	clear(kept.blobs)
	clear(kept.dirs)
	for _, may := range l.tags {
		for _, tag := range may {
			dir := l.dirs[tag.Root.Digest]
			if dir != nil {
				kept.dirs[tag.Root.Digest] = dir
			}
			for i := range dir {
				kept.blobs[dir[i].Digest] = l.blobs[dir[i].Digest]
			}
		}
	}
	return kept
}

// swept returns a file system with the sample ingest on which a sweep was run, with what then is promised, and how
// many operations the ingest was.
func swept(t *testing.T, wrap wrapper) (fsys *crashfs.FS, promised ledger, before int) {
	t.Helper()
	s := newSampler()
	r, err := s.run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	before = r.fsys.Len()
	result, err := s.sweep(r.fsys, wrap, store.SweepOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if result.FreedObjects == 0 || result.FreedPacks < 2 || result.Rewritten == 0 {
		t.Fatalf("the sample does not exercise the sweep: %+v", result)
	}
	promised = r.final().reachable()
	promised.at = 0
	return r.fsys, promised, before
}

// sweepCrashes stops the machine after each operation of a sweep. What is left must have all that tags reach; ingest
// again must work, and so must the next sweep.
func (c *crasher) sweepCrashes(fsys *crashfs.FS, l ledger, before int) error {
	for k := before; k <= fsys.Len(); k++ {
		for s := range fsys.States(k, c.limit, uint64(k)) {
			c.states++
			if !c.fresh(s, l) {
				continue
			}
			c.tried++
			if err := c.resweep(s.Clone(), l); err != nil {
				return fmt.Errorf("crash after %s: sweep again: %w", upTo(fsys, k), err)
			}
			if err := c.recover(s, l); err != nil {
				return fmt.Errorf("crash after %s: %w", upTo(fsys, k), err)
			}
		}
	}
	return nil
}

// sweepKills ends the sweeping process after each operation for which when says so, and has the next one sweep, or ingest. What is promised
// then must outlive a crash.
func (c *crasher) sweepKills(fsys *crashfs.FS, l ledger, before int, when func(crashfs.Op) bool) error {
	for k := before; k <= fsys.Len(); k++ {
		if (k-before)%killStep() != 0 || !when(fsys.Ops()[k-1]) {
			continue
		}
		again := fsys.Kill(k)
		if _, err := c.sweep(again, c.wrap, store.SweepOptions{}); err != nil {
			return fmt.Errorf("killed after %s: sweep again: %w", upTo(fsys, k), err)
		}
		for at := k; at <= again.Len(); at++ {
			for s := range again.States(at, c.limit, uint64(k)) {
				c.tried++
				if err := c.verify(s, l); err != nil {
					return fmt.Errorf("killed after %s, crash after %s: %w", upTo(fsys, k), upTo(again, at), err)
				}
			}
		}
		r, err := c.run(fsys.Kill(k), c.wrap, l)
		if err != nil {
			return fmt.Errorf("killed after %s: ingest again: %w", upTo(fsys, k), err)
		}
		for _, l := range r.promised[1:] {
			for s := range r.fsys.States(l.at, c.limit, uint64(k)) {
				c.tried++
				if err := c.verify(s, l); err != nil {
					return fmt.Errorf("killed after %s, crash after %s: %w", upTo(fsys, k), upTo(r.fsys, l.at), err)
				}
			}
		}
	}
	return nil
}

// resweep finishes what a crash interrupted, and checks that nothing is lost and nothing more than that is left.
func (c *crasher) resweep(s *crashfs.FS, l ledger) error {
	if err := c.verify(s, l); err != nil {
		return err
	}
	if _, err := c.sweep(s, c.wrap, store.SweepOptions{}); err != nil {
		return err
	}
	if err := c.verify(s, l); err != nil {
		return err
	}
	return checkSwept(s)
}

// checkSwept reports what a sweep left that it should not have.
func checkSwept(s *crashfs.FS) error {
	names := slices.Sorted(maps.Keys(s.Files()))
	count := func(dir string) (n int) {
		for _, name := range names {
			if strings.HasPrefix(name, dir+"/") {
				n++
			}
		}
		return n
	}
	if count(pack.Dir) != 3 || count(index.Dir) != 1 || count(pack.TempDir) != 0 {
		return fmt.Errorf("a sweep left %q", names)
	}
	return nil
}

func isRename(op crashfs.Op) bool { return op.Kind == crashfs.Rename }

func TestSweepCrash(t *testing.T) {
	fsys, l, before := swept(t, asIs)
	if err := checkSwept(fsys); err != nil {
		t.Error(err)
	}
	c := newCrasher(asIs, crashStates(200), 10)
	if err := c.sweepCrashes(fsys, l, before); err != nil {
		t.Error(err)
	}
	crashed := c.tried
	c.limit = statesAfterKill()
	if err := c.sweepKills(fsys, l, before, func(crashfs.Op) bool { return true }); err != nil {
		t.Error(err)
	}
	// Where the next sweep does not sync what a killed one renamed, few states are wrong: those in which the index that
	// was renamed is gone, and the ones that it replaced are as well.
	c.limit = crashStates(150)
	if err := c.sweepKills(fsys, l, before, isRename); err != nil {
		t.Error(err)
	}
	t.Logf("%d operations, %d states, %d opened and recovered; and %d after kills", fsys.Len()-before, c.states, crashed, c.tried-crashed)
	if c.states < crashStates(500) || crashed < crashStates(50) || c.tried < crashed+50*statesAfterKill()/killStep() {
		t.Error("too few states were tried")
	}
}

// A chunk list that an ingest finds again must still have its chunks: those may be in another index, and of several that
// a sweep removes, a crash may bring back any.
func TestSweepCrashBetweenIndexes(t *testing.T) {
	s, fsys, ctx := newSampler(), crashfs.New(), context.Background()
	first, second := random(1, 2500), append(random(1, 2500), random(2, 500)...)
	put := func(fsys *crashfs.FS, data ...[]byte) {
		t.Helper()
		st, err := s.open(ctx, fsys, true)
		for i := 0; err == nil && i < len(data); i++ {
			_, err = st.Blobs().Put(ctx, data[i])
		}
		if err = cmp.Or(err, st.Sync(ctx)); err == nil {
			got, rerr := readBlob(ctx, st, store.Sum(data[0]))
			if rerr != nil || !bytes.Equal(got, data[0]) {
				err = fmt.Errorf("%d bytes, want %d: %w", len(got), len(data[0]), cmp.Or(rerr, errDiffers))
			}
		}
		if err = cmp.Or(err, st.Close()); err != nil {
			t.Fatal(err)
		}
	}
	more := [][]byte{first}
	for i := range 60 {
		more = append(more, fmt.Append(nil, i))
	}
	put(fsys, more...)
	put(fsys, second)
	before := fsys.Len()
	if _, err := s.sweep(fsys, asIs, store.SweepOptions{}); err != nil {
		t.Fatal(err)
	}
	removed := 0
	for k := before; k <= fsys.Len(); k++ {
		if k > before && fsys.Ops()[k-1].Kind == crashfs.Remove && strings.HasPrefix(fsys.Ops()[k-1].Name, index.Dir) {
			removed++
		}
		for state := range fsys.States(k, crashStates(100), 0) {
			put(state, second)
		}
	}
	if removed != 2 {
		t.Errorf("%d indexes were removed, want 2", removed)
	}
}

// A sweep that is told to change nothing foresees what one does.
func TestSweepDryRun(t *testing.T) {
	s := newSampler()
	r, err := s.run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	before := r.fsys.Files()
	foreseen, err := s.sweep(r.fsys, asIs, store.SweepOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.EqualFunc(before, r.fsys.Files(), bytes.Equal) {
		t.Error("a dry run changed something")
	}
	result, err := s.sweep(r.fsys, asIs, store.SweepOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if foreseen.FreedObjects != result.FreedObjects || foreseen.FreedPacks != result.FreedPacks || foreseen.KeptObjects != result.KeptObjects {
		t.Errorf("foreseen %+v, done %+v", foreseen, result)
	}
}

// Without any one of its calls of fsync a sweep breaks a promise, and the test above notices.
func TestSweepNeedsEverySync(t *testing.T) {
	storetest.NotUnderRace(t)
	var all omitter
	fsys, _, before := swept(t, all.wrap)
	for k := before; k <= fsys.Len(); k++ { // a sweep that comes after a killed one has more to do
		if _, err := newSampler().sweep(fsys.Kill(k), all.wrap, store.SweepOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, site := range slices.Sorted(maps.Keys(all.sites)) {
		t.Run(site, func(t *testing.T) {
			t.Parallel()
			without := omitter{omit: site}
			fsys, l, before := swept(t, without.wrap)
			c := newCrasher(without.wrap, 60, 0)
			err := c.sweepCrashes(fsys, l, before)
			if err == nil {
				c.limit = 150
				err = c.sweepKills(fsys, l, before, isRename)
			}
			if err == nil {
				t.Errorf("no state is wrong of %d", c.states+c.tried)
			}
			t.Log(err)
		})
	}
}

// sweepable makes a store of many small packs on fsys, with blobs of all sizes, each also in dirs of its own.
func sweepable(t *testing.T, fsys *crashfs.FS, sessions int) map[store.Digest][]byte {
	t.Helper()
	blobsOf := map[store.Digest][]byte{}
	for n := range sessions {
		st := openSmall(t, fsys, false)
		for i := range 40 {
			data := random(byte(n), 1<<(i%16)+i)[i:]
			if i%3 == 0 {
				data = bytes.Repeat(fmt.Append(nil, n, i), i+1)
			}
			d, err := st.Blobs().Put(t.Context(), data)
			if err != nil {
				t.Fatal(err)
			}
			blobsOf[d] = data
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		closeStore(t, st)
	}
	return blobsOf
}

// openSmall opens a store that has small packs and keeps little in memory.
func openSmall(t *testing.T, fsys *crashfs.FS, alone bool) *live.Store {
	t.Helper()
	st, err := openFS(t.Context(), fsys, Options{Create: true, Exclusive: alone})
	if err != nil {
		t.Fatal(err)
	}
	st.Limits = live.Limits{Objects: 16, Bytes: 100 << 10, Pack: 64 << 10}
	return st
}

// TestSweepMany sweeps stores of many packs, of which a part of the objects is kept, and checks that just these are left,
// and that the space of the others is. Where every other pack is damaged, what is damaged stays, and is named.
func TestSweepMany(t *testing.T) {
	places := 0
	for name, keeps := range map[string]func(i int) bool{
		"all": func(int) bool { return true }, "none": func(int) bool { return false },
		"one in ten": func(i int) bool { return i%10 == 0 }, "half": func(i int) bool { return i%2 == 0 },
		"most": func(i int) bool { return i%10 > 0 }, "the last": func(i int) bool { return i > 200 },
	} {
		for _, damaged := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", damaged ", damaged), func(t *testing.T) {
				fsys := crashfs.New()
				data := sweepable(t, fsys, 10)
				if damaged {
					for i, pk := range named(fsys, pack.Dir) {
						if i%2 > 0 {
							continue
						}
						err := overwrite(fsys, pk, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
						if err != nil {
							t.Fatal(err)
						}
					}
				}
				st := openSmall(t, fsys, true)
				readable := map[store.Digest]bool{}
				keep, kept := st.NewSet(), map[store.Digest]bool{}
				for i, d := range slices.SortedFunc(maps.Keys(data), func(a, b store.Digest) int { return slices.Compare(a[:], b[:]) }) {
					got, err := readBlob(t.Context(), st, d)
					readable[d] = err == nil && bytes.Equal(got, data[d])
					if !keeps(i) {
						continue
					}
					kept[d] = true
					chunks, _ := st.Blobs().Chunks(t.Context(), d) // a list that is damaged has none
					for _, c := range append(chunks, store.Chunk{Digest: d}) {
						if _, err := keep.Add(store.KindFile, c.Digest); err != nil {
							t.Fatal(err)
						}
					}
				}
				named := 0
				r, err := care.New(st).Sweep(t.Context(), keep, store.SweepOptions{Damaged: func(error) { named++ }})
				if err != nil {
					t.Fatal(err)
				}
				for d := range data {
					got, err := readBlob(t.Context(), st, d)
					if ok := err == nil && bytes.Equal(got, data[d]); kept[d] && ok != readable[d] || !kept[d] && ok && r.KeptObjects == 0 {
						t.Errorf("kept %v, readable before %v, now %v", kept[d], readable[d], err)
					}
				}
				if named > 0 && !damaged {
					t.Errorf("%d places are damaged", named)
				}
				closeStore(t, st)
				if used := fsys.InUse(); used != 0 {
					t.Errorf("%d in use", used)
				}
				places += named
				checkSpace(t, fsys, r, damaged)
			})
		}
	}
	if places == 0 {
		t.Error("no damage was met")
	}
}

// checkSpace checks that a sweep left little that is dead, and that another finds nothing to do.
func checkSpace(t *testing.T, fsys *crashfs.FS, r store.SweepResult, damaged bool) {
	t.Helper()
	st := openSmall(t, fsys, true)
	defer closeStore(t, st)
	keep := st.NewSet()
	for d, err := range st.List(t.Context(), store.Digest{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		_, ferr := keep.Add(store.KindFile, d)
		_, derr := keep.Add(store.KindDirectory, d)
		if ferr != nil && derr != nil {
			t.Errorf("%s is listed, and not in the indexes", d)
		}
	}
	again, err := care.New(st).Sweep(t.Context(), keep, store.SweepOptions{DryRun: true})
	if err != nil {
		t.Fatal(err)
	}
	if again.KeptObjects != r.KeptObjects || again.FreedObjects != 0 {
		t.Errorf("%d objects are kept and %d are not, the sweep said %d", again.KeptObjects, again.FreedObjects, r.KeptObjects)
	}
	if !damaged && again.FreedBytes > again.KeptBytes/3 {
		t.Errorf("another sweep would free %d bytes and keep %d", again.FreedBytes, again.KeptBytes)
	}
}

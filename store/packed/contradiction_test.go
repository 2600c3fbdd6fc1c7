package packed

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
	"castar/store/storetest"
)

// A crafted store is a sound one of which one field of one record has another value, and every checksum is right again.
// This file makes them of each field and of many values, and checks what must hold of any store:
//
//   - whatever exports before a verify, a repair or a gc exports after it;
//   - a verify finds damage wherever something that a tag reaches does not export, and changes nothing of that;
//   - after a repair a verify finds no damage.

// change is another value of a field.
type change struct {
	field field
	to    []byte
}

// String says what is changed to what.
func (c change) String() string { return fmt.Sprintf("%v: %x", c.field, c.to) }

// apply makes the change in a store.
func (c change) apply(fsys *crashfs.FS) error {
	return overwrite(fsys, c.field.file, func(b []byte) []byte {
		copy(c.field.value(b), c.to)
		c.field.seal(b)
		return b
	})
}

// changesOf returns values that a field does not have: for a number little and much, its neighbours, and what the next
// field of the name has; and for a digest a bit less, nothing, and that of another.
func changesOf(fields []field, files map[string][]byte) (all []change) {
	last := map[string][]byte{} // by the name of the field
	for _, f := range fields {
		was := f.value(files[f.file])
		values := [][]byte{bytes.Repeat([]byte{0}, f.size), last[f.name]}
		if f.size == store.DigestSize {
			values = append(values, append(bytes.Clone(was[:f.size-1]), was[f.size-1]^1))
		} else {
			var wide [8]byte
			copy(wide[:], was)
			n := binary.LittleEndian.Uint64(wide[:])
			for _, v := range []uint64{n + 1, n - 1, 2 * n, n + pack.ItemLen, 1 << 30, math.MaxUint64} {
				values = append(values, binary.LittleEndian.AppendUint64(nil, v)[:f.size])
			}
		}
		last[f.name] = was
		seen := map[string]bool{string(was): true, "": true}
		for _, v := range values {
			if !seen[string(v)] {
				seen[string(v)] = true
				all = append(all, change{f, bytes.Clone(v)})
			}
		}
	}
	return all
}

// contradictory is a store to be changed, of two processes that stored some of the same at once.
func contradictory(t testing.TB, s *sampler) *crashfs.FS {
	t.Helper()
	ctx, fsys := t.Context(), crashfs.New()
	var stores []*live.Store
	for range 2 {
		st, err := s.open(ctx, fsys, true)
		if err != nil {
			t.Fatal(err)
		}
		stores = append(stores, st)
	}
	for n, st := range stores {
		l := newLedger()
		for i := range 40 * (1 - n) { // an index that the other is not merged with
			if _, err := st.Blobs().Put(ctx, fmt.Appendf(nil, "filler %d", i)); err != nil {
				t.Fatal(err)
			}
		}
		for session := range 2 - n {
			if err := sampleStore(ctx, st, session+1, &l); err != nil {
				t.Fatal(err)
			}
			_, tag := sampleTag(session+1, fmt.Sprintf("tag%d", session+1))
			if err := st.Tags().Set(ctx, tag); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, st := range stores {
		if err := cmp.Or(st.Sync(ctx), st.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

// exports returns the tags of which everything can be read.
func (s *sampler) exports(ctx context.Context, fsys *crashfs.FS) (all map[string]bool, tagged int, err error) {
	all = map[string]bool{}
	st, err := openFS(ctx, fsys, Options{})
	if err != nil {
		return all, 1, nil // nothing does
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	st.Cutter, st.Packs.Coders = s.cutter, s.coders
	for tag, terr := range st.Tags().All(ctx) {
		tagged++
		if terr == nil && s.walk(ctx, st, tag.Root, nil) == nil {
			all[tag.Name] = true
		}
	}
	return all, tagged, nil
}

// walk reads everything below a node. Where keep is not nil, it is only marked, as gc does.
func (s *sampler) walk(ctx context.Context, st *live.Store, n store.Node, keep store.ObjectSet) error {
	if keep != nil && n.Kind != store.KindSymlink {
		if _, err := keep.Add(n.Kind, n.Digest); err != nil {
			return err
		}
	}
	switch n.Kind {
	case store.KindDirectory:
		dir, err := st.Directories().Get(ctx, n.Digest)
		for i := range dir {
			err = cmp.Or(err, s.walk(ctx, st, dir[i], keep))
		}
		return err
	case store.KindFile:
		if keep != nil {
			chunks, err := st.Blobs().Chunks(ctx, n.Digest)
			for _, c := range chunks {
				_, cerr := keep.Add(store.KindFile, c.Digest)
				err = cmp.Or(err, cerr)
			}
			return err
		}
		data, err := readBlob(ctx, st, n.Digest)
		if err == nil && (store.Sum(data) != n.Digest || uint64(len(data)) != n.Size) {
			panic("wrong bytes were read")
		}
		return err
	}
	return nil
}

// damage returns what a scrub finds that is not harmless.
func (s *sampler) damage(ctx context.Context, fsys *crashfs.FS) (found []string, err error) {
	st, err := openFS(ctx, fsys, Options{Tolerate: true})
	if err != nil {
		return []string{err.Error()}, nil
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	st.Cutter, st.Packs.Coders = s.cutter, s.coders
	_, err = care.New(st).Scrub(ctx, store.ScrubOptions{}, func(d store.Damage) {
		if !d.Harmless {
			found = append(found, fmt.Sprintf("%v %v at %s: %v", d.What, d.Digest, d.Where, d.Err))
		}
	})
	return found, err
}

// gc keeps what the tags reach. It refuses where that cannot be told, or where the store contradicts itself.
func (s *sampler) gc(ctx context.Context, fsys *crashfs.FS) (err error) {
	st, err := openFS(ctx, fsys, Options{Exclusive: true})
	if err != nil {
		return nil
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	st.Cutter, st.Packs.Coders = s.cutter, s.coders
	st.Limits.Pack = 1 << 10 // so that much is written anew
	keep := st.NewSet()
	for tag, err := range st.Tags().All(ctx) {
		if err != nil || s.walk(ctx, st, tag.Root, keep) != nil {
			return nil
		}
	}
	_, err = care.New(st).Sweep(ctx, keep, store.SweepOptions{})
	if store.IsCorrupt(err) {
		err = nil
	}
	return err
}

// checkContradiction checks what must hold of a crafted store.
func (s *sampler) checkContradiction(ctx context.Context, crafted *crashfs.FS) error {
	before, tagged, err := s.exports(ctx, crafted)
	if err != nil {
		return err
	}
	lost := func(what string, fsys *crashfs.FS) error {
		after, _, err := s.exports(ctx, fsys)
		for name := range before {
			if !after[name] {
				err = cmp.Or(err, fmt.Errorf("%q exported before %s and not after", name, what))
			}
		}
		return err
	}
	scrubbed := crafted.Clone()
	found, err := s.damage(ctx, scrubbed)
	if err = cmp.Or(err, lost("verify", scrubbed)); err != nil {
		return err
	}
	if len(found) == 0 { // where something is whole in another place, readers find it now
		if after, _, err := s.exports(ctx, scrubbed); err != nil || len(after) < tagged {
			return fmt.Errorf("verify finds nothing, and %d of %d tags export (%v)", len(after), tagged, err)
		}
	}
	for i, fsys := range []*crashfs.FS{crafted.Clone(), scrubbed} {
		when := []string{"gc", "verify and gc"}[i]
		if err := cmp.Or(s.gc(ctx, fsys), lost(when, fsys)); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
	}
	for i, fsys := range []*crashfs.FS{crafted, scrubbed} {
		when := []string{"repair", "verify and repair"}[i]
		_, err := s.repair(fsys, store.RepairOptions{})
		if err = cmp.Or(err, lost(when, fsys)); err != nil {
			return fmt.Errorf("%s: %w", when, err)
		}
		after, err := s.damage(ctx, fsys)
		if len(after) > 0 || err != nil {
			return fmt.Errorf("%s ended well, and verify finds %s, %v", when, strings.Join(after, "; "), err)
		}
	}
	return nil
}

// checkChanges checks many crafted stores, at once, each of some changes.
func (s *sampler) checkChanges(t *testing.T, base *crashfs.FS, all [][]change) {
	t.Helper()
	jobs := make(chan []change)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for changes := range jobs {
				fsys := base.Clone()
				var err error
				for _, c := range changes {
					err = cmp.Or(err, c.apply(fsys))
				}
				if err = cmp.Or(err, s.checkContradiction(t.Context(), fsys)); err != nil {
					t.Errorf("%v: %v", changes, err)
				}
			}
		})
	}
	for _, changes := range all {
		jobs <- changes
	}
	close(jobs)
	workers.Wait()
	t.Logf("%d stores", len(all))
}

// TestContradictions changes each field of each record, and then two of them at a time.
func TestContradictions(t *testing.T) {
	s := newSampler()
	base := contradictory(t, s)
	if err := s.checkContradiction(t.Context(), base.Clone()); err != nil {
		t.Fatal(err)
	}
	files := base.Files()
	changes := changesOf(fieldsOf(t, files), files)
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
	one, two := crashStates(1000), crashStates(250)
	if storetest.UnderRace {
		one, two = one/10, two/10
	}
	var all [][]change
	for i := range min(one, len(changes)) {
		all = append(all, changes[i:i+1])
	}
	for range two {
		all = append(all, []change{changes[rng.IntN(len(changes))], changes[rng.IntN(len(changes))]})
	}
	t.Logf("of %d changes", len(changes))
	s.checkChanges(t, base, all)
}

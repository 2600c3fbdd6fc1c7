package packed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/live"
	"castar/store/packed/pack"
)

// model is what a store should hold, for TestModel: a map of what was put.
type model struct {
	t     *testing.T
	rng   *rand.Rand
	s     *sampler
	fsys  *crashfs.FS
	all   map[store.Digest][]byte // put at some time, and not removed
	sure  map[store.Digest]bool   // of those: they were synced
	hands []*live.Store
}

func (m *model) open(alone bool) *live.Store {
	st, err := openFS(m.t.Context(), m.fsys, Options{Create: true, Exclusive: alone, Tolerate: false})
	if err != nil {
		m.t.Fatal(err)
	}
	st.Cutter, st.Packs.Coders = m.s.cutter, m.s.coders
	st.Writers = chunk.NewPool(st.Cutter, st.Slots)
	st.Limits = live.Limits{Objects: 1 + m.rng.IntN(40), Bytes: 1 << 10 << m.rng.IntN(8), Pack: 1 << 9 << m.rng.IntN(8)}
	return st
}

// closeAll closes all handles. What was not synced may be gone.
func (m *model) closeAll() {
	for _, st := range m.hands {
		if err := st.Close(); err != nil {
			m.t.Fatal(err)
		}
	}
	m.hands = nil
}

// data returns a new blob, or one of those that were put before.
func (m *model) data() []byte {
	if len(m.all) > 0 && m.rng.IntN(4) == 0 {
		for _, b := range m.all {
			return b
		}
	}
	p := m.s.cutter.Params()
	around := []int{0, 1, p.Min, p.Avg, p.Max, 2 * p.Max, 64 << 10}
	n := max(0, around[m.rng.IntN(len(around))]+m.rng.IntN(3)-1)
	b := make([]byte, n)
	if m.rng.IntN(3) > 0 {
		for i := range b {
			b[i] = byte(m.rng.Uint32())
		}
	}
	return b
}

func (m *model) putMany(st *live.Store) {
	var datas [][]byte
	for range m.rng.IntN(20) {
		datas = append(datas, m.data())
	}
	got := make([]store.Digest, len(datas))
	var wg sync.WaitGroup
	workers := 1 + m.rng.IntN(4)
	for w := range workers {
		wg.Go(func() {
			l := st.Blobs().Lane()
			for i := w; i < len(datas); i += workers {
				d, err := putOne(m.t.Context(), l, datas[i], i%3)
				if err != nil {
					m.t.Errorf("put of %d bytes: %v", len(datas[i]), err)
				}
				got[i] = d
				if b, err := readBlob(m.t.Context(), st, d); err != nil || !bytes.Equal(b, datas[i]) {
					m.t.Errorf("read after a put: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for i, d := range got {
		if d != store.Sum(datas[i]) {
			m.t.Errorf("digest of %d bytes", len(datas[i]))
		}
		m.all[d] = datas[i]
	}
}

func putOne(ctx context.Context, b store.Blobs, data []byte, how int) (store.Digest, error) {
	if how == 0 {
		return b.Put(ctx, data)
	}
	w, err := b.Create(ctx)
	if err != nil {
		return store.Digest{}, err
	}
	defer w.Close()
	if how == 1 {
		_, err = w.Write(data)
	} else {
		_, err = io.Copy(w, bytes.NewReader(data))
	}
	if err != nil {
		return store.Digest{}, err
	}
	return w.Commit()
}

// sync makes sure of what a handle has.
func (m *model) sync(st *live.Store) {
	if err := st.Sync(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	for d := range m.all {
		if st.Has(pack.KindData, &d) {
			if _, err := readBlob(m.t.Context(), st, d); err != nil {
				m.t.Errorf("has %s: %v", d, err)
			}
			m.sure[d] = true
		}
	}
}

// check looks at all that is sure, by a handle.
func (m *model) check(st *live.Store, what string) {
	for d := range m.sure {
		if b, err := readBlob(m.t.Context(), st, d); err != nil || !bytes.Equal(b, m.all[d]) {
			m.t.Errorf("%s: %s of %d bytes: %v", what, d, len(m.all[d]), err)
		}
	}
}

func (m *model) sweep() {
	m.closeAll()
	st := m.open(true)
	keep := st.NewSet()
	for d := range m.sure {
		if m.rng.IntN(3) == 0 {
			delete(m.sure, d)
			delete(m.all, d)
		}
	}
	for d := range m.sure {
		chunks, err := st.Blobs().Chunks(m.t.Context(), d)
		_, aerr := keep.Add(store.KindFile, d)
		for _, c := range chunks {
			_, cerr := keep.Add(store.KindFile, c.Digest)
			err = errors.Join(err, cerr)
		}
		if err := errors.Join(err, aerr); err != nil {
			m.t.Error(err)
		}
	}
	if _, err := care.New(st).Sweep(m.t.Context(), keep, store.SweepOptions{}); err != nil {
		m.t.Error(err)
	}
	m.check(st, "after a sweep")
	if err := st.Close(); err != nil {
		m.t.Error(err)
	}
}

// damage changes a byte of a pack. A scrub, or a repair, then knows what is lost, and it is put again.
func (m *model) damage() {
	m.closeAll()
	if packs := named(m.fsys, pack.Dir); len(packs) > 0 {
		name := packs[m.rng.IntN(len(packs))]
		if err := overwrite(m.fsys, name, func(b []byte) []byte { b[m.rng.IntN(len(b))] ^= 4; return b }); err != nil {
			m.t.Fatal(err)
		}
	}
	var err error
	if m.rng.IntN(2) == 0 {
		_, err = m.s.repair(m.fsys, store.RepairOptions{})
	} else {
		st := m.open(false)
		_, err = care.New(st).Scrub(m.t.Context(), store.ScrubOptions{}, func(store.Damage) {})
		err = errors.Join(err, st.Close())
	}
	if err != nil {
		m.t.Error(err)
	}
	st := m.open(false)
	for d := range m.sure {
		if has, err := st.Blobs().Has(m.t.Context(), d); err != nil {
			m.t.Error(err)
		} else if has {
			continue
		}
		if got, err := putOne(m.t.Context(), st.Blobs(), m.all[d], m.rng.IntN(3)); err != nil || got != d {
			m.t.Errorf("put again: %v", err)
		}
	}
	m.sync(st)
	m.check(st, "after damage")
	if err := st.Close(); err != nil {
		m.t.Error(err)
	}
}

// TestModel does what may be done to a store in any order, and compares it with a map.
func TestModel(t *testing.T) {
	for seed := range uint64(crashStates(24)) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			m := &model{
				t: t, rng: rand.New(rand.NewPCG(seed, 1)), s: newSampler(), fsys: crashfs.New(),
				all: map[store.Digest][]byte{}, sure: map[store.Digest]bool{},
			}
			defer m.closeAll()
			for range 60 {
				m.step()
				if t.Failed() {
					return
				}
			}
		})
	}
}

func (m *model) step() {
	if len(m.hands) == 0 {
		m.hands = append(m.hands, m.open(false))
	}
	st := m.hands[m.rng.IntN(len(m.hands))]
	switch m.rng.IntN(12) {
	case 0, 1, 2, 3:
		m.putMany(st)
	case 4, 5:
		m.sync(st)
		m.check(m.hands[m.rng.IntN(len(m.hands))], "after a sync")
	case 6:
		if len(m.hands) < 3 {
			m.hands = append(m.hands, m.open(false))
		}
	case 7:
		m.sweep()
	case 8:
		m.damage()
	case 9:
		m.closeAll()
		if _, err := m.s.repair(m.fsys, store.RepairOptions{}); err != nil {
			m.t.Error(err)
		}
	case 10:
		m.closeAll()
		states := slices.Collect(m.fsys.States(m.fsys.Len(), 3, m.rng.Uint64()))
		m.fsys = states[m.rng.IntN(len(states))]
	case 11:
		m.check(st, "at any time")
	}
}

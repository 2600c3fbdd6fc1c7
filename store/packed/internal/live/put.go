package live

import (
	"fmt"

	"castar/store"
	"castar/store/packed/pack"
)

// aloneFrom is the size from which an object that does not compress has a frame of its own.
const aloneFrom = 64 << 10

// Put stores an object under its digest, unless the store has it. The lane is 0 for all kinds but data. inSlot says that
// the caller holds a slot.
func (st *Store) Put(k pack.Kind, lane int, d store.Digest, data []byte, inSlot bool) error {
	if st.Has(k, &d) {
		return nil
	}
	if k == pack.KindList && len(data) > pack.MaxList {
		return fmt.Errorf("a blob of %d chunks: at most %d", len(data)/pack.ItemLen, pack.MaxList/pack.ItemLen)
	}
	alone := len(data) >= pack.GroupSize || k == pack.KindData && len(data) >= aloneFrom && st.Packs.Incompressible(data)
	for {
		if err := st.Writable(); err != nil {
			return err
		}
		st.mu.Lock()
		s := st.current
		st.mu.Unlock()
		g, ok := s.add(k, lane, d, data, alone)
		if !ok {
			continue // it was just sealed, and there is a new session
		}
		if g == nil {
			return nil
		}
		if !inSlot {
			st.Slots <- struct{}{}
			defer func() { <-st.Slots }()
		}
		return s.write(g)
	}
}

// checkpoint commits the session if it has grown large, unless another caller is doing so. The caller must hold no slot: a
// commit waits for groups, and their writers may wait for a slot.
func (st *Store) checkpoint() error {
	st.mu.Lock()
	s := st.current
	st.mu.Unlock()
	if !s.large() || !st.commit.TryLock() {
		return nil
	}
	defer st.commit.Unlock()
	st.mu.Lock()
	again := st.current == s
	st.mu.Unlock()
	if !again {
		return nil // the other one committed it
	}
	return st.commitLocked()
}

// PutWhole stores an object that is not cut into chunks, and commits the session if it has grown large.
func (st *Store) PutWhole(k pack.Kind, lane int, d store.Digest, data []byte) error {
	if err := st.Put(k, lane, d, data, false); err != nil {
		return err
	}
	return st.checkpoint()
}

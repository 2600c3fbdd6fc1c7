package packed

import (
	"fmt"

	"castar/store"
)

// aloneFrom is the size from which an object that does not compress has a frame of its own.
const aloneFrom = 64 << 10

// put stores an object under its digest, unless it is there. Only data has other lanes than 0. inSlot says that the
// caller holds a slot.
func (st *Store) put(k kind, lane int, d store.Digest, data []byte, inSlot bool) error {
	if st.has(k, &d) {
		return nil
	}
	if k == kindList && len(data) > maxList {
		return fmt.Errorf("a blob of %d chunks: at most %d", len(data)/itemLen, maxList/itemLen)
	}
	alone := len(data) >= groupSize || k == kindData && len(data) >= aloneFrom && st.encoder.Incompressible(data)
	for {
		if err := st.writable(); err != nil {
			return err
		}
		st.mu.Lock()
		s := st.current
		st.mu.Unlock()
		g, ok := s.add(k, lane, d, data, alone)
		if !ok {
			continue // sealed just now; there is a new one
		}
		if g == nil {
			return nil
		}
		if !inSlot {
			st.slots <- struct{}{}
			defer func() { <-st.slots }()
		}
		return s.write(g)
	}
}

// checkpoint commits the session if it has grown large, unless another caller is at it. The caller holds no slot: a
// commit waits for groups whose writers may wait for one.
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

// putWhole stores an object that is not cut into chunks, and commits the session if it has grown large.
func (st *Store) putWhole(k kind, lane int, d store.Digest, data []byte) error {
	if err := st.put(k, lane, d, data, false); err != nil {
		return err
	}
	return st.checkpoint()
}

// bufferSize holds any group of blobs, and its head: it is full at groupSize, and the last object that went in is
// rarely larger than a chunk of the default greatest size.
const bufferSize = groupSize + 768<<10

// smallBuffer is how many bytes a buffer has at most that is made for few bytes, and not used again.
const smallBuffer = 64 << 10

// buffer returns an empty buffer for about n bytes, to be released after use.
func (st *Store) buffer(n int) []byte {
	select {
	case b := <-st.free:
		return b[:0]
	default:
	}
	if n <= smallBuffer {
		return make([]byte, 0, n)
	}
	return make([]byte, 0, bufferSize)
}

// extend appends data to a buffer that is not to grow beyond bufferSize by much. It begins small, for many a session has
// few bytes, and is then replaced by one of those that are used again.
func (st *Store) extend(b, data []byte) []byte {
	if n := len(b) + len(data); n > cap(b) && cap(b) < bufferSize {
		b = append(st.buffer(bufferSize), b...)
	}
	return append(b, data...)
}

// room returns a buffer that holds n bytes, and does not waste one on few.
func (st *Store) room(n int) []byte {
	if n < bufferSize/2 || n > bufferSize {
		return nil
	}
	return st.buffer(n)
}

// release gives a buffer back. One that is too small or too large is left to the garbage collector.
func (st *Store) release(b []byte) {
	if cap(b) < bufferSize || cap(b) > 4*bufferSize {
		return
	}
	select {
	case st.free <- b:
	default:
	}
}

package rpc

import (
	"bytes"
	"errors"
	"testing"

	"castar/store/rpc/internal/rpctest"
)

// Messages come back in order, those in memory and those in the file, as often as they are asked for.
func TestMessages(t *testing.T) {
	random := rpctest.Random(3 << 20)
	sizes := []int{0, 1, 127, 128, 1 << 20, 5, 1<<20 - 1, 300_000, 0}
	m := messages{spool: spool{most: mostMessages}}
	defer m.drop()
	at := 0
	for _, n := range sizes {
		m.put(random[at:][:n])
		at += n
	}
	for range 2 {
		at, i := 0, 0
		err := m.each(func(got []byte) error {
			if !bytes.Equal(got, random[at:][:sizes[i]]) {
				t.Errorf("message %d is another one of %d bytes", i, len(got))
			}
			at, i = at+sizes[i], i+1
			return nil
		})
		if err != nil || i != len(sizes) {
			t.Errorf("%d messages, %v", i, err)
		}
	}
	stop := errors.New("stop")
	if err := m.each(func([]byte) error { return stop }); err != stop {
		t.Errorf("each: %v", err)
	}
}

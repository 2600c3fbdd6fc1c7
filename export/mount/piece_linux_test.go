package mount

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"castar/store"
)

// cutFile returns the entry of a file in a file system without a mount, and its contents. It has chunks of many lengths.
func cutFile(t *testing.T) (*fsys, *place, []byte) {
	st, b := newBroken()
	data := make([]byte, 3_000_001)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data)
	n := b.cut(t, data)
	fs := newFsys(t.Context(), st, top{}, func(_ string, err error) { t.Error(err) })
	return fs, &place{node: n}, data
}

// TestPiecesReused reads here and there in a file, with little memory for its pieces. What was read stays as it is until
// Done is called, whatever else is read.
func TestPiecesReused(t *testing.T) {
	fs, p, data := cutFile(t)
	fs.pieces.most = 3 * smallFile
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			var before *readResult
			var want []byte
			for range 30 {
				at := rand.IntN(len(data))
				n := 1 + rand.IntN(min(1_000_000, len(data)-at))
				got, err := fs.read(t.Context(), p, uint64(at), make([]byte, n))
				if err != nil {
					t.Error(err)
					return
				}
				if before != nil && !bytes.Equal(bytes.Join(before.bytes, nil), want) {
					t.Errorf("%d bytes have changed while they were in use", len(want))
				}
				if before != nil {
					before.Done()
				}
				before, want = got, data[at:at+n]
			}
			before.Done()
		})
	}
	running.Wait()
	fs.running.Wait()
}

// TestPiecesDropped reads a file once, from front to back in steps that are no chunks. Nothing of it is kept.
func TestPiecesDropped(t *testing.T) {
	fs, p, data := cutFile(t)
	const step = 300_000
	var got []byte
	for at := 0; at < len(data); at += step {
		e, err := fs.read(t.Context(), p, uint64(at), make([]byte, step))
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, bytes.Join(e.bytes, nil)...)
		e.Done()
		fs.running.Wait()
	}
	if !bytes.Equal(got, data) {
		t.Error("read something else")
	}
	if n := len(fs.pieces.entries); n != 0 {
		t.Errorf("%d pieces are kept", n)
	}
	if _, err := fs.piece(t.Context(), store.Chunk{Digest: store.Sum(nil), Size: 1}); err == nil {
		t.Error("there is a piece that is not stored")
	}
}

package bucketfs

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"castar/store/bucket"
)

// counted is a bucket with the same bytes in every object. It counts what is read.
type counted struct {
	bucket.Bucket
	data            []byte
	requests, bytes atomic.Int64
}

func (c *counted) Get(_ context.Context, _ string, offset, n int64) ([]byte, error) {
	size := int64(len(c.data))
	b := c.data[min(offset, size):min(offset+n, size)]
	c.requests.Add(1)
	c.bytes.Add(int64(len(b)))
	return b, nil
}

const (
	packLen  = 16 << 20
	frameLen = 300 << 10
)

// openPacks returns two packs in a bucket, the bytes of both, and what counts requests.
func openPacks(t *testing.T) (packs [2]*remote, data []byte, c *counted) {
	data = bytes.Repeat([]byte("some contents that are not the same one block later"), packLen/50)[:packLen]
	c = &counted{Bucket: bucket.NewMemory(), data: data}
	f, err := Open(t.Context(), c, "", false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	for i, name := range []string{"packs/0000000000000001.pack", "packs/0000000000000002.pack"} {
		packs[i] = &remote{fs: f, name: name}
	}
	f.parts.learn([]bucket.Object{{Name: packs[0].name, Size: packLen}, {Name: packs[1].name, Size: packLen}})
	return packs, data, c
}

func readFrame(t *testing.T, r *remote, data []byte, at int64) {
	t.Helper()
	got := make([]byte, min(frameLen, packLen-at))
	if _, err := r.ReadAt(got, at); err != nil || !bytes.Equal(got, data[at:][:len(got)]) {
		t.Fatalf("at %d: %v, or other bytes", at, err)
	}
}

// Who reads two packs to the end, in turns, needs few requests, and gets nothing twice.
func TestReadAll(t *testing.T) {
	packs, data, c := openPacks(t)
	for at := int64(0); at < packLen; at += frameLen {
		readFrame(t, packs[0], data, at)
		readFrame(t, packs[1], data, at)
	}
	if n := c.requests.Load(); n > 16 {
		t.Errorf("%d requests for two packs", n)
	}
	if n := c.bytes.Load(); n != 2*packLen {
		t.Errorf("%d bytes fetched of %d", n, 2*packLen)
	}
}

// Blocks that do not fit into memory are not fetched again when they are read again.
func TestReadAgain(t *testing.T) {
	packs, data, c := openPacks(t)
	p := packs[0].fs.parts
	for range 2 {
		for at := int64(0); at < packLen; at += frameLen {
			readFrame(t, packs[0], data, at)
			readFrame(t, packs[1], data, at)
		}
		p.mu.Lock()
		p.makeRoom(mostKept / blockLen) // as if many more were read
		p.mu.Unlock()
	}
	if n := c.bytes.Load(); n != 2*packLen {
		t.Errorf("%d bytes fetched of %d", n, 2*packLen)
	}
}

// Who reads here and there does not fetch much more than that.
func TestReadLittle(t *testing.T) {
	packs, data, c := openPacks(t)
	readFrame(t, packs[0], data, 5<<20)
	if n := c.bytes.Load(); n > 2*blockLen {
		t.Errorf("%d bytes fetched for one frame", n)
	}
	random := rand.New(rand.NewPCG(1, 2))
	const frames = 12
	for range frames {
		readFrame(t, packs[random.IntN(2)], data, random.Int64N(packLen-frameLen))
	}
	if n := c.bytes.Load(); n > 2*frames*2*blockLen+2*mostAtOnce {
		t.Errorf("%d bytes fetched for %d frames", n, frames)
	}
}

// A pack that is shorter than the indexes say is read as far as it goes.
func TestReadShort(t *testing.T) {
	packs, data, c := openPacks(t)
	const short = 3<<20 + 5
	c.data = data[:short]
	got := make([]byte, frameLen)
	if n, err := packs[0].ReadAt(got, short-100); n != 100 || err == nil {
		t.Errorf("%d bytes, %v", n, err)
	}
	if n, err := packs[0].ReadAt(got, packLen-frameLen); n != 0 || err == nil {
		t.Errorf("behind the end: %d bytes, %v", n, err)
	}
}

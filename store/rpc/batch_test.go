package rpc

import (
	"bytes"
	"testing"

	"google.golang.org/protobuf/proto"

	"castar/protos"
	"castar/store"
)

// A batch is encoded as the message is that it stands for, also when it is filled again, and is full in time.
func TestBatch(t *testing.T) {
	b := newBatch()
	for round, sizes := range [][]int{{0, 1, 127, 128, 300}, {askSize, askSize - 1, 5}, {}, {7}} {
		want := new(protos.PutBlobsRequest)
		for i, n := range sizes {
			data := random(n)
			want.Blobs = append(want.Blobs, data)
			b.add(store.Sum(data), data)
			if !bytes.Equal(b.blob(), data) || b.digests[i] != store.Sum(data) {
				t.Errorf("round %d: blob %d is not what was added", round, i)
			}
		}
		message, err := proto.MarshalOptions{Deterministic: true}.Marshal(want)
		if err != nil || !bytes.Equal(b.message, message) || len(b.digests) != len(sizes) {
			t.Errorf("round %d: %d digests, message differs: %v", round, len(b.digests), err)
		}
		if b.full(len(sizes)+1) || !b.full(len(sizes)) {
			t.Errorf("round %d: full is wrong for %d blobs", round, len(sizes))
		}
		before := b.done
		b.clear(round%2 == 0)
		if len(b.digests)+len(b.message) > 0 || b.done == before {
			t.Errorf("round %d: not clear", round)
		}
	}
	for !b.full(1 << 30) {
		b.add(store.Digest{}, make([]byte, askSize))
		if len(b.message) > batchSize {
			t.Fatalf("a message of %d bytes", len(b.message))
		}
	}
}

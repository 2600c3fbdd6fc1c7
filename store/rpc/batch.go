package rpc

import (
	"google.golang.org/protobuf/encoding/protowire"

	"castar/store"
)

// batch is blobs that go together in one call, encoded as a PutBlobsRequest:
//
//	for each blob:
//	  1 byte    0x0a: field 1, bytes
//	  varint    length of the blob
//	            the blob
//
// They are encoded as they come, so that each is copied once.
type batch struct {
	digests []store.Digest
	message []byte
	start   int           // of the last blob in message
	done    chan struct{} // closed when the batch has arrived, or failed
}

const (
	// batchSize is the length at which a batch is full, in bytes. A longer one gains nothing, and delays what follows.
	batchSize = 256 << 10
	// mostInBatch bounds the answer, which has a digest for each.
	mostInBatch = 4096

	blobsField = 1
)

func newBatch() *batch { return &batch{done: make(chan struct{})} }

// add takes a blob.
func (b *batch) add(d store.Digest, data []byte) {
	b.digests = append(b.digests, d)
	b.message = protowire.AppendTag(b.message, blobsField, protowire.BytesType)
	b.message = protowire.AppendVarint(b.message, uint64(len(data)))
	b.start = len(b.message)
	b.message = append(b.message, data...)
}

// full reports whether another blob, of askSize, may be too much.
func (b *batch) full(most int) bool {
	return len(b.digests) >= most || len(b.message)+askSize > batchSize
}

// blob returns the last blob.
func (b *batch) blob() []byte { return b.message[b.start:] }

// clear makes the batch ready to be filled again, in the same memory if reuse is set.
func (b *batch) clear(reuse bool) {
	next := newBatch()
	if reuse {
		next.digests, next.message = b.digests[:0], b.message[:0]
	}
	*b = *next
}

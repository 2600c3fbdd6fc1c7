package objects

import (
	"errors"
	"fmt"
	"math"

	"castar/protos"
	"castar/store"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// The object of a blob is the list of its chunks: a StatBlobResponse message (rpc_blobstore.proto), not compressed and
// without an outboard encoding. That of a blob of one chunk, or of none, lists no chunks and so has no bytes.
//
// A list may have millions of chunks, so these functions handle one at a time: the message of a list is the messages of
// its parts, one after the other.

func encodeChunkList(chunks []store.Chunk) (b []byte) {
	c := new(protos.StatBlobResponse_ChunkMeta)
	part := &protos.StatBlobResponse{Chunks: []*protos.StatBlobResponse_ChunkMeta{c}}
	for i := range chunks {
		c.Digest, c.Size = chunks[i].Digest[:], chunks[i].Size
		b, _ = proto.MarshalOptions{}.MarshalAppend(b, part) // bytes and numbers can always be encoded
	}
	return b
}

// chunksField is the number of StatBlobResponse.chunks.
const chunksField = 2

// decodeChunkList reads a list of chunks. It skips unknown fields, as other readers do. The sum of the sizes must fit in an
// int64, so that one can seek in the blob.
func decodeChunkList(b []byte) (chunks []store.Chunk, err error) {
	total := uint64(0)
	for part := new(protos.StatBlobResponse); len(b) > 0; {
		num, _, n := protowire.ConsumeField(b)
		if n < 0 {
			return nil, fmt.Errorf("invalid list of chunks: %w", protowire.ParseError(n))
		}
		if num != chunksField { // others may be long, and decoding copies them
			b = b[n:]
			continue
		}
		if err := proto.Unmarshal(b[:n], part); err != nil {
			return nil, fmt.Errorf("invalid list of chunks: %w", err)
		}
		b = b[n:]
		for _, c := range part.Chunks {
			d, err := store.DigestFromBytes(c.Digest)
			if err != nil {
				return nil, fmt.Errorf("invalid list of chunks: chunk %d: %w", len(chunks), err)
			}
			if c.Size > math.MaxInt64-total {
				return nil, errors.New("invalid list of chunks: their sizes overflow")
			}
			total += c.Size
			chunks = append(chunks, store.Chunk{Digest: d, Size: c.Size})
		}
	}
	return chunks, nil
}

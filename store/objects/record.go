package objects

import (
	"errors"
	"fmt"
	"iter"
	"math"

	"castar/store"

	"google.golang.org/protobuf/encoding/protowire"
)

// A record is a StatBlobResponse message (rpc_blobstore.proto), not compressed:
//
//	2  repeated message   the chunks, in order; in each 1 is its digest, bytes, and 2 its size, varint
//	3  bytes              an outboard encoding, never written
//
// The record of a blob of one chunk, or of none, lists no chunks and so has no bytes.
const (
	fieldChunks = 2
	fieldDigest = 1
	fieldSize   = 2
)

func encodeRecord(chunks []store.Chunk) []byte {
	var b []byte
	for i := range chunks {
		var m []byte
		m = protowire.AppendTag(m, fieldDigest, protowire.BytesType)
		m = protowire.AppendBytes(m, chunks[i].Digest[:])
		if chunks[i].Size != 0 {
			m = protowire.AppendTag(m, fieldSize, protowire.VarintType)
			m = protowire.AppendVarint(m, chunks[i].Size)
		}
		b = protowire.AppendTag(b, fieldChunks, protowire.BytesType)
		b = protowire.AppendBytes(b, m)
	}
	return b
}

// decodeRecord reads a record. It skips unknown fields, as other readers do. The sum of the sizes must fit in an int64, so
// that one can seek in the blob.
func decodeRecord(b []byte) (chunks []store.Chunk, err error) {
	total := uint64(0)
	for f, err := range fields(b) {
		if err != nil {
			return nil, fmt.Errorf("invalid record: %w", err)
		}
		if f.num != fieldChunks || f.typ != protowire.BytesType {
			continue
		}
		c, err := decodeChunk(f.body)
		if err != nil {
			return nil, fmt.Errorf("invalid record: chunk %d: %w", len(chunks), err)
		}
		if c.Size > math.MaxInt64-total {
			return nil, errors.New("invalid record: the sizes of the chunks overflow")
		}
		total += c.Size
		chunks = append(chunks, c)
	}
	return chunks, nil
}

func decodeChunk(b []byte) (c store.Chunk, err error) {
	var digest []byte
	for f, err := range fields(b) {
		switch {
		case err != nil:
			return c, err
		case f.num == fieldDigest && f.typ == protowire.BytesType:
			digest = f.body
		case f.num == fieldSize && f.typ == protowire.VarintType:
			c.Size = f.number
		}
	}
	c.Digest, err = store.DigestFromBytes(digest)
	return c, err
}

// field is a field of a message. Its value is body or number if it is bytes or a varint.
type field struct {
	num    protowire.Number
	typ    protowire.Type
	body   []byte
	number uint64
}

func fields(b []byte) iter.Seq2[field, error] {
	return func(yield func(field, error) bool) {
		for len(b) > 0 {
			num, typ, n := protowire.ConsumeField(b)
			if n < 0 {
				yield(field{}, protowire.ParseError(n))
				return
			}
			_, _, tag := protowire.ConsumeTag(b)
			f := field{num: num, typ: typ}
			switch typ {
			case protowire.BytesType:
				f.body, _ = protowire.ConsumeBytes(b[tag:n])
			case protowire.VarintType:
				f.number, _ = protowire.ConsumeVarint(b[tag:n])
			}
			if !yield(f, nil) {
				return
			}
			b = b[n:]
		}
	}
}

package objects

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

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
func decodeRecord(b []byte) ([]store.Chunk, error) {
	var chunks []store.Chunk
	total := uint64(0)
	err := fields(b, func(num protowire.Number, body []byte, _ uint64) error {
		if num != fieldChunks || body == nil {
			return nil
		}
		c, err := decodeChunk(body)
		if err != nil {
			return fmt.Errorf("chunk %d: %w", len(chunks), err)
		}
		sum, carry := bits.Add64(total, c.Size, 0)
		if carry != 0 || sum > math.MaxInt64 {
			return errors.New("the sizes of the chunks overflow")
		}
		total = sum
		chunks = append(chunks, c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("invalid record: %w", err)
	}
	return chunks, nil
}

func decodeChunk(b []byte) (c store.Chunk, err error) {
	var digest []byte
	err = fields(b, func(num protowire.Number, body []byte, value uint64) error {
		switch {
		case num == fieldDigest && body != nil:
			digest = body
		case num == fieldSize && body == nil:
			c.Size = value
		}
		return nil
	})
	if err == nil {
		c.Digest, err = store.DigestFromBytes(digest)
	}
	return c, err
}

// fields calls f for each field of a message whose value is bytes or a varint. The body is nil for a varint only.
func fields(b []byte, f func(num protowire.Number, body []byte, value uint64) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var err error
		switch typ {
		case protowire.BytesType:
			var body []byte
			if body, n = protowire.ConsumeBytes(b); n >= 0 {
				err = f(num, append([]byte{}, body...), 0)
			}
		case protowire.VarintType:
			var value uint64
			if value, n = protowire.ConsumeVarint(b); n >= 0 {
				err = f(num, nil, value)
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

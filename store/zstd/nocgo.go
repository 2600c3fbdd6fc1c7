//go:build !cgo

package zstd

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

// Encoder compresses. Its methods may be called concurrently.
type Encoder struct{ encoder *zstd.Encoder }

// NewEncoder returns an encoder of a level that compresses n buffers at once; further calls wait.
func NewEncoder(n, level int) (*Encoder, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(n), zstd.WithWindowSize(4<<20), zstd.WithLowerEncoderMem(true))
	return &Encoder{enc}, err
}

// Append appends the frame of src to dst.
func (e *Encoder) Append(dst, src []byte) ([]byte, error) { return e.encoder.EncodeAll(src, dst), nil }

// Decoder decompresses. Its methods may be called concurrently.
type Decoder struct{ decoder *zstd.Decoder }

// NewDecoder returns a decoder that decompresses n buffers at once; further calls wait.
func NewDecoder(n int) (*Decoder, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(n), zstd.WithDecoderMaxMemory(1<<32),
		zstd.WithDecodeAllCapLimit(true))
	return &Decoder{dec}, err
}

// Decode fills dst with what src decodes to. The error is ErrSize where that is more or fewer bytes than dst has, and
// otherwise says how src is damaged.
func (d *Decoder) Decode(dst, src []byte) error {
	out, err := d.decoder.DecodeAll(src, dst[:0:len(dst)])
	if err == nil && len(out) != len(dst) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return ErrSize
	}
	return err
}

//go:build !cgo

package zstd

import "github.com/klauspost/compress/zstd"

// Encoder compresses. Its methods may be called concurrently.
type Encoder struct{ encoder *zstd.Encoder }

// NewEncoder returns an Encoder that compresses up to n buffers at once; further calls wait.
func NewEncoder(n, level int) (*Encoder, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(n), zstd.WithWindowSize(4<<20), zstd.WithLowerEncoderMem(true))
	return &Encoder{enc}, err
}

// Append appends the frame of src to dst.
func (e *Encoder) Append(dst, src []byte) ([]byte, error) { return e.encoder.EncodeAll(src, dst), nil }

package objects

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
)

const (
	// maxChunk is the most that a chunk may be long, in bytes, where its blob's record does not say it. The chunkers of
	// tvix and snix make chunks of at most 4 MiB.
	maxChunk = 64 << 20
	// maxWindow is the largest zstd window that is accepted. The level that tvix and snix use needs 2 MiB; theirs is the
	// default bound of the format's own tools.
	maxWindow = 128 << 20
)

// maxCompressed returns the longest that n bytes may become in a chunk object: zstd adds 3 bytes to each block of
// 128 KiB that does not compress, and streams that are flushed often have more blocks.
func maxCompressed(n int64) int64 { return n + n/64 + 1<<10 }

// codec compresses and decompresses. Its methods may be called concurrently.
type codec struct {
	enc   *zstd.Encoder
	exact *zstd.Decoder // never more than the room that it is given
	loose *zstd.Decoder // up to maxChunk

	encoders, decoders sync.Pool // of *zstd.Encoder and *zstd.Decoder, for streams
}

func newCodec() (*codec, error) {
	jobs := runtime.GOMAXPROCS(0)
	enc, err := zstd.NewWriter(nil, encoderOptions(jobs)...)
	if err != nil {
		return nil, err
	}
	c := &codec{enc: enc}
	common := []zstd.DOption{zstd.WithDecoderConcurrency(jobs), zstd.WithDecoderMaxWindow(maxWindow)}
	if c.exact, err = zstd.NewReader(nil, append(common, zstd.WithDecodeAllCapLimit(true))...); err != nil {
		return nil, err
	}
	c.loose, err = zstd.NewReader(nil, append(common, zstd.WithDecoderMaxMemory(maxChunk))...)
	return c, err
}

// encoderOptions are those of tvix and snix: zstd's default level, and no checksum, for the digest is one.
func encoderOptions(jobs int) []zstd.EOption {
	return []zstd.EOption{
		zstd.WithEncoderConcurrency(jobs), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1 << 20),
	}
}

func (c *codec) close() {
	c.enc.Close()
	c.exact.Close()
	c.loose.Close()
}

func (c *codec) compress(data []byte) []byte { return c.enc.EncodeAll(data, nil) }

// decompress returns what b decodes to: size bytes, or where size is negative at most maxChunk.
func (c *codec) decompress(b []byte, size int64) ([]byte, error) {
	if size < 0 {
		return c.loose.DecodeAll(b, nil)
	}
	data, err := c.exact.DecodeAll(b, make([]byte, 0, size))
	if err == nil && int64(len(data)) != size || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		return nil, fmt.Errorf("does not decode to %d bytes", size)
	}
	return data, err
}

// stream returns a reader of what r decodes to. It must be closed.
func (c *codec) stream(r io.Reader) (io.ReadCloser, error) {
	dec, ok := c.decoders.Get().(*zstd.Decoder)
	if !ok {
		var err error
		dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
	}
	if err := dec.Reset(r); err != nil {
		return nil, err
	}
	return &decoding{dec, c}, nil
}

// decoding is a stream that is being decoded.
type decoding struct {
	*zstd.Decoder
	c *codec
}

// Close gives the decoder to the next stream.
func (d *decoding) Close() error {
	if err := d.Reset(nil); err != nil {
		return err
	}
	d.c.decoders.Put(d.Decoder)
	return nil
}

// encode returns the compressed form of what write writes.
func (c *codec) encode(write func(io.Writer) error) ([]byte, error) {
	enc, ok := c.encoders.Get().(*zstd.Encoder)
	if !ok {
		var err error
		if enc, err = zstd.NewWriter(nil, encoderOptions(1)...); err != nil {
			return nil, err
		}
	}
	defer c.encoders.Put(enc)
	var b bytes.Buffer
	enc.Reset(&b)
	if err := write(enc); err != nil {
		return nil, err
	}
	err := enc.Close()
	return b.Bytes(), err
}

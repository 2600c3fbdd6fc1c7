package objects

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"castar/store/zstd"

	streams "github.com/klauspost/compress/zstd"
)

const (
	// maxChunk is the length of the longest chunk, in bytes. The chunkers of tvix and snix make chunks of at most 4 MiB.
	maxChunk = 64 << 20
	// maxWindow is the largest zstd window of a chunk, where a window needs no memory of its own. It is the default limit
	// of the format's own tools. The level that tvix and snix use needs 2 MiB.
	maxWindow = 128 << 20
	// maxStream is the largest zstd window of a stream, which does need memory. All decoders should accept it (RFC 8878,
	// section 3.1.1.1.2).
	maxStream = 8 << 20
	// maxAhead bounds the chunks of one blob that are read ahead, in bytes.
	maxAhead = 64 << 20
)

// maxCompressed returns the greatest length of the object of a chunk of n bytes. Zstd adds 3 bytes to each block of
// 128 KiB that does not compress, and a stream that is flushed often has more blocks.
func maxCompressed(n int64) int64 { return n + n/64 + 1<<10 }

// codec compresses and decompresses. Its methods may be called concurrently.
type codec struct {
	enc   *zstd.Encoder
	exact *zstd.Decoder    // for results of known length
	loose *streams.Decoder // for results of up to maxChunk

	encoders, decoders sync.Pool // of *streams.Encoder and *streams.Decoder
}

func newCodec() (*codec, error) {
	jobs := runtime.GOMAXPROCS(0)
	c := new(codec)
	var err error
	if c.enc, err = zstd.NewEncoder(jobs, zstd.Default); err != nil { // the level of tvix and snix
		return nil, err
	}
	if c.exact, err = zstd.NewDecoder(jobs); err != nil {
		return nil, err
	}
	c.loose, err = streams.NewReader(nil, streams.WithDecoderConcurrency(jobs),
		streams.WithDecoderMaxWindow(maxWindow), streams.WithDecoderMaxMemory(maxChunk))
	return c, err
}

func (c *codec) close() { c.loose.Close() }

func (c *codec) compress(data []byte) ([]byte, error) { return c.enc.Append(nil, data) }

// decompress decodes b. The result must have size bytes, or at most maxChunk if size is negative.
func (c *codec) decompress(b []byte, size int64) ([]byte, error) {
	if size < 0 {
		return c.loose.DecodeAll(b, nil)
	}
	// A block of zstd has at least 4 bytes and decodes to at most 128 KiB (RFC 8878, sections 3.1.1.2 and 3.1.1.2.4).
	const mostRatio = 128 << 10 / 4
	if size/mostRatio > int64(len(b)) {
		return nil, fmt.Errorf("does not decode to %d bytes", size)
	}
	data := make([]byte, size)
	if err := c.exact.Decode(data, b); errors.Is(err, zstd.ErrSize) {
		return nil, fmt.Errorf("does not decode to %d bytes", size)
	} else if err != nil {
		return nil, err
	}
	return data, nil
}

// stream returns a reader of the decoded bytes of r. The caller closes it.
func (c *codec) stream(r io.Reader) (io.ReadCloser, error) {
	dec, ok := c.decoders.Get().(*streams.Decoder)
	if !ok {
		var err error
		dec, err = streams.NewReader(nil, streams.WithDecoderConcurrency(1), streams.WithDecoderLowmem(true),
			streams.WithDecoderMaxWindow(maxStream))
		if err != nil {
			return nil, err
		}
	}
	if err := dec.Reset(r); err != nil {
		return nil, err
	}
	return &decoding{dec, c}, nil
}

// decoding is a stream in the course of being decoded.
type decoding struct {
	*streams.Decoder
	c *codec
}

// Close makes the decoder free for the next stream.
func (d *decoding) Close() error {
	if err := d.Reset(nil); err != nil {
		return err
	}
	d.c.decoders.Put(d.Decoder)
	return nil
}

// atOnce is the greatest number of bytes that are compressed in one piece, in memory, rather than as a stream.
const atOnce = 1 << 20

// encode returns the compressed form of the n bytes that write writes.
func (c *codec) encode(n int, write func(io.Writer) error) ([]byte, error) {
	if n <= atOnce {
		b := bytes.NewBuffer(make([]byte, 0, n))
		if err := write(b); err != nil {
			return nil, err
		}
		return c.compress(b.Bytes())
	}
	enc, ok := c.encoders.Get().(*streams.Encoder)
	if !ok {
		var err error
		enc, err = streams.NewWriter(nil, streams.WithEncoderConcurrency(1), streams.WithEncoderCRC(false),
			streams.WithLowerEncoderMem(true), streams.WithWindowSize(atOnce)) // no CRC: the digest is a checksum
		if err != nil {
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

package objects

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"

	"castar/store/zstd"

	streams "github.com/klauspost/compress/zstd"
)

const (
	// maxChunk is the length of the longest chunk, in bytes. The chunkers of tvix and snix make chunks of at most 4 MiB.
	maxChunk = 64 << 20
	// maxWindow is the largest zstd window of a chunk, where a window needs no memory of its own. It is the default limit
	// of the format's own tools. The level that tvix and snix use needs 2 MiB.
	maxWindow = 128 << 20
	// maxAhead bounds the chunks of one blob that are read ahead, in bytes.
	maxAhead = 64 << 20
)

// maxCompressed returns the greatest length of the object of a chunk of n bytes. Zstd adds 3 bytes to each block of
// 128 KiB that does not compress, and a stream that is flushed often has more blocks.
func maxCompressed(n int64) int64 { return n + n/64 + 1<<10 }

// codec compresses and decompresses. Its methods may be called concurrently.
type codec struct {
	enc   *zstd.Encoder
	exact *zstd.Decoder    // for results of known length, and for streams
	loose *streams.Decoder // for results of up to maxChunk
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
	data, err := []byte(nil), zstd.ErrSize
	if size/zstd.MostRatio <= int64(len(b)) {
		data = make([]byte, size)
		err = c.exact.Decode(data, b)
	}
	if errors.Is(err, zstd.ErrSize) {
		err = fmt.Errorf("does not decode to %d bytes", size)
	}
	return data, err
}

// atOnce is the greatest number of bytes that are compressed in one piece, in memory, rather than as a stream.
const atOnce = 1 << 20

// encode returns the closure of messages, compressed.
func (c *codec) encode(messages [][]byte) ([]byte, error) {
	n := 0
	for _, m := range messages {
		n += 4 + len(m)
	}
	var b bytes.Buffer
	if n <= atOnce {
		b.Grow(n)
		writeFrames(&b, messages) // a Buffer takes anything
		return c.compress(b.Bytes())
	}
	enc, err := streams.NewWriter(&b, streams.WithEncoderConcurrency(1), streams.WithEncoderCRC(false),
		streams.WithLowerEncoderMem(true), streams.WithWindowSize(atOnce)) // no CRC: the digest is a checksum
	if err == nil {
		err = errors.Join(writeFrames(enc, messages), enc.Close())
	}
	return b.Bytes(), err
}

package pack

import (
	"fmt"
	"io"

	"castar/store/zstd"
)

// Codec says how a payload is stored. Other files only tell Plain from the rest, but for LoadStored, which hands out Zstd.
type Codec uint8

const (
	Plain Codec = 0 // as it is
	Zstd  Codec = 1 // one zstd frame without checksum
)

// known reports whether this program can read the codec.
func (c Codec) known() bool { return c <= Zstd }

// possible reports whether a payload of so many bytes may decode to raw bytes. Without that, a few bytes could ask for any
// amount of memory.
func (c Codec) possible(raw, stored uint64) bool {
	return (c != Plain || raw == stored) && raw <= zstd.MostRatio*stored && stored <= raw+raw/64+1<<10
}

// Coders compress and decompress payloads, and keep buffers for them. They may be used concurrently.
type Coders struct {
	encoder *zstd.Encoder
	decoder *zstd.Decoder
	groups  buffers // of bufferSize
	chunks  buffers // of chunkBuffer
}

// NewCoders returns coders for so many goroutines that compress at a level or decompress at a time. They keep so many
// buffers, of about 3 MiB each, and twice as many of a quarter of that.
func NewCoders(level, jobs, keep int) (c *Coders, err error) {
	c = &Coders{groups: make(buffers, keep), chunks: make(buffers, 2*keep)}
	if c.encoder, err = zstd.NewEncoder(jobs, level); err != nil {
		return nil, err
	}
	if c.decoder, err = zstd.NewDecoder(jobs); err != nil {
		return nil, err
	}
	return c, nil
}

// Incompressible reports whether data does not get smaller, as far as a sample of it tells.
func (c *Coders) Incompressible(data []byte) bool { return c.encoder.Incompressible(data) }

// encode returns the payload of a group: g.Encoded, if there is any, or what it appends to buf, unless g.Raw is best stored.
func (c *Coders) encode(buf []byte, g *Group) (appended, payload []byte, codec Codec, err error) {
	appended, payload = buf, g.Encoded
	if payload == nil {
		if appended, err = c.encoder.Append(buf, g.Raw); err != nil {
			return buf, nil, Plain, err
		}
		payload = appended[len(buf):]
	}
	if !zstd.Worthwhile(len(payload), len(g.Raw)) {
		return buf, g.Raw, Plain, nil
	}
	return appended, payload, Zstd, nil
}

// decode decodes a payload to exactly the length of dst, and returns what it decodes to: dst, or stored itself if that is
// raw.
func (c *Coders) decode(codec Codec, dst, stored []byte) ([]byte, error) {
	if codec == Plain {
		return stored, nil
	}
	if err := c.decoder.Decode(dst, stored); err != nil {
		return nil, fmt.Errorf("frame: %w", err)
	}
	return dst, nil
}

// stream returns what a payload decodes to, piece by piece.
func (c *Coders) stream(codec Codec, payload io.Reader) (io.ReadCloser, error) {
	if codec == Plain {
		return io.NopCloser(payload), nil
	}
	return c.decoder.Stream(payload)
}

// errShortPayload is what is wrong with a payload that decodes to fewer bytes than it should, or to more.
var errShortPayload = zstd.ErrSize

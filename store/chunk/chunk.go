// Package chunk cuts data into chunks at positions that its contents determine. So equal stretches of different inputs
// become equal chunks, wherever they are. Reader and Writer read and write blobs of several chunks.
//
// The rules are those of FastCDC (2020) with normalization level 1, as tvix and snix use them, and the cut points are
// the same as theirs for every input. A rolling hash is shifted left by one for each byte, and a number for the byte is
// added to it; so bit k depends only on the last k+1 bytes. A chunk ends before the byte at which the chosen bits of
// the hash are all zero. One bit more than the average requires is chosen before the average length, and one bit less
// after it.
package chunk

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
)

// Bounds of the average. They keep the lengths derived from it within the bounds that FastCDC's own implementation sets: 64
// bytes to 16 MiB.
const (
	MinAvg = 512     // bytes
	MaxAvg = 2 << 20 // bytes
)

// Params are the lengths of chunks in bytes. Every chunk of an input but the last is at least Min long (Min-1 if Min is
// odd), and every chunk is at most Max long. Avg is the average that the cut points aim at.
type Params struct{ Min, Avg, Max int }

// Default returns the parameters of tvix and snix: 128, 256 and 512 KiB.
func Default() Params { return Params{128 << 10, 256 << 10, 512 << 10} }

// ParamsFor returns the parameters that tvix and snix derive from an average: half of it as the minimum, and twice as
// much as the maximum. An average outside MinAvg to MaxAvg is an error.
func ParamsFor(avg int) (Params, error) {
	if avg < MinAvg || avg > MaxAvg {
		return Params{}, fmt.Errorf("average chunk of %d bytes: want %d to %d", avg, MinAvg, MaxAvg)
	}
	return Params{avg / 2, avg, 2 * avg}, nil
}

// Cutter finds the ends of chunks. It never changes, and may be used concurrently and for any number of inputs.
type Cutter struct {
	params      Params
	early, late uint64              // masks before and after the average
	gear        func() *[256]uint64 // computed at first use, because most programs that open a store cut nothing
}

// NewCutter returns a Cutter with the parameters of ParamsFor, or its error.
func NewCutter(avg int) (*Cutter, error) {
	p, err := ParamsFor(avg)
	if err != nil {
		return nil, err
	}
	return cutterOf(p), nil
}

func cutterOf(p Params) *Cutter {
	// The logarithm of the average, rounded: the logarithm of the square is twice as much.
	log2 := bits.Len64(uint64(p.Avg)*uint64(p.Avg)) / 2
	return &Cutter{params: p, early: mask(log2 + 1), late: mask(log2 - 1), gear: sync.OnceValue(newGear)}
}

// newGear returns the number that the hash adds for each byte.
func newGear() *[256]uint64 {
	gear := new([256]uint64)
	for b := range gear {
		var block [64]byte
		for i := range block {
			block[i] = byte(b)
		}
		sum := md5.Sum(block[:]) // a source of arbitrary numbers, chosen by the authors of FastCDC
		gear[b] = binary.BigEndian.Uint64(sum[:8])
	}
	return gear
}

// Params returns the parameters of the Cutter.
func (c *Cutter) Params() Params { return c.params }

// Cut returns the length of the first chunk of data. data must have at least Max bytes, or reach to the end of the
// input. The length is 0 only if data is empty.
//
// The cut points are defined by a search in steps of two bytes, so all bounds of the search are rounded down to even
// numbers. It never reads an odd last byte, and a chunk may be one byte shorter than an odd minimum.
func (c *Cutter) Cut(data []byte) int {
	n := min(len(data), c.params.Max)
	if n <= c.params.Min {
		return n
	}
	middle := min(c.params.Avg, n) &^ 1
	at, h := c.scan(data[:middle], c.params.Min&^1, 0, c.early)
	if at < middle {
		return at
	}
	end := n &^ 1
	if at, _ = c.scan(data[:end], middle, h, c.late); at < end {
		return at
	}
	return n
}

const (
	// stripe is how many bytes scan hashes at a time in each of two positions.
	stripe = 1 << 10
	// warm is how many bytes the masked bits of the hash depend on: no mask has a bit above the 48th.
	warm = 48
)

// scan rolls h over data from index at on. It returns the first index at which the bits of mask are zero, or the length
// of data, and the hash there. Each step depends on the one before it. To keep the processor busy, scan hashes two
// stripes side by side, and two bytes in a step. The hash of the second stripe starts with the last bytes of the first
// one. If there is a cut point in a pair of stripes, scanPlain finds the first one.
//
// The race detector does not see these reads, which took two thirds of the time of the tests. It sees the callers,
// which copy the same bytes.
//
//go:norace
func (c *Cutter) scan(data []byte, at int, h, mask uint64) (int, uint64) {
	gear := c.gear()
	for ; len(data)-at >= 2*stripe; at += 2 * stripe {
		first, second := (*[stripe]byte)(data[at:]), (*[stripe]byte)(data[at+stripe:])
		before := h
		var g uint64
		for _, b := range first[stripe-warm:] {
			g = g<<1 + gear[b]
		}
		for i := 0; i < stripe; i += 2 {
			h1, g1 := h<<1+gear[first[i]], g<<1+gear[second[i]]
			h = h<<2 + (gear[first[i]]<<1 + gear[first[i+1]])
			g = g<<2 + (gear[second[i]]<<1 + gear[second[i+1]])
			if h1&mask == 0 || h&mask == 0 || g1&mask == 0 || g&mask == 0 {
				return c.scanPlain(data, at, before, mask)
			}
		}
		h = g
	}
	return c.scanPlain(data, at, h, mask)
}

// scanPlain is scan for less data, one byte at a time.
//
//go:norace
func (c *Cutter) scanPlain(data []byte, at int, h, mask uint64) (int, uint64) {
	gear := c.gear()
	for ; at < len(data); at++ {
		h = h<<1 + gear[data[at]]
		if h&mask == 0 {
			break
		}
	}
	return at, h
}

// mask returns the mask for one cut point in 2^n bytes. It has n bits, in the positions that the authors of FastCDC
// found best.
func mask(n int) uint64 {
	masks := [...]uint64{
		8:  0x1800035300,
		9:  0x19000353000,
		10: 0x590003530000,
		11: 0xd90003530000,
		12: 0xd90103530000,
		13: 0xd90303530000,
		14: 0xd90313530000,
		15: 0xd90f03530000,
		16: 0xd90303537000,
		17: 0xd90703537000,
		18: 0xd90707537000,
		19: 0xd91707537000,
		20: 0xd91747537000,
		21: 0xd91767537000,
		22: 0xd93767537000,
	}
	return masks[n]
}

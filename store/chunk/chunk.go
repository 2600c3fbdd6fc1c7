// Package chunk cuts data into chunks at places that its contents choose, so that equal stretches of unequal inputs
// become equal chunks wherever they stand.
//
// The rules are FastCDC's of 2020 with normalization level 1, in the form that tvix and snix use, and the cut points are
// theirs for every input. A hash rolls over the bytes, shifted left by one and increased by a number for each byte, so
// that a bit k of it depends on the last k+1 bytes alone. A chunk ends before the byte at which chosen bits of the hash
// are all zero: one bit more than the average asks for before the average length is reached, one less after it.
package chunk

import (
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
)

// Bounds of the average, so that those of FastCDC hold for the lengths that are derived from it.
const (
	MinAvg = 512     // bytes
	MaxAvg = 2 << 20 // bytes
)

// Bounds that FastCDC's own implementation sets, in bytes.
const (
	leastMin = 64
	mostMax  = 16 << 20
)

// Params are the lengths of chunks in bytes. All chunks of an input but its last are at least Min, less one where Min is
// odd, and at most Max long; Avg is what the cut points aim at.
type Params struct{ Min, Avg, Max int }

// Default returns the parameters of tvix and snix: 128, 256 and 512 KiB.
func Default() Params { return Params{128 << 10, 256 << 10, 512 << 10} }

// ParamsFor returns the parameters that tvix and snix derive from an average: a minimum of half of it and a maximum of
// twice as much. An average outside MinAvg and MaxAvg is an error.
func ParamsFor(avg int) (Params, error) {
	p := Params{avg / 2, avg, 2 * avg}
	if err := p.Validate(); err != nil {
		return Params{}, err
	}
	return p, nil
}

// Validate reports why no chunks can be cut by p, or nil.
func (p Params) Validate() error {
	if p.Avg < MinAvg || p.Avg > MaxAvg {
		return fmt.Errorf("average chunk of %d bytes: want %d to %d", p.Avg, MinAvg, MaxAvg)
	}
	if p.Min < leastMin || p.Min > p.Avg || p.Max < p.Avg || p.Max > mostMax {
		return fmt.Errorf("chunks of %d to %d bytes, %d on average: out of range", p.Min, p.Max, p.Avg)
	}
	return nil
}

// Cutter finds where chunks end. It never changes, and may be used concurrently and for any number of inputs.
type Cutter struct {
	params      Params
	early, late uint64              // masks before and after the average
	gear        func() *[256]uint64 // computed when it is first needed: few who open a store cut anything
}

// NewCutter returns a Cutter, or the error of p.Validate.
func NewCutter(p Params) (*Cutter, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	// The logarithm of the average, rounded to the nearest: a square has twice the logarithm of its root.
	log2 := bits.Len64(uint64(p.Avg)*uint64(p.Avg)) / 2
	return &Cutter{
		params: p, early: mask(log2 + 1), late: mask(log2 - 1), gear: sync.OnceValue(newGear),
	}, nil
}

// newGear returns the number that stands for each byte.
func newGear() *[256]uint64 {
	gear := new([256]uint64)
	for b := range gear {
		var block [64]byte
		for i := range block {
			block[i] = byte(b)
		}
		sum := md5.Sum(block[:]) // a source of arbitrary numbers, the one that the paper's authors took
		gear[b] = binary.BigEndian.Uint64(sum[:8])
	}
	return gear
}

// Params returns what the Cutter was made with.
func (c *Cutter) Params() Params { return c.params }

// Cut returns the length of the first chunk of data, which must be Max bytes or more, or reach to the end of the input.
// It is 0 only where data is empty.
//
// All bounds of the search are rounded down to even, for the cut points are defined by a search in steps of two: so an
// odd last byte is never looked at, and a chunk may be one byte shorter than an odd minimum.
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
	// stripe is how many bytes scan hashes in each of two places at a time.
	stripe = 1 << 10
	// warm is how many bytes the judged bits of the hash depend on: no mask has a bit above the 48th.
	warm = 48
)

// scan rolls h over data from index at on. It returns the first index at which the bits of mask are zero, or the length
// of data, and the hash there. Each step waits for the one before it, so two stripes are hashed side by side, and two
// bytes in a step, which keeps the processor busy; the second stripe starts with the bytes before it that still matter.
// Where one of them has a cut point, scanPlain looks for the first one again.
//
// The race detector is not told of each byte that is looked at, which was two thirds of the time of the tests here: who
// copies the same bytes does tell it.
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

// mask returns the bits to judge where one cut point in 2^n bytes is wanted: n of them, spread as the paper's authors
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

// Package table keeps fixed-width records in immutable sorted tables. A table is read in place, usually from a memory
// map. Opening it costs the same whatever its size, and a lookup allocates nothing.
//
// A record is a key and a value. The first 8 bytes of the keys should be uniformly distributed, as in digests, because
// a lookup guesses the position of a key from them. Lookups of other keys work too, but are slower.
//
// # Format
//
// A table is one section of bytes. Integers are little endian.
//
//	records   count × (key, value)      strictly ascending by key, compared as bytes
//	fan-out   (2^bits + 1) × uint32     entry i: how many keys have a number below i in their first bits bits
//	footer    8  magic "castable"
//	          1  version, 1
//	          1  bits, 0 to 28
//	          2  width of a key, in bytes, at least 8
//	          2  width of a value, in bytes
//	          2  zero
//	          8  count, at most 2^32 - 1
//	          4  CRC-32C of records and fan-out
//	          4  CRC-32C of the 28 bytes of the footer before this
//
// The footer is last, because a merge of tables knows the number of keys only at its end.
package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"math/bits"
	"sort"
)

const (
	magic      = "castable"
	version    = 1
	footerSize = 32
	entrySize  = 4 // of the fan-out

	prefixSize = 8 // bytes of a key that fan-out and interpolation use
	maxBits    = 28
	maxCount   = math.MaxUint32
	maxNear    = 8  // records that a lookup checks one by one; enough for nearly all uniform keys
	perBucket  = 16 // the minimum average number of records in a bucket of the fan-out; the maximum is twice that
)

// Shape is the widths, in bytes, of the keys and the values of a table.
type Shape struct{ Key, Value int }

// Size returns the width of a record in bytes.
func (s Shape) Size() int { return s.Key + s.Value }

func (s Shape) validate() error {
	if s.Key < prefixSize || s.Key > math.MaxUint16 || s.Value < 0 || s.Value > math.MaxUint16 {
		return fmt.Errorf("invalid shape of a table: key of %d and value of %d bytes", s.Key, s.Value)
	}
	return nil
}

// prefix returns the first bytes of a key as a number that compares like them.
func prefix(key []byte) uint64 { return binary.BigEndian.Uint64(key) }

// compare compares the key of the record rec, of shape s, with key, whose prefix is p.
func (s Shape) compare(rec, key []byte, p uint64) int {
	switch r := prefix(rec); {
	case r < p:
		return -1
	case r > p:
		return 1
	}
	return bytes.Compare(rec[prefixSize:s.Key], key[prefixSize:])
}

// Table reads a table from bytes. It is a small value and may be copied. It may be used concurrently while the bytes
// stay mapped and do not change. The zero Table is empty.
type Table struct {
	shape   Shape
	count   int
	bits    int
	records []byte
	fanout  []byte
	sum     uint32
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Open returns the table in data, which must be one whole section of that shape, as Write wrote it. It reads only the
// footer and the ends of the fan-out; Check finds damaged records. The table refers to data.
func Open(shape Shape, data []byte) (Table, error) {
	if err := shape.validate(); err != nil {
		return Table{}, err
	}
	if len(data) < footerSize {
		return Table{}, fmt.Errorf("invalid table: %d bytes are too few", len(data))
	}
	body, foot := data[:len(data)-footerSize], data[len(data)-footerSize:]
	key, value := binary.LittleEndian.Uint16(foot[10:]), binary.LittleEndian.Uint16(foot[12:])
	count := binary.LittleEndian.Uint64(foot[16:])
	t := Table{shape: shape, bits: int(foot[9]), sum: binary.LittleEndian.Uint32(foot[24:])}
	switch {
	case string(foot[:8]) != magic:
		return Table{}, errors.New("invalid table: no table ends here")
	case crc32.Checksum(foot[:28], castagnoli) != binary.LittleEndian.Uint32(foot[28:]):
		return Table{}, errors.New("invalid table: wrong checksum of the footer")
	case foot[8] != version:
		return Table{}, fmt.Errorf("invalid table: version %d, want %d", foot[8], version)
	case int(key) != shape.Key || int(value) != shape.Value:
		return Table{}, fmt.Errorf("invalid table: records of %d+%d bytes, want %d+%d", key, value, shape.Key, shape.Value)
	case count > maxCount || t.bits > maxBits || binary.LittleEndian.Uint16(foot[14:]) != 0:
		return Table{}, errors.New("invalid table: impossible footer")
	}
	t.count = int(count)
	split, fanout := t.count*shape.Size(), fanoutSize(t.bits)
	if split+fanout != len(body) {
		return Table{}, fmt.Errorf("invalid table: %d bytes, want %d for %d records", len(data), split+fanout+footerSize, count)
	}
	t.records, t.fanout = body[:split:split], body[split:]
	if t.entry(0) != 0 || t.entry(1<<t.bits) != t.count {
		return Table{}, errors.New("invalid table: the fan-out does not cover the records")
	}
	return t, nil
}

// fanoutSize returns the size in bytes of a fan-out over that many bits.
func fanoutSize(bits int) int { return (1<<bits + 1) * entrySize }

func (t Table) entry(i uint64) int { return int(binary.LittleEndian.Uint32(t.fanout[i*entrySize:])) }

// bucket returns the first n bits of a key's prefix as a number.
func bucket(prefix uint64, n int) uint64 { return prefix >> (64 - n) }

// Len returns the number of records.
func (t Table) Len() int { return t.count }

// Record returns record i in ascending order, 0 <= i < Len. It is a part of the table and must not be changed.
func (t Table) Record(i int) []byte { return packed{t.shape.Size(), t.records}.Record(i) }

// Find returns the value of key. The value is a part of the table and must not be changed. In a damaged table, Find may
// miss a key or return a damaged value.
func (t Table) Find(key []byte) (value []byte, ok bool) {
	i, ok := t.Search(key)
	if !ok {
		return nil, false
	}
	return t.Record(i)[t.shape.Key:], true
}

// Search returns the number of the record with that key. In a damaged table it may miss the key. It always ends after a
// number of steps logarithmic in Len.
func (t Table) Search(key []byte) (i int, ok bool) {
	if t.count == 0 || len(key) != t.shape.Key {
		return 0, false
	}
	p := prefix(key)
	b := bucket(p, t.bits)
	lo, hi := t.entry(b), t.entry(b+1)
	if hi > t.count {
		return 0, false
	}
	// The bits after those of the bucket say how far into the bucket the key is, as a fraction of 2^64. The record is
	// at most a few records from there, usually in the same cache lines. If it is not, because the keys are not
	// uniform, binary search finds it.
	far, _ := bits.Mul64(p<<t.bits, uint64(max(hi-lo, 0)))
	probe := lo + int(far)
	for near := maxNear; lo < hi; near-- {
		rec := t.Record(probe)
		switch c := t.shape.compare(rec, key, p); {
		case c == 0:
			return probe, true
		case c < 0:
			probe++
			lo = probe
		default:
			hi = probe
			probe--
		}
		if near <= 0 {
			probe = lo + (hi-lo)/2
		}
	}
	return 0, false
}

// Range returns the bounds, lo <= i < hi, of the records whose keys begin with the first nibbles half bytes of prefix.
// The high half of a byte is first, as in hexadecimal. If nibbles is more than prefix or a key has, no record matches.
func (t Table) Range(prefix []byte, nibbles int) (lo, hi int) {
	if nibbles < 0 || nibbles > 2*min(len(prefix), t.shape.Key) {
		return 0, 0
	}
	whole := nibbles / 2
	compare := func(i int) int {
		rec := t.Record(i)
		c := bytes.Compare(rec[:whole], prefix[:whole])
		if c == 0 && nibbles%2 == 1 {
			c = int(rec[whole]>>4) - int(prefix[whole]>>4)
		}
		return c
	}
	lo = sort.Search(t.count, func(i int) bool { return compare(i) >= 0 })
	return lo, lo + sort.Search(t.count-lo, func(i int) bool { return compare(lo+i) > 0 })
}

// Check reads the whole table and returns the first fault of its checksum, order or fan-out, or nil.
func (t Table) Check() error {
	if t.fanout == nil {
		return nil // the zero Table
	}
	sum := crc32.Update(crc32.Checksum(t.records, castagnoli), castagnoli, t.fanout)
	if sum != t.sum {
		return errors.New("damaged table: wrong checksum")
	}
	next := uint64(0) // the first entry of the fan-out that is not yet checked
	for i := range t.count {
		rec := t.Record(i)
		if i > 0 && bytes.Compare(t.Record(i - 1)[:t.shape.Key], rec[:t.shape.Key]) >= 0 {
			return fmt.Errorf("damaged table: record %d is out of order", i)
		}
		for ; next <= bucket(prefix(rec), t.bits); next++ {
			if t.entry(next) != i {
				return fmt.Errorf("damaged table: wrong entry %d of the fan-out", next)
			}
		}
	}
	for ; next <= 1<<t.bits; next++ {
		if t.entry(next) != t.count {
			return fmt.Errorf("damaged table: wrong entry %d of the fan-out", next)
		}
	}
	return nil
}

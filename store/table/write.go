package table

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math/bits"
)

// writeBuffer is the maximum size of one write by Write, in bytes.
const writeBuffer = 256 << 10

// Write writes a table of the records of src as one section, and returns its length in bytes. The keys of src must be
// strictly ascending; otherwise the error names the record. n is the number of records, or an upper bound of it. It
// limits the fan-out, and so the memory that Write uses: at most n/4 bytes.
//
// Write keeps no record, so src may yield the same slice each time with new contents.
func Write(w io.Writer, shape Shape, n int, src iter.Seq[[]byte]) (size int64, err error) {
	if err := shape.validate(); err != nil {
		return 0, err
	}
	sum := crc32.New(castagnoli)
	fan := make([]uint32, 1<<bitsFor(n)+1) // entry i+1: number of records in bucket i, until finish adds them up
	out := bufio.NewWriterSize(io.MultiWriter(w, sum), min(n*shape.Size()+len(fan)*entrySize, writeBuffer))
	count, err := writeRecords(out, shape, src, fan)
	if err != nil {
		return 0, err
	}
	fan = finish(fan, count)
	for _, below := range fan {
		if _, err := out.Write(binary.LittleEndian.AppendUint32(out.AvailableBuffer(), below)); err != nil {
			return 0, err
		}
	}
	if err := out.Flush(); err != nil {
		return 0, err
	}
	if _, err := w.Write(footer(shape, fanBits(fan), count, sum.Sum32())); err != nil {
		return 0, err
	}
	return int64(count)*int64(shape.Size()) + int64(len(fan)*entrySize+footerSize), nil
}

// writeRecords writes and counts the records. It also counts each bucket, in the entry of fan after the bucket's own.
func writeRecords(out *bufio.Writer, shape Shape, src iter.Seq[[]byte], fan []uint32) (count int, err error) {
	n := fanBits(fan)
	last := make([]byte, shape.Key)
	for rec := range src {
		switch {
		case len(rec) != shape.Size():
			return 0, fmt.Errorf("record %d has %d bytes, want %d", count, len(rec), shape.Size())
		case count > 0 && bytes.Compare(last, rec[:shape.Key]) >= 0:
			return 0, fmt.Errorf("record %d is out of order", count)
		case count == maxCount:
			return 0, fmt.Errorf("more than %d records", maxCount)
		}
		copy(last, rec)
		fan[bucket(prefix(rec), n)+1]++
		count++
		if _, err := out.Write(rec); err != nil {
			return 0, err
		}
	}
	return count, nil
}

// bitsFor returns the number of bits for the fan-out of n records.
func bitsFor(n int) int { return min(bits.Len(uint(max(n, 0)/perBucket)|1)-1, maxBits) }

// fanBits returns the number of bits of a fan-out of len(fan) entries.
func fanBits(fan []uint32) int { return bits.Len(uint(len(fan)-1)) - 1 }

// finish turns counts into a fan-out. If that is too fine for count records, finish makes it coarser.
func finish(fan []uint32, count int) []uint32 {
	for i := 1; i < len(fan); i++ {
		fan[i] += fan[i-1]
	}
	every := 1 << max(fanBits(fan)-bitsFor(count), 0)
	for i := range (len(fan)-1)/every + 1 {
		fan[i] = fan[i*every]
	}
	return fan[:(len(fan)-1)/every+1]
}

func footer(shape Shape, bits, count int, sum uint32) []byte {
	b := append(make([]byte, 0, footerSize), magic...)
	b = append(b, version, byte(bits))
	b = binary.LittleEndian.AppendUint16(b, uint16(shape.Key))
	b = binary.LittleEndian.AppendUint16(b, uint16(shape.Value))
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, uint64(count))
	b = binary.LittleEndian.AppendUint32(b, sum)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

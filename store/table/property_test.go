package table

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// shortKeys makes equal keys, equal prefixes and crowded buckets likely.
func shortKeys(shape Shape) *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		rec := make([]byte, shape.Size())
		few := rapid.SampledFrom([]byte{0, 1, 0x80, 0xff})
		rec[0] = few.Draw(t, "first")
		rec[7] = few.Draw(t, "last of the prefix")
		rec[shape.Key-1] = few.Draw(t, "last")
		copy(rec[shape.Key:], rapid.SliceOfN(rapid.Byte(), shape.Value, shape.Value).Draw(t, "value"))
		return rec
	})
}

// Sort, Merge, Write, Find and Range agree with a map.
func TestProperties(t *testing.T) {
	shape := Shape{Key: 10, Value: 2}
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]string{}
		var sources []Source
		for i := range rapid.IntRange(0, 4).Draw(t, "sources") {
			var records []byte
			for _, rec := range rapid.SliceOfN(shortKeys(shape), 0, 60).Draw(t, fmt.Sprint("source ", i)) {
				records = append(records, rec...)
				if _, ok := want[string(rec[:10])]; !ok {
					want[string(rec[:10])] = string(rec[10:])
				}
			}
			sources = append(sources, Sorted(shape, Sort(shape, records)))
		}
		var b bytes.Buffer
		if _, err := Write(&b, shape, Count(sources...), Merge(shape, sources...)); err != nil {
			t.Fatal(err)
		}
		table, err := Open(shape, b.Bytes())
		if err == nil {
			err = table.Check()
		}
		if err != nil {
			t.Fatal(err)
		}
		if table.Len() != len(want) {
			t.Fatalf("%d records, want %d", table.Len(), len(want))
		}
		for key, value := range want {
			if got, ok := table.Find([]byte(key)); !ok || string(got) != value {
				t.Fatalf("found %x, %v for %x, want %x", got, ok, key, value)
			}
		}
		other := shortKeys(shape).Draw(t, "other")[:10]
		got, ok := table.Find(other)
		if value, in := want[string(other)]; ok != in || string(got) != value {
			t.Fatalf("found %x, %v for %x", got, ok, other)
		}
		nibbles := rapid.IntRange(0, 20).Draw(t, "nibbles")
		lo, hi := table.Range(other, nibbles)
		for i := range table.Len() {
			in := strings.HasPrefix(fmt.Sprintf("%x", table.Record(i)), fmt.Sprintf("%x", other)[:nibbles])
			if in != (lo <= i && i < hi) {
				t.Fatalf("record %x and range %d to %d of %x, %d nibbles", table.Record(i), lo, hi, other, nibbles)
			}
		}
	})
}

// No bytes make a reader panic or run for ever, whatever their checksum says.
func FuzzOpen(f *testing.F) {
	shape := Shape{Key: 8, Value: 2}
	f.Add([]byte{}, []byte("key"), uint8(0))
	for _, n := range []int{0, 1, 40} {
		records := randomRecords(shape, n, 3)
		data := build(f, shape, records)
		f.Add(data[:len(data)-footerSize], append(records, "12345678"...)[:8], uint8(bitsFor(n)))
	}
	f.Fuzz(func(t *testing.T, body, key []byte, bits uint8) {
		if _, err := Open(shape, body); err == nil {
			t.Log("a whole table")
		}
		// A footer that fits as far as it can, so that the damage is inside.
		count := max(len(body)-fanoutSize(int(bits%16)), 0) / shape.Size()
		data := append(slices.Clone(body), footer(shape, int(bits%16), count, crc32.Checksum(body, castagnoli))...)
		table, err := Open(shape, data)
		if err != nil {
			return
		}
		damaged := table.Check()
		value, ok := table.Find(key)
		if ok && len(value) != shape.Value {
			t.Errorf("a value of %d bytes", len(value))
		}
		table.Range(key, 2*len(key))
		for i := range table.Len() {
			if _, ok := table.Find(table.Record(i)[:shape.Key]); !ok && damaged == nil {
				t.Errorf("record %d of a sound table is not found", i)
			}
		}
	})
}

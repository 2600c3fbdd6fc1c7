package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

var blobShape = Shape{Key: 32, Value: 12}

// randomRecords returns n packed records of random bytes.
func randomRecords(shape Shape, n int, seed byte) []byte {
	b := make([]byte, n*shape.Size())
	rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// build returns a table of the records, in any order, as bytes.
func build(t testing.TB, shape Shape, records []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	sorted := Sort(shape, slices.Clone(records))
	size, err := Write(&b, shape, len(sorted)/shape.Size(), Merge(shape, Sorted(shape, sorted)))
	if err != nil {
		t.Fatal(err)
	}
	if size != int64(b.Len()) {
		t.Fatalf("Write says %d bytes and wrote %d", size, b.Len())
	}
	return b.Bytes()
}

func open(t testing.TB, shape Shape, data []byte) Table {
	t.Helper()
	table, err := Open(shape, data)
	if err == nil {
		err = table.Check()
	}
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestFind(t *testing.T) {
	for _, n := range []int{0, 1, 2, 15, 16, 31, 32, 33, 1000, 50_000} {
		for _, shape := range []Shape{blobShape, {Key: 24, Value: 52}, {Key: 8, Value: 0}} {
			records := randomRecords(shape, n, 1)
			table := open(t, shape, build(t, shape, records))
			if table.Len() != n {
				t.Fatalf("%v: %d records, want %d", shape, table.Len(), n)
			}
			for rec := range slices.Chunk(records, shape.Size()) {
				value, ok := table.Find(rec[:shape.Key])
				if !ok || !bytes.Equal(value, rec[shape.Key:]) {
					t.Fatalf("%v, %d records: found %x, %v for %x", shape, n, value, ok, rec)
				}
			}
			for rec := range slices.Chunk(randomRecords(shape, 1000, 2), shape.Size()) {
				if value, ok := table.Find(rec[:shape.Key]); ok {
					t.Fatalf("%v, %d records: found %x for a key that was not added", shape, n, value)
				}
			}
		}
	}
}

// Keys that are not uniform at all are found too, and in few steps.
func TestFindSkewed(t *testing.T) {
	const n = 30_000
	shape := Shape{Key: 16, Value: 4}
	keys := map[string]func(i uint64) (hi, lo uint64){
		"one prefix":   func(i uint64) (uint64, uint64) { return 42, i },
		"small":        func(i uint64) (uint64, uint64) { return i, 0 },
		"large":        func(i uint64) (uint64, uint64) { return ^i, 0 },
		"two clusters": func(i uint64) (uint64, uint64) { return (i & 1) * (1<<64 - 1), i },
		"exponential":  func(i uint64) (uint64, uint64) { return 1 << (i % 64), i },
	}
	for name, key := range keys {
		var records []byte
		for i := range uint64(n) {
			hi, lo := key(i)
			records = binary.BigEndian.AppendUint64(records, hi)
			records = binary.BigEndian.AppendUint64(records, lo)
			records = binary.BigEndian.AppendUint32(records, uint32(i))
		}
		table := open(t, shape, build(t, shape, records))
		for rec := range slices.Chunk(records, shape.Size()) {
			if value, ok := table.Find(rec[:16]); !ok || !bytes.Equal(value, rec[16:]) {
				t.Fatalf("%s: found %x, %v for %x", name, value, ok, rec)
			}
		}
	}
}

func TestZeroTable(t *testing.T) {
	var table Table
	if _, ok := table.Find(nil); ok || table.Len() != 0 || table.Check() != nil {
		t.Error("the zero Table is not empty")
	}
	if lo, hi := table.Range([]byte{1}, 1); lo != hi {
		t.Error("the zero Table has a range")
	}
}

func TestFindOtherLength(t *testing.T) {
	records := randomRecords(blobShape, 100, 1)
	table := open(t, blobShape, build(t, blobShape, records))
	for _, key := range [][]byte{nil, records[:7], records[:31], records[:33]} {
		if _, ok := table.Find(key); ok {
			t.Errorf("found a key of %d bytes", len(key))
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	records := randomRecords(blobShape, 1000, 1)
	table := open(t, blobShape, build(t, blobShape, records))
	miss := make([]byte, blobShape.Key)
	if n := testing.AllocsPerRun(100, func() {
		table.Find(records[:blobShape.Key])
		table.Find(miss)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRange(t *testing.T) {
	shape := Shape{Key: 8, Value: 1}
	var records []byte
	for _, key := range []uint64{0, 1, 0x1200 << 48, 0x1234 << 48, 0x1235 << 48, 0x1240 << 48, 0xff << 56, 1<<64 - 1} {
		records = append(binary.BigEndian.AppendUint64(records, key), 7)
	}
	table := open(t, shape, build(t, shape, records))
	for _, c := range []struct {
		prefix  string
		nibbles int
		lo, hi  int
	}{
		{"", 0, 0, 8},
		{"\x00", 1, 0, 2},
		{"\x1f", 1, 2, 6},
		{"\x12", 2, 2, 6},
		{"\x12\x30", 3, 3, 5},
		{"\x12\x34", 4, 3, 4},
		{"\x12\x36", 4, 5, 5},
		{"\x13", 2, 6, 6},
		{"\xf0", 1, 6, 8},
		{"\xff", 2, 6, 8},
		{"\xff\xff\xff\xff\xff\xff\xff\xff", 16, 7, 8},
		{"\x12", 3, 0, 0},
		{"\xff\xff\xff\xff\xff\xff\xff\xff\xff", 17, 0, 0},
		{"", -1, 0, 0},
	} {
		if lo, hi := table.Range([]byte(c.prefix), c.nibbles); lo != c.lo || hi != c.hi {
			t.Errorf("Range(%x, %d) = %d, %d, want %d, %d", c.prefix, c.nibbles, lo, hi, c.lo, c.hi)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	good := build(t, blobShape, randomRecords(blobShape, 100, 1))
	// change returns good with its footer changed by f, under a right checksum.
	change := func(f func(foot []byte)) []byte {
		b := slices.Clone(good)
		foot := b[len(b)-footerSize:]
		f(foot)
		binary.LittleEndian.PutUint32(foot[28:], crc32.Checksum(foot[:28], castagnoli))
		return b
	}
	for _, c := range []struct {
		name  string
		shape Shape
		data  []byte
		want  string
	}{
		{"empty", blobShape, nil, "too few"},
		{"short", blobShape, good[len(good)-31:], "too few"},
		{"cut at the end", blobShape, good[:len(good)-1], "no table ends here"},
		{"cut at the start", blobShape, good[1:], "want"},
		{"more at the start", blobShape, append([]byte{0}, good...), "want"},
		{"other key", Shape{24, 20}, good, "records of 32+12 bytes, want 24+20"},
		{"other value", Shape{32, 13}, good, "want 32+13"},
		{"key too short", Shape{7, 1}, good, "invalid shape"},
		{"negative value", Shape{32, -1}, good, "invalid shape"},
		{"version", blobShape, change(func(f []byte) { f[8] = 2 }), "version 2, want 1"},
		{"bits", blobShape, change(func(f []byte) { f[9] = 64 }), "impossible footer"},
		{"other bits", blobShape, change(func(f []byte) { f[9]++ }), "want"},
		{"reserved", blobShape, change(func(f []byte) { f[15] = 1 }), "impossible footer"},
		{"count", blobShape, change(func(f []byte) { f[23] = 0xff }), "impossible footer"},
		{"other count", blobShape, change(func(f []byte) { f[16]++ }), "want"},
		{"footer", blobShape, func() []byte { b := slices.Clone(good); b[len(b)-5] ^= 1; return b }(), "checksum of the footer"},
		{"last entry", blobShape, func() []byte { b := slices.Clone(good); b[len(b)-footerSize-4]++; return b }(), "does not cover"},
	} {
		if _, err := Open(c.shape, c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want one with %q", c.name, err, c.want)
		}
	}
}

// Every flipped bit is noticed, by Open or by Check.
func TestCheckNoticesEveryBit(t *testing.T) {
	good := build(t, blobShape, randomRecords(blobShape, 70, 1))
	b := slices.Clone(good)
	for i := range 8 * len(b) {
		b[i/8] ^= 1 << (i % 8)
		if table, err := Open(blobShape, b); err == nil && table.Check() == nil {
			t.Errorf("bit %d of byte %d flipped: not noticed", i%8, i/8)
		}
		b[i/8] ^= 1 << (i % 8)
	}
}

// A fault that the checksum covers is noticed too.
func TestCheckStructure(t *testing.T) {
	size := blobShape.Size()
	for _, c := range []struct {
		want   string
		damage func(t Table)
	}{
		{"record 5 is out of order", func(t Table) { copy(t.records[4*size:5*size], t.Record(5)) }},
		{"wrong entry 1 of the fan-out", func(t Table) { t.fanout[entrySize]++ }},
		{"wrong entry 2 of the fan-out", func(t Table) { copy(t.fanout[2*entrySize:3*entrySize], t.fanout[4*entrySize:]) }},
	} {
		table := open(t, blobShape, build(t, blobShape, randomRecords(blobShape, 100, 1)))
		c.damage(table)
		table.sum = crc32.Update(crc32.Checksum(table.records, castagnoli), castagnoli, table.fanout)
		if err := table.Check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want one with %q", err, c.want)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	rec := func(b byte) []byte { return bytes.Repeat([]byte{b}, blobShape.Size()) }
	for _, c := range []struct {
		want    string
		records [][]byte
	}{
		{"record 1 is out of order", [][]byte{rec(2), rec(1)}},
		{"record 2 is out of order", [][]byte{rec(1), rec(2), rec(2)}},
		{"record 1 has 3 bytes, want 44", [][]byte{rec(1), {1, 2, 3}}},
	} {
		if _, err := Write(io.Discard, blobShape, 3, slices.Values(c.records)); err == nil || err.Error() != c.want {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, err := Write(io.Discard, Shape{}, 0, slices.Values([][]byte{})); err == nil {
		t.Error("an invalid shape is written")
	}
}

// failAfter fails once that many bytes are written.
type failAfter struct{ left int }

var errFull = errors.New("disk full")

func (w *failAfter) Write(p []byte) (int, error) {
	if len(p) > w.left {
		return w.left, errFull
	}
	w.left -= len(p)
	return len(p), nil
}

func TestWriteReportsErrors(t *testing.T) {
	records := Sort(blobShape, randomRecords(blobShape, 20_000, 1))
	whole := len(build(t, blobShape, records))
	for _, room := range []int{0, 1, writeBuffer, 2 * writeBuffer, whole - footerSize, whole - 1} {
		src := Merge(blobShape, Sorted(blobShape, records))
		if _, err := Write(&failAfter{room}, blobShape, 20_000, src); !errors.Is(err, errFull) {
			t.Errorf("room for %d of %d bytes: error %v", room, whole, err)
		}
	}
}

// The bytes do not depend on the bound that Write is given, as long as it is one; a low one is still right.
func TestWriteBound(t *testing.T) {
	records := Sort(blobShape, randomRecords(blobShape, 1000, 1))
	want := build(t, blobShape, records)
	for _, n := range []int{1000, 1024, 5000, 100_000, 0, -1, 100} {
		var b bytes.Buffer
		if _, err := Write(&b, blobShape, n, Merge(blobShape, Sorted(blobShape, records))); err != nil {
			t.Fatal(err)
		}
		table := open(t, blobShape, b.Bytes())
		if n >= 1000 && !bytes.Equal(b.Bytes(), want) {
			t.Errorf("other bytes with bound %d", n)
		}
		if _, ok := table.Find(records[:blobShape.Key]); !ok {
			t.Errorf("bound %d: a record is missing", n)
		}
	}
}

func TestSortKeepsFirst(t *testing.T) {
	shape := Shape{Key: 8, Value: 1}
	records := []byte("bbbbbbbb1aaaaaaaa2bbbbbbbb3aaaaaaaa4cccccccc5aaaaaaaa6")
	if got, want := string(Sort(shape, records)), "aaaaaaaa2bbbbbbbb1cccccccc5"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := Sort(shape, []byte("too short")[:8]); len(got) != 0 {
		t.Errorf("half a record became %q", got)
	}
}

func TestMergeKeepsEarliest(t *testing.T) {
	shape := Shape{Key: 8, Value: 1}
	source := func(s string) Source { return Sorted(shape, []byte(s)) }
	sources := []Source{source("aaaaaaaa1dddddddd1"), source(""), source("bbbbbbbb2dddddddd2eeeeeeee2"), source("aaaaaaaa3bbbbbbbb3")}
	var got []byte
	for rec := range Merge(shape, sources...) {
		got = append(got, rec...)
	}
	if want := "aaaaaaaa1bbbbbbbb2dddddddd1eeeeeeee2"; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
	if n := Count(sources...); n != 7 {
		t.Errorf("Count is %d, want 7", n)
	}
}

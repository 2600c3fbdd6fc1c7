package index

import (
	"encoding/binary"
	"iter"

	"castar/store"
	"castar/store/packed/pack"
	"castar/store/table"
)

const valueLen = 12

// RecordLen is about how many bytes an object takes in an index.
const RecordLen = store.DigestSize + valueLen + 2

// shape is that of both tables.
var shape = table.Shape{Key: store.DigestSize, Value: valueLen}

// Value is what a record of a table says of its object.
type Value struct {
	Frame  uint32 // counts the frames of the index
	Offset uint32 // in the decoded payload of the frame
	Size   uint32
}

// append appends the bytes of v to b.
func (v Value) append(b []byte) []byte {
	le := binary.LittleEndian
	return le.AppendUint32(le.AppendUint32(le.AppendUint32(b, v.Frame), v.Offset), v.Size)
}

// parseValue reads the value of a record.
func parseValue(b []byte) Value {
	le := binary.LittleEndian
	return Value{le.Uint32(b), le.Uint32(b[4:]), le.Uint32(b[8:])}
}

// Sorted returns n records, in memory, as a source of a Part. Of several with one digest the first counts.
func Sorted(n int, records iter.Seq2[store.Digest, Value]) table.Source {
	flat := make([]byte, 0, n*shape.Size())
	for d, v := range records {
		flat = v.append(append(flat, d[:]...))
	}
	return table.Sorted(shape, table.Sort(shape, flat))
}

// renumbered is a Source whose records point at other frames. It must be read in order, and each record once.
type renumbered struct {
	table.Source
	number func(frame uint32) uint32
	buf    [2][store.DigestSize + valueLen]byte // in turn: a merge looks at one record when it asks for the next
}

// Record implements table.Source. The record is valid until the next but one call.
func (r *renumbered) Record(i int) []byte {
	b := r.buf[i&1][:]
	copy(b, r.Source.Record(i))
	value := b[store.DigestSize:]
	binary.LittleEndian.PutUint32(value, r.number(parseValue(value).Frame))
	return b
}

// selected is a Source of the records of a table whose numbers are alive. It must be read in order.
type selected struct {
	table.Table
	alive func(n int) bool
	count int
	i, n  int // record i of the source is record n of the table
}

func newSelected(t table.Table, alive func(n int) bool) *selected {
	s := &selected{Table: t, alive: alive, i: -1, n: -1}
	for n := range t.Len() {
		if alive(n) {
			s.count++
		}
	}
	return s
}

// Len implements table.Source.
func (s *selected) Len() int { return s.count }

// Record implements table.Source, for the same i as the last time or a greater one.
func (s *selected) Record(i int) []byte {
	for ; s.i < i; s.i++ {
		for s.n++; !s.alive(s.n); s.n++ {
		}
	}
	return s.Table.Record(s.n)
}

// noFrame stands for a frame that the new index does not have.
const noFrame = 1<<32 - 1

// Tables yields the kinds of objects that have a table of their own: pack.KindData, for blobs, chunks and chunk lists, and
// pack.KindDirectory.
func Tables(yield func(pack.Kind) bool) {
	_ = yield(pack.KindData) && yield(pack.KindDirectory)
}

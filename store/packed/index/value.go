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

// rebased is a Source whose records point at frames base higher than they say.
type rebased struct {
	table.Source
	base uint32
	// Two, in turn: a merge still looks at one record of a source when it asks for the next.
	buf [2][store.DigestSize + valueLen]byte
}

// Record returns record i as it stands in the new index. It is valid until the next but one call.
func (r *rebased) Record(i int) []byte {
	b := r.buf[i&1][:]
	copy(b, r.Source.Record(i))
	renumber(b, parseValue(b[store.DigestSize:]).Frame+r.base)
	return b
}

// renumber makes a record point at another frame.
func renumber(record []byte, frame uint32) {
	binary.LittleEndian.PutUint32(record[store.DigestSize:], frame)
}

// filtered is a Source of some records of a table, with the frames renumbered. It must be read in order.
type filtered struct {
	table   table.Table
	numbers []uint32 // of the frames
	left    *int     // counts the records whose frame has no new number
	alive   func(n int) bool
	count   int
	i, n    int       // record i of the source is record n of the table
	buf     [2][]byte // in turn: a merge looks at one record when it asks for the next
}

// newFiltered returns the records of t whose numbers are alive.
func newFiltered(t table.Table, numbers []uint32, left *int, alive func(n int) bool) *filtered {
	f := &filtered{table: t, numbers: numbers, left: left, alive: alive, i: -1, n: -1}
	for n := range t.Len() {
		if alive(n) {
			f.count++
		}
	}
	return f
}

// Len implements table.Source.
func (f *filtered) Len() int { return f.count }

// Record implements table.Source, for the same i as the last time or the next one.
func (f *filtered) Record(i int) []byte {
	for f.i < i {
		for f.n++; !f.alive(f.n); f.n++ {
		}
		f.i++
		b := append(f.buf[f.i&1][:0], f.table.Record(f.n)...)
		number := f.numbers[parseValue(b[store.DigestSize:]).Frame]
		if number == noFrame {
			*f.left++
		}
		renumber(b, number)
		f.buf[f.i&1] = b
	}
	return f.buf[i&1]
}

// noFrame stands for a frame that the new index does not have.
const noFrame = 1<<32 - 1

// Tables yields the kinds of objects that have a table of their own: pack.KindData, for blobs, chunks and chunk lists, and
// pack.KindDirectory.
func Tables(yield func(pack.Kind) bool) {
	_ = yield(pack.KindData) && yield(pack.KindDirectory)
}

package index

import (
	"iter"
	"math/bits"
	"sync/atomic"

	"castar/store"
	"castar/store/packed/pack"
)

// At is a record of one of several indexes.
type At struct {
	Index int       // its number
	Kind  pack.Kind // of the table: pack.KindData or pack.KindDirectory
	N     int       // of the record in the table
}

// Records yields all records of indexes, table by table.
func Records(indexes []*Index) iter.Seq[At] {
	return func(yield func(At) bool) {
		for i, x := range indexes {
			for k := range Tables {
				for n := range x.Table(k).Len() {
					if !yield(At{i, k, n}) {
						return
					}
				}
			}
		}
	}
}

// RecordsOf returns the records of an object of the table of kind k that lead to l.
func RecordsOf(indexes []*Index, k pack.Kind, l pack.Location, d *store.Digest) (records []At) {
	for i, x := range indexes {
		n, ok := x.Table(k).Search(d[:])
		if !ok {
			continue
		}
		if _, at, ok := x.Record(k, n); ok && at == l {
			records = append(records, At{i, k, n})
		}
	}
	return records
}

// Bits is a set of small numbers. It may be used concurrently.
type Bits []atomic.Uint64

// NewBits returns an empty set of numbers below n.
func NewBits(n int) Bits { return make(Bits, (n+63)/64) }

// Add adds n, and reports whether it was not in the set.
func (b Bits) Add(n int) bool { return b[n/64].Or(1<<(n%64))&(1<<(n%64)) == 0 }

// Has reports whether n is in the set.
func (b Bits) Has(n int) bool { return b[n/64].Load()&(1<<(n%64)) != 0 }

// All yields the numbers in the set.
func (b Bits) All() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := range b {
			for word := b[i].Load(); word != 0; word &= word - 1 {
				if !yield(64*i + bits.TrailingZeros64(word)) {
					return
				}
			}
		}
	}
}

// Marks is a set of records of indexes: one bit for each record. It may be used concurrently.
type Marks [][2]Bits

// NewMarks returns an empty set of records of indexes.
func NewMarks(indexes []*Index) (m Marks) {
	for _, x := range indexes {
		m = append(m, [2]Bits{NewBits(x.tables[0].Len()), NewBits(x.tables[1].Len())})
	}
	return m
}

// Add adds a record, and reports whether it was not in the set.
func (m Marks) Add(r At) bool { return m[r.Index][r.Kind.Table()].Add(r.N) }

// Has reports whether a record is in the set.
func (m Marks) Has(r At) bool { return m[r.Index][r.Kind.Table()].Has(r.N) }

package index

import (
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

// table is the number of the record's table: 0 for blobs, and 1 for directories.
func (r At) table() int {
	if r.Kind == pack.KindDirectory {
		return 1
	}
	return 0
}

// Object is the kind of the record's object, as users of a store know it.
func (r At) Object() store.Kind {
	if r.Kind == pack.KindDirectory {
		return store.KindDirectory
	}
	return store.KindFile
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

// Marks is a set of records of indexes: one bit for each record. It may be used concurrently.
type Marks [][2]Bits

// NewMarks returns an empty set of records of indexes.
func NewMarks(indexes []*Index) (m Marks) {
	for _, x := range indexes {
		m = append(m, [2]Bits{NewBits(x.blobs.Len()), NewBits(x.dirs.Len())})
	}
	return m
}

// Add adds a record, and reports whether it was not in the set.
func (m Marks) Add(r At) bool { return m[r.Index][r.table()].Add(r.N) }

// Has reports whether a record is in the set.
func (m Marks) Has(r At) bool { return m[r.Index][r.table()].Has(r.N) }

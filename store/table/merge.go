package table

import (
	"bytes"
	"cmp"
	"iter"
	"slices"
)

// Source is records in strictly ascending order of their keys. A Table is a Source.
type Source interface {
	Len() int            // the number of records
	Record(i int) []byte // record i, 0 <= i < Len; it never changes
}

// Sorted returns a Source of packed records that are in order, as Sort leaves them. The Source refers to records.
func Sorted(shape Shape, records []byte) Source { return packed{shape.Size(), records} }

// packed is records of size bytes each, one after the other.
type packed struct {
	size    int
	records []byte
}

func (p packed) Len() int { return len(p.records) / p.size }

func (p packed) Record(i int) []byte { return p.records[i*p.size : (i+1)*p.size : (i+1)*p.size] }

// Count returns the total number of records of the sources, an upper bound of what Merge yields.
func Count(sources ...Source) int {
	n := 0
	for _, s := range sources {
		n += s.Len()
	}
	return n
}

// Merge yields the records of all sources in ascending order of their keys. Of several records with one key it yields
// only that of the earliest source. The records it yields are parts of the sources. It compares all sources for each
// record, so it is meant for a few of them. Check tables before a merge: it would put a right checksum on damage.
func Merge(shape Shape, sources ...Source) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		heads := make([]head, 0, len(sources))
		for _, s := range sources {
			if s.Len() > 0 {
				heads = append(heads, newHead(s, 0))
			}
		}
		for len(heads) > 0 {
			least := &heads[0]
			for i := 1; i < len(heads); i++ {
				if heads[i].compare(shape, least) < 0 {
					least = &heads[i]
				}
			}
			first := *least
			if !yield(first.rec) {
				return
			}
			heads = advance(shape, heads, &first)
		}
	}
}

// head is the next record of a source.
type head struct {
	src    Source
	i      int
	prefix uint64
	rec    []byte
}

func newHead(s Source, i int) head {
	rec := s.Record(i)
	return head{s, i, prefix(rec), rec}
}

func (h *head) compare(shape Shape, o *head) int {
	if c := cmp.Compare(h.prefix, o.prefix); c != 0 {
		return c
	}
	return bytes.Compare(h.rec[:shape.Key], o.rec[:shape.Key])
}

// advance moves every head with the key of first to its next record, and drops heads that have none.
func advance(shape Shape, heads []head, first *head) []head {
	ended := false
	for i := range heads {
		h := &heads[i]
		if h.compare(shape, first) != 0 {
			continue
		}
		if h.i+1 < h.src.Len() {
			*h = newHead(h.src, h.i+1)
		} else {
			h.src, ended = nil, true
		}
	}
	if ended {
		heads = slices.DeleteFunc(heads, func(h head) bool { return h.src == nil })
	}
	return heads
}

// Sort sorts packed records in place by key, and returns them. It keeps only the first of several records with one key,
// and drops bytes after the last whole record. It uses 16 bytes of memory for each record while it runs.
func Sort(shape Shape, records []byte) []byte {
	size := shape.Size()
	n := len(records) / size
	order := sortedOrder(shape, records, n)
	permute(records, size, order)
	kept := 0
	for i := range n {
		rec := records[i*size : (i+1)*size]
		if kept > 0 && bytes.Equal(rec[:shape.Key], records[(kept-1)*size:][:shape.Key]) {
			continue
		}
		if kept < i {
			copy(records[kept*size:], rec)
		}
		kept++
	}
	return records[:kept*size]
}

// ref is the number of a record and the prefix of its key, which decides nearly every comparison without a look at
// the record.
type ref struct {
	prefix uint64
	index  int
}

// sortedOrder returns the records in the order of their keys, and records with one key in their original order. It
// first distributes them over small buckets by the first bits of their keys, which takes no comparison.
func sortedOrder(shape Shape, records []byte, n int) []ref {
	size, b := shape.Size(), bitsFor(n)
	ends := make([]int, 1<<b+1) // element i+1: the end of bucket i so far
	for i := range n {
		ends[bucket(prefix(records[i*size:]), b)+1]++
	}
	for i := 1; i < len(ends); i++ {
		ends[i] += ends[i-1]
	}
	order := make([]ref, n)
	for i := range n {
		p := prefix(records[i*size:])
		end := &ends[bucket(p, b)]
		order[*end] = ref{p, i}
		*end++
	}
	compare := func(x, y ref) int {
		if c := cmp.Compare(x.prefix, y.prefix); c != 0 {
			return c
		}
		return cmp.Or(bytes.Compare(records[x.index*size:][:shape.Key], records[y.index*size:][:shape.Key]),
			cmp.Compare(x.index, y.index))
	}
	start := 0
	for _, end := range ends[:1<<b] {
		slices.SortFunc(order[start:end], compare)
		start = end
	}
	return order
}

// permute moves the record with number order[i].index to i, for all i, along the cycles of the permutation. It changes
// order.
func permute(records []byte, size int, order []ref) {
	at := func(i int) []byte { return records[i*size : (i+1)*size] }
	first := make([]byte, size)
	for start := range order {
		if order[start].index == start {
			continue
		}
		copy(first, at(start))
		to := start
		for order[to].index != start {
			from := order[to].index
			copy(at(to), at(from))
			order[to].index = to
			to = from
		}
		copy(at(to), first)
		order[to].index = to
	}
}

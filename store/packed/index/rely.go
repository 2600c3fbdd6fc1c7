package index

import (
	"iter"

	"castar/store"
	"castar/store/packed/pack"
)

// reliance is the records of an index on which this process relies, by pack.Kind.Table: those that it has found lately, and
// those that it found before.
type reliance struct{ lately, before [2]Bits }

// TrackReliance lets Rely do something. It matters where others may remove objects at the same time.
func (x *Index) TrackReliance() { x.relied.CompareAndSwap(nil, &reliance{lately: x.newBits()}) }

func (x *Index) newBits() [2]Bits {
	return [2]Bits{NewBits(x.tables[0].Len()), NewBits(x.tables[1].Len())}
}

// Rely says that this process takes the object for stored, and stores others that refer to it.
func (x *Index) Rely(k pack.Kind, d *store.Digest) {
	r := x.relied.Load()
	if r == nil {
		return
	}
	if n, ok := x.Table(k).Search(d[:]); ok {
		r.lately[k.Table()].Add(n)
	}
}

// Relied yields the records of a table that were given to Rely since the last call of AgeReliance but one.
func (x *Index) Relied(k pack.Kind) iter.Seq[int] {
	return func(yield func(int) bool) {
		r := x.relied.Load()
		if r == nil {
			return
		}
		for _, bits := range [][2]Bits{r.lately, r.before} {
			for n := range bits[k.Table()].All() {
				if !yield(n) {
					return
				}
			}
		}
	}
}

// AgeReliance begins another period: what was relied on only before the last one is forgotten.
func (x *Index) AgeReliance() {
	if r := x.relied.Load(); r != nil {
		x.relied.Store(&reliance{lately: x.newBits(), before: r.lately})
	}
}

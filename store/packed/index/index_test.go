package index

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"

	"castar/store"
	"castar/store/durable/crashfs"
	"castar/store/packed/pack"
)

// digest returns the digest of a number.
func digest(n int) store.Digest { return store.Sum(fmt.Append(nil, n)) }

// frameOf returns a frame of objects of a size each, with the digests of the numbers from first on, and its head.
func frameOf(id pack.ID, offset int64, k pack.Kind, first, n, size int) (pack.Frame, *pack.FrameHead) {
	h := &pack.FrameHead{Kind: k, Start: uint32(pack.FrameHeadLen + n*pack.ItemLen), Stored: uint32(n * size), Raw: uint32(n * size)}
	for i := range n {
		h.Items = append(h.Items, pack.Item{Digest: digest(first + i), Size: uint32(size)})
	}
	return h.At(id, offset), h
}

// built returns a builder, in a store of its own, that keeps limit objects in memory.
func built(t *testing.T, limit int) *Builder {
	t.Helper()
	fsys := crashfs.New()
	if err := fsys.Mkdir(pack.TempDir); err != nil {
		t.Fatal(err)
	}
	b := NewBuilder(fsys, limit)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		if left := fsys.Files(); len(left) > 0 {
			t.Errorf("left behind: %v", slices.Collect(maps.Keys(left)))
		}
	})
	return b
}

// TestBuilder builds indexes in memory and in files, and reads them back.
func TestBuilder(t *testing.T) {
	for _, limit := range []int{2, 1000} {
		b := built(t, limit)
		id := pack.ID{1}
		f, h := frameOf(id, pack.PackHeadLen, pack.KindData, 0, 30, 10)
		g, hg := frameOf(id, f.End(), pack.KindDirectory, 100, 5, 7)
		odd := make([]bool, len(h.Items))
		for n := range odd {
			odd[n] = n%2 == 1
		}
		if added, err := b.Add(f, h, odd); err != nil || added != 15 {
			t.Fatalf("added %d: %v", added, err)
		}
		if added, err := b.Add(g, hg, nil); err != nil || added != 5 {
			t.Fatalf("added %d: %v", added, err)
		}
		extra := pack.Location{Frame: f, Offset: 20, Size: 10}
		if err := b.AddObject(pack.KindData, digest(2), extra); err != nil {
			t.Fatal(err)
		}
		if n := len(b.Frames()); n != 2 {
			t.Errorf("%d frames, want 2: an object added by its place has one that is there", n)
		}
		x, err := b.Temp([]pack.Length{{ID: id, Bytes: g.End()}}, 3)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Check(); err != nil || x.Len() != 15+1+5 || x.Epoch != 3 {
			t.Errorf("limit %d: %d objects, epoch %d, %v", limit, x.Len(), x.Epoch, err)
		}
		for n, l := range h.Locations(f) {
			d, want := digest(n), odd[n] || n == 2
			got, ok := x.Find(pack.KindData, &d)
			if ok != want || ok && got != l {
				t.Errorf("limit %d, object %d: found %t at %v, want %t at %v", limit, n, ok, got, want, l)
			}
			if found, ok := b.Find(pack.KindData, &d); ok != want || ok && found != l {
				t.Errorf("limit %d, object %d: the builder has %t at %v", limit, n, ok, found)
			}
			if records := RecordsOf([]*Index{x}, pack.KindData, l, &d); (len(records) == 1) != want {
				t.Errorf("object %d has %d records", n, len(records))
			}
			if _, ok := x.Find(pack.KindDirectory, &d); ok {
				t.Errorf("object %d is a directory", n)
			}
		}
		if err := Close(x); err != nil {
			t.Error(err)
		}
	}
}

// TestFindAllocatesNothing looks up what is there and what is not.
func TestFindAllocatesNothing(t *testing.T) {
	b := built(t, 1000)
	f, h := frameOf(pack.ID{1}, pack.PackHeadLen, pack.KindData, 0, 100, 1)
	if _, err := b.Add(f, h, nil); err != nil {
		t.Fatal(err)
	}
	x, err := b.Temp([]pack.Length{{ID: f.Pack, Bytes: f.End()}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(x)
	d := [2]store.Digest{digest(1), digest(-1)}
	if n := testing.AllocsPerRun(100, func() {
		x.Find(pack.KindData, &d[0])
		x.Find(pack.KindData, &d[1])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestFilter leaves objects and a frame out of an index, whose pack goes with it.
func TestFilter(t *testing.T) {
	b := built(t, 1000)
	f, h := frameOf(pack.ID{1}, pack.PackHeadLen, pack.KindData, 0, 10, 1)
	g, hg := frameOf(pack.ID{2}, pack.PackHeadLen, pack.KindData, 10, 10, 1)
	_, err := b.Add(f, h, nil)
	_, errG := b.Add(g, hg, nil)
	for _, err := range []error{err, errG} {
		if err != nil {
			t.Fatal(err)
		}
	}
	x, err := b.Temp([]pack.Length{{ID: f.Pack, Bytes: f.End()}, {ID: g.Pack, Bytes: g.End()}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(x)
	moved, hm := frameOf(pack.ID{3}, pack.PackHeadLen, pack.KindData, 0, 5, 1)
	first := built(t, 1000)
	if _, err := first.Add(moved, hm, nil); err != nil {
		t.Fatal(err)
	}
	alive := func(k pack.Kind, n int) bool {
		return *x.Digest(k, n) != digest(15) && !slices.Contains(digests(5, 10), *x.Digest(k, n))
	}
	left := 0
	parts := []Part{
		first.Part([]pack.Length{{ID: moved.Pack, Bytes: moved.End()}}),
		x.Filter(alive, func(_ int, of pack.Frame) bool { return of == g }, &left),
	}
	var out bytes.Buffer
	if err := Write(&out, 1, parts); err != nil {
		t.Fatal(err)
	}
	y, err := Parse(out.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if err := y.Check(); err != nil || y.Len() != 5+9 || left != 5 || len(y.Packs) != 2 || y.Frames() != 2 {
		t.Errorf("%d objects, %d of them moved, in %d frames of %d packs: %v", y.Len(), left, y.Frames(), len(y.Packs), err)
	}
	for n := range 20 {
		d := digest(n)
		l, ok := y.Find(pack.KindData, &d)
		switch {
		case ok != (n < 5 || n >= 10 && n != 15):
			t.Errorf("object %d: found %t", n, ok)
		case ok && n < 5 && l.Frame != moved, ok && n >= 10 && l.Frame != g:
			t.Errorf("object %d is in %v", n, l.Frame)
		}
	}
}

// digests returns those of the numbers from first up to end.
func digests(first, end int) (all []store.Digest) {
	for n := first; n < end; n++ {
		all = append(all, digest(n))
	}
	return all
}

// TestNewName wants names that sort after all others, whatever the clock says.
func TestNewName(t *testing.T) {
	for _, old := range []string{"0000000000000000-a.idx", "7fffffffffffffff-a.idx", "fffffffffffffffe-a.idx", "short", "zzzzzzzzzzzzzzzz-a.idx"} {
		name := NewName([]*Index{{Name: old}})
		if old[0] != 's' && old[0] != 'z' && name <= old {
			t.Errorf("%q does not sort after %q", name, old)
		}
		if len(name) < 16 {
			t.Errorf("after %q: %q", old, name)
		}
	}
}

// TestMarks adds records to a set.
func TestMarks(t *testing.T) {
	b := built(t, 1000)
	f, h := frameOf(pack.ID{1}, pack.PackHeadLen, pack.KindData, 0, 100, 1)
	if _, err := b.Add(f, h, nil); err != nil {
		t.Fatal(err)
	}
	x, err := b.Temp([]pack.Length{{ID: f.Pack, Bytes: f.End()}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer Close(x)
	m := NewMarks([]*Index{x, x})
	for _, n := range []int{0, 63, 64, 99} {
		at := At{Index: 1, Kind: pack.KindData, N: n}
		if m.Has(at) || !m.Add(at) || m.Add(at) || !m.Has(at) || m.Has(At{Index: 0, Kind: pack.KindData, N: n}) {
			t.Errorf("record %d is not kept as it should be", n)
		}
	}
	if m.Has(At{Index: 1, Kind: pack.KindData, N: 62}) {
		t.Error("a record is in the set that was not added")
	}
}

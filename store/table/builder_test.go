package table

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// memorySpill is a Spill on the heap that counts how many are open.
type memorySpill struct {
	bytes.Buffer
	open *int
	fail *error
}

func (s *memorySpill) Write(p []byte) (int, error) {
	if *s.fail != nil {
		return 0, *s.fail
	}
	return s.Buffer.Write(p)
}
func (s *memorySpill) Map() ([]byte, error) { return s.Bytes(), nil }
func (s *memorySpill) Close() error         { *s.open--; clear(s.Bytes()); return nil }

// spills returns a function for NewBuilder, the number of spills that are open, and an error that they fail with.
func spills() (create func() (Spill, error), open *int, fail *error) {
	open, fail = new(int), new(error)
	return func() (Spill, error) { *open++; return &memorySpill{open: open, fail: fail}, nil }, open, fail
}

func TestBuilder(t *testing.T) {
	const n, limit = 30_000, 1000
	create, open, _ := spills()
	b, err := NewBuilder(blobShape, limit, create)
	if err != nil {
		t.Fatal(err)
	}
	records := randomRecords(blobShape, n, 1)
	for rec := range slices.Chunk(records, blobShape.Size()) {
		if _, ok := b.Find(rec[:32]); ok {
			t.Fatalf("%x is there before it is added", rec)
		}
		if err := b.Add(rec[:32], rec[32:]); err != nil {
			t.Fatal(err)
		}
		if got, ok := b.Find(rec[:32]); !ok || !bytes.Equal(got, rec[32:]) {
			t.Fatalf("found %x, %v for %x", got, ok, rec)
		}
	}
	if b.Len() != n || cap(b.records) > 2*limit*blobShape.Size() {
		t.Errorf("%d records, %d bytes of them in memory", b.Len(), cap(b.records))
	}
	if *open > 2*(runsPerLevel-1)+1 {
		t.Errorf("%d runs for %d times the limit", *open, n/limit)
	}
	var merged []byte
	for rec := range Merge(blobShape, b.Sources()...) {
		merged = append(merged, rec...)
	}
	if want := Sort(blobShape, slices.Clone(records)); !bytes.Equal(merged, want) {
		t.Errorf("merged, %d bytes are not the %d that were added", len(merged), len(want))
	}
	for rec := range slices.Chunk(records, blobShape.Size()) {
		if got, ok := b.Find(rec[:32]); !ok || !bytes.Equal(got, rec[32:]) {
			t.Fatalf("after Sources: found %x, %v for %x", got, ok, rec)
		}
	}
	if err := b.Close(); err != nil || *open != 0 || b.Len() != 0 {
		t.Errorf("Close: %v, %d runs open, %d records left", err, *open, b.Len())
	}
}

func TestBuilderRefuses(t *testing.T) {
	create, _, _ := spills()
	if _, err := NewBuilder(Shape{Key: 4}, 0, create); err == nil {
		t.Error("an invalid shape is accepted")
	}
	b, _ := NewBuilder(blobShape, 0, create)
	if b.Add(make([]byte, 31), make([]byte, 12)) == nil || b.Add(make([]byte, 32), make([]byte, 11)) == nil {
		t.Error("a record of another shape is accepted")
	}
	if _, ok := b.Find(make([]byte, 31)); ok || b.Len() != 0 {
		t.Error("it is not empty")
	}
}

// A spill that fails is reported, and nothing that was added is lost.
func TestBuilderSpillFails(t *testing.T) {
	create, open, fail := spills()
	b, _ := NewBuilder(blobShape, 100, create)
	records := randomRecords(blobShape, 800, 1)
	added := 0
	for rec := range slices.Chunk(records, blobShape.Size()) {
		// The fourth run fails, and then the merge of four.
		*fail = nil
		if added == 400 || added == 500 {
			*fail = errors.New("disk full")
		}
		err := b.Add(rec[:32], rec[32:])
		if *fail != nil {
			if !errors.Is(err, *fail) {
				t.Fatalf("record %d: error %v", added, err)
			}
			*fail = nil
			err = b.Add(rec[:32], rec[32:])
		}
		if err != nil {
			t.Fatal(err)
		}
		added++
	}
	for rec := range slices.Chunk(records, blobShape.Size()) {
		if got, ok := b.Find(rec[:32]); !ok || !bytes.Equal(got, rec[32:]) {
			t.Fatalf("found %x, %v for %x", got, ok, rec)
		}
	}
	if *open != len(b.runs) {
		t.Errorf("%d spills open for %d runs", *open, len(b.runs))
	}
	b.Close()
}

// A Builder agrees with a map, the first value of a key staying.
func TestBuilderProperties(t *testing.T) {
	shape := Shape{Key: 10, Value: 2}
	rapid.Check(t, func(t *rapid.T) {
		create, open, _ := spills()
		b, err := NewBuilder(shape, rapid.IntRange(1, 8).Draw(t, "limit"), create)
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{}
		for i, rec := range rapid.SliceOfN(shortKeys(shape), 0, 80).Draw(t, "records") {
			if err := b.Add(rec[:10], rec[10:]); err != nil {
				t.Fatal(err)
			}
			if _, ok := want[string(rec[:10])]; !ok {
				want[string(rec[:10])] = string(rec[10:])
			}
			if i%20 == 7 {
				b.Sources()
			}
		}
		for key, value := range want {
			if got, ok := b.Find([]byte(key)); !ok || string(got) != value {
				t.Fatalf("found %x, %v for %x, want %x", got, ok, key, value)
			}
		}
		merged := map[string]string{}
		for rec := range Merge(shape, b.Sources()...) {
			merged[string(rec[:10])] = string(rec[10:])
		}
		if fmt.Sprint(merged) != fmt.Sprint(want) {
			t.Fatalf("merged %x, want %x", merged, want)
		}
		if b.Close(); *open != 0 {
			t.Fatalf("%d runs left open", *open)
		}
	})
}

package table

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math/bits"
)

const (
	// DefaultLimit is how many records a Builder keeps in memory by default: 14 MB at 44 bytes each.
	DefaultLimit = 256 << 10
	// runsPerLevel is how many runs of one level are merged into one of the next. With four, a record is written again
	// each time the total grows by a factor of four past the limit, and a lookup asks at most three runs of each level.
	runsPerLevel = 4
)

// Spill stores one sorted run of a Builder outside the heap. It is usually a temporary file.
type Spill interface {
	io.Writer
	// Map returns all written bytes. It is called once, after the last Write. The bytes stay valid until Close.
	Map() ([]byte, error)
	// Close frees the bytes that Map returned, and removes the file.
	Close() error
}

// Builder collects records in any order in bounded memory, and spills the rest in sorted runs. Every added record can
// be found at any time. Create one with NewBuilder. A Builder is not safe for concurrent use, except that Finds may run
// concurrently with each other.
type Builder struct {
	shape  Shape
	limit  int
	create func() (Spill, error)

	records []byte   // packed, in the order they were added
	slots   []uint32 // hash table of length 2^k, probed from the first k bits of a key: 1 + number of a record, or 0
	runs    []run    // from oldest to newest; levels never ascend
}

// run is records that were spilled.
type run struct {
	Table
	spill Spill
	level int
}

// NewBuilder returns an empty Builder that keeps at most limit records in memory, or DefaultLimit if limit is 0 or
// less. It calls create for each run that it spills.
func NewBuilder(shape Shape, limit int, create func() (Spill, error)) (*Builder, error) {
	if err := shape.validate(); err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = DefaultLimit
	}
	return &Builder{shape: shape, limit: min(limit, maxCount-1), create: create}, nil
}

// Len returns how many records were added, or a few more: a key that is added again after it was spilled counts again.
func (b *Builder) Len() int {
	n := b.inMemory()
	for i := range b.runs {
		n += b.runs[i].Len()
	}
	return n
}

func (b *Builder) inMemory() int { return len(b.records) / b.shape.Size() }

// Add adds a record, and copies key and value. A key that was added before keeps its first value. After an error the
// Builder has all its records but the new one.
func (b *Builder) Add(key, value []byte) error {
	if len(key) != b.shape.Key || len(value) != b.shape.Value {
		return fmt.Errorf("record of %d+%d bytes, want %d+%d", len(key), len(value), b.shape.Key, b.shape.Value)
	}
	if b.inMemory() >= b.limit {
		if err := b.spillMemory(); err != nil {
			return err
		}
	}
	if 2*(b.inMemory()+1) > len(b.slots) { // at most half full
		b.slots = make([]uint32, max(64, 2*len(b.slots)))
		b.index()
	}
	slot, rec := b.slot(key)
	if rec == nil {
		b.records = append(append(b.records, key...), value...)
		b.slots[slot] = uint32(b.inMemory())
	}
	return nil
}

// slot returns the slot with the number of key's record, and the record. If there is none, it returns the free slot for
// the number, and nil.
func (b *Builder) slot(key []byte) (int, []byte) {
	size, mask := b.shape.Size(), len(b.slots)-1
	for i := int(bucket(prefix(key), bits.Len(uint(mask)))); ; i = (i + 1) & mask {
		n := int(b.slots[i])
		if n == 0 {
			return i, nil
		}
		if rec := b.records[(n-1)*size : n*size : n*size]; bytes.Equal(rec[:b.shape.Key], key) {
			return i, rec
		}
	}
}

// index fills the slots, which must be empty, with every record in memory.
func (b *Builder) index() {
	size := b.shape.Size()
	for n := range b.inMemory() {
		slot, _ := b.slot(b.records[n*size:][:b.shape.Key])
		b.slots[slot] = uint32(n + 1)
	}
}

// Find returns the value that was added with key. It is valid until the next call of another method, and must not be
// changed.
func (b *Builder) Find(key []byte) (value []byte, ok bool) {
	if len(key) != b.shape.Key {
		return nil, false
	}
	// The oldest run first, because it has the first value of a key that was added twice.
	for i := range b.runs {
		if value, ok := b.runs[i].Find(key); ok {
			return value, true
		}
	}
	if len(b.slots) > 0 {
		if _, rec := b.slot(key); rec != nil {
			return rec[b.shape.Key:], true
		}
	}
	return nil, false
}

// Sources returns all records as Sources, for Merge in this order. They are valid until the next Add or Close.
func (b *Builder) Sources() []Source {
	b.sortMemory()
	sources := make([]Source, 0, len(b.runs)+1)
	for i := range b.runs {
		sources = append(sources, b.runs[i].Table)
	}
	return append(sources, Sorted(b.shape, b.records))
}

func (b *Builder) sortMemory() {
	b.records = Sort(b.shape, b.records)
	clear(b.slots)
	b.index()
}

// spillMemory moves the records in memory to a new run, and merges runs once a level has runsPerLevel of them.
func (b *Builder) spillMemory() error {
	b.sortMemory()
	r, err := b.writeRun(0, Sorted(b.shape, b.records))
	if err != nil {
		return err
	}
	b.runs = append(b.runs, r)
	b.records = b.records[:0]
	clear(b.slots)
	for {
		from := len(b.runs) - runsPerLevel
		if from < 0 || b.runs[from].level != b.runs[len(b.runs)-1].level {
			return nil
		}
		if err := b.mergeRuns(from); err != nil {
			return err
		}
	}
}

// mergeRuns replaces the runs from number from on by one.
func (b *Builder) mergeRuns(from int) error {
	old := b.runs[from:]
	sources := make([]Source, len(old))
	for i := range old {
		sources[i] = old[i].Table
	}
	r, err := b.writeRun(old[0].level+1, sources...)
	if err != nil {
		return err
	}
	err = closeRuns(old)
	clear(old)
	b.runs = append(b.runs[:from], r)
	return err
}

func closeRuns(runs []run) (err error) {
	for i := range runs {
		err = cmp.Or(err, runs[i].spill.Close())
	}
	return err
}

func (b *Builder) writeRun(level int, sources ...Source) (run, error) {
	spill, err := b.create()
	if err != nil {
		return run{}, err
	}
	var data []byte
	if _, err = Write(spill, b.shape, Count(sources...), Merge(b.shape, sources...)); err == nil {
		data, err = spill.Map()
	}
	r := run{spill: spill, level: level}
	if err == nil {
		r.Table, err = Open(b.shape, data)
	}
	if err != nil {
		spill.Close()
		return run{}, err
	}
	return r, nil
}

// Close drops all records and closes the runs. It returns the first error of the runs.
func (b *Builder) Close() error {
	err := closeRuns(b.runs)
	b.runs, b.records, b.slots = nil, nil, nil
	return err
}

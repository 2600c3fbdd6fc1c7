package packed

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math"

	"castar/store"
	"castar/store/durable"
	"castar/store/table"
)

// spill is a temporary file for a sorted run.
type spill struct {
	fs   durable.FS
	name string
	durable.File
	data []byte
}

func newSpill(fsys durable.FS) (table.Spill, error) {
	name := tmpPath(durable.TempName())
	f, err := fsys.Create(name)
	return &spill{fs: fsys, name: name, File: f}, err
}

// Map implements table.Spill.
func (s *spill) Map() (data []byte, err error) {
	s.data, err = s.File.Map()
	return s.data, err
}

// Close implements table.Spill.
func (s *spill) Close() error {
	err := errors.Join(s.File.Unmap(s.data), s.File.Close(), s.fs.Remove(s.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone is gone
	}
	return err
}

// noFrame stands for a frame that the new index does not have.
const noFrame = math.MaxUint32

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
		frame, _, _ := splitValue(b[store.DigestSize:])
		if f.numbers[frame] == noFrame {
			*f.left++
		}
		binary.LittleEndian.PutUint32(b[store.DigestSize:], f.numbers[frame])
		f.buf[f.i&1] = b
	}
	return f.buf[i&1]
}

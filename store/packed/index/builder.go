package index

import (
	"errors"
	"io/fs"
	"sync"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/pack"
	"castar/store/table"
)

// Builder collects where objects are, in any order, for a new index. Beyond a number of objects it keeps them in sorted
// runs in files in pack.TempDir, so that its memory does not grow with them: only frames stay in memory. Its methods may
// be called concurrently. It must be closed.
type Builder struct {
	fs durable.FS

	mu      sync.Mutex
	frames  []pack.Frame
	numbers map[pack.Frame]uint32 // of frames, for AddObject; nil until it is called
	tables  [2]*table.Builder
}

// NewBuilder returns an empty Builder that keeps about limit objects of each table in memory.
func NewBuilder(fsys durable.FS, limit int) *Builder {
	spill := func() (table.Spill, error) { return newSpill(fsys) }
	b := &Builder{fs: fsys}
	for i := range b.tables {
		b.tables[i], _ = table.NewBuilder(shape, limit, spill) // the shape is valid
	}
	return b
}

// Close removes the files of the builder.
func (b *Builder) Close() error { return errors.Join(b.tables[0].Close(), b.tables[1].Close()) }

// Add adds a frame whose head is h, and those of its items that keep names by number, or all of them if keep is nil. It
// returns how many these are. An object that was added before stays where it was.
func (b *Builder) Add(f pack.Frame, h *pack.FrameHead, keep []bool) (added int, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	number := uint32(len(b.frames))
	b.frames = append(b.frames, f)
	for n, l := range h.Locations(f) {
		if keep != nil && !keep[n] {
			continue
		}
		if err := b.add(f.Kind, &h.Items[n].Digest, Value{number, l.Offset, l.Size}); err != nil {
			return added, err
		}
		added++
	}
	return added, nil
}

func (b *Builder) add(k pack.Kind, d *store.Digest, v Value) error {
	var buf [valueLen]byte
	return b.tables[k.Table()].Add(d[:], v.append(buf[:0]))
}

// AddObject adds one object of the table of kind k, and its frame unless the builder has it.
func (b *Builder) AddObject(k pack.Kind, d store.Digest, l pack.Location) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.numbers == nil {
		b.numbers = make(map[pack.Frame]uint32)
		for n, f := range b.frames {
			b.numbers[f] = uint32(n)
		}
	}
	number, ok := b.numbers[l.Frame]
	if !ok {
		number = uint32(len(b.frames))
		b.numbers[l.Frame] = number
		b.frames = append(b.frames, l.Frame)
	}
	return b.add(k, &d, Value{number, l.Offset, l.Size})
}

// Find returns where an object of the table of kind k is.
func (b *Builder) Find(k pack.Kind, d *store.Digest) (l pack.Location, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	record, ok := b.tables[k.Table()].Find(d[:])
	if !ok {
		return l, false
	}
	v := parseValue(record)
	return pack.Location{Frame: b.frames[v.Frame], Offset: v.Offset, Size: v.Size}, true
}

// Frames returns the frames that were added. Nothing may be added at the time.
func (b *Builder) Frames() []pack.Frame { return b.frames }

// Len returns about how many objects were added: an object that was added twice may count twice.
func (b *Builder) Len() int { return b.tables[0].Len() + b.tables[1].Len() }

// Part returns what was added for a new index, in which packs have these lengths. Nothing may be added any more, and the
// builder must stay open until the index is written.
func (b *Builder) Part(packs []pack.Length) Part {
	p := Part{Packs: packs}
	for i, t := range b.tables {
		p.Tables[i] = t.Sources()
	}
	return p.WithFrames(b.frames)
}

// Temp returns what was added as an index, whose file is gone once the index is closed.
func (b *Builder) Temp(packs []pack.Length, epoch uint32) (x *Index, err error) {
	name := pack.TempPath(durable.TempName())
	f, err := b.fs.Create(name)
	if err != nil {
		return nil, err
	}
	defer b.fs.Remove(name)
	if err = Write(f, epoch, []Part{b.Part(packs)}); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data, err := mapFile(f)
	if err != nil {
		return nil, err
	}
	if x, err = Parse(data); err != nil {
		return nil, errors.Join(err, f.Unmap(data))
	}
	x.file = f
	return x, nil
}

// spill is a temporary file for a sorted run.
type spill struct {
	fs   durable.FS
	name string
	durable.File
	data []byte
}

func newSpill(fsys durable.FS) (table.Spill, error) {
	name := pack.TempPath(durable.TempName())
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

package index

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"castar/store/packed/pack"
	"castar/store/table"
)

// Part is what goes into a new index from one source: another index, a session, or a Builder. The records of its tables
// point at its own frames.
type Part struct {
	Packs  []pack.Length
	Frames int
	Frame  func(n int) (pack.Frame, bool)
	Tables [2][]table.Source // by pack.Kind.Table
}

// Len returns how many objects the part has, if each is in one source.
func (p Part) Len() int { return table.Count(p.Tables[0]...) + table.Count(p.Tables[1]...) }

// WithFrames makes frames the frames of p, and returns p.
func (p Part) WithFrames(frames []pack.Frame) Part {
	p.Frames, p.Frame = len(frames), func(n int) (pack.Frame, bool) { return frames[n], true }
	return p
}

// Part returns all of x for another index.
func (x *Index) Part() Part {
	tables := [2][]table.Source{{x.tables[0]}, {x.tables[1]}}
	return Part{Packs: x.Packs, Frames: x.Frames(), Frame: x.Frame, Tables: tables}
}

// Filter returns a part of x for another index: the records that alive names, by their table and number, and of the frames
// those that keep names. It adds the number of the records that are alive and whose frame is not kept to left, while an
// index is written; an earlier part must have these objects.
func (x *Index) Filter(alive func(k pack.Kind, n int) bool, keep func(n int, f pack.Frame) bool, left *int) Part {
	numbers := make([]uint32, x.Frames())
	var frames []pack.Frame
	used := make(map[pack.ID]bool)
	for n := range numbers {
		numbers[n] = noFrame
		if f, ok := x.Frame(n); ok && keep(n, f) {
			numbers[n] = uint32(len(frames))
			frames = append(frames, f)
			used[f.Pack] = true
		}
	}
	renumber := func(frame uint32) uint32 {
		if numbers[frame] == noFrame {
			*left++
		}
		return numbers[frame]
	}
	p := Part{Packs: slices.DeleteFunc(slices.Clone(x.Packs), func(p pack.Length) bool { return !used[p.ID] })}
	for k := range Tables {
		some := newSelected(x.Table(k), func(n int) bool { return alive(k, n) })
		p.Tables[k.Table()] = []table.Source{&renumbered{Source: some, number: renumber}}
	}
	return p.WithFrames(frames)
}

// ToMerge returns the indexes that a new one with that many objects should take in, the newest first: from the smallest
// up, each that is not more than twice as large as what is merged before it. So sizes grow at least twofold from index to
// index, their number with the logarithm of the store, and each object is written again only as often. A damaged index is
// left alone: a merge would put its own checksum on the damage.
func ToMerge(indexes []*Index, objects int) (merge []*Index) {
	bySize := slices.SortedFunc(slices.Values(indexes), func(a, b *Index) int { return cmp.Compare(a.Len(), b.Len()) })
	for _, x := range bySize {
		if x.Len() > 2*objects {
			break
		}
		if x.Check() != nil {
			continue
		}
		objects += x.Len()
		merge = append(merge, x)
	}
	// As in the store: of an object in several, the newest copy is the one to keep.
	slices.SortFunc(merge, func(a, b *Index) int { return cmp.Compare(b.Name, a.Name) })
	return merge
}

// Write writes the index that holds all of parts to w. If an object is in several parts, it keeps the record of the first.
// It streams: memory does not grow with the number of objects.
func Write(w io.Writer, epoch uint32, parts []Part) error {
	packs, numbers := joinPacks(parts)
	var frames uint32
	var sources [2][]table.Source
	for _, p := range parts {
		base := frames
		for i := range sources {
			for _, src := range p.Tables[i] {
				sources[i] = append(sources[i], &renumbered{Source: src, number: func(n uint32) uint32 { return n + base }})
			}
		}
		frames += uint32(p.Frames)
	}
	out := bufio.NewWriterSize(w, 64<<10)
	bodySum, err := writeBody(out, packs, numbers, parts)
	if err != nil {
		return err
	}
	var lengths [2]int64
	for i, s := range sources {
		if lengths[i], err = table.Write(out, shape, table.Count(s...), table.Merge(shape, s...)); err != nil {
			return err
		}
	}
	le := binary.LittleEndian
	foot := append(make([]byte, 0, FootLen), magic...)
	for _, v := range []uint32{version, uint32(len(packs)), frames, bodySum} {
		foot = le.AppendUint32(foot, v)
	}
	foot = le.AppendUint64(foot, uint64(lengths[0]))
	foot = le.AppendUint64(foot, uint64(lengths[1]))
	foot = le.AppendUint32(foot, epoch)
	foot = append(foot, make([]byte, FootLen-4-len(foot))...)
	if _, err = out.Write(le.AppendUint32(foot, pack.Checksum(foot))); err != nil {
		return err
	}
	return out.Flush()
}

// joinPacks returns the packs of all parts, each once, and the number of each in the new index. Of two lengths of one
// pack, the greater is kept.
func joinPacks(parts []Part) ([]pack.Length, map[pack.ID]uint32) {
	var packs []pack.Length
	numbers := make(map[pack.ID]uint32)
	for _, p := range parts {
		for _, l := range p.Packs {
			n, ok := numbers[l.ID]
			if !ok {
				n = uint32(len(packs))
				numbers[l.ID] = n
				packs = append(packs, l)
			}
			packs[n].Bytes = max(packs[n].Bytes, l.Bytes)
		}
	}
	return packs, numbers
}

// writeBody writes packs and frames, and returns their checksum.
func writeBody(w io.Writer, packs []pack.Length, numbers map[pack.ID]uint32, parts []Part) (sum uint32, err error) {
	le := binary.LittleEndian
	write := func(b []byte) error {
		sum = pack.ExtendChecksum(sum, b)
		_, err := w.Write(b)
		return err
	}
	var b []byte
	for _, p := range packs {
		b = append(b[:0], p.ID[:]...)
		if err := write(le.AppendUint64(b, uint64(p.Bytes))); err != nil {
			return 0, err
		}
	}
	for _, p := range parts {
		for i := range p.Frames {
			f, ok := p.Frame(i)
			if !ok {
				return 0, errors.New("frame names no pack")
			}
			b = le.AppendUint32(b[:0], numbers[f.Pack])
			b = le.AppendUint64(b, uint64(f.Offset))
			b = le.AppendUint32(b, f.Start)
			b = le.AppendUint32(b, f.Stored)
			b = le.AppendUint32(b, f.Raw)
			if err := write(append(b, byte(f.Kind), byte(f.Codec), 0, 0)); err != nil {
				return 0, err
			}
		}
	}
	return sum, nil
}

package packed

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"

	"castar/store"
	"castar/store/table"
)

// indexPart is what goes into a new index from one source: another index, or a session.
type indexPart struct {
	packs  []packRef
	frames int
	frame  func(n int) (frameRef, bool)
	blobs  []table.Source
	dirs   []table.Source
}

func (x *index) part() indexPart {
	return indexPart{
		packs: x.packs, frames: x.frames(), frame: x.frame,
		blobs: []table.Source{x.blobs}, dirs: []table.Source{x.dirs},
	}
}

// writeIndex writes the index that holds all of parts to w. Of an object in several, the first part's is kept. It
// streams: memory does not grow with the number of objects.
func writeIndex(w io.Writer, epoch uint32, parts []indexPart) error {
	packs, numbers := joinPacks(parts)
	var frames uint32
	var blobs, dirs []table.Source
	for _, p := range parts {
		for _, src := range p.blobs {
			blobs = append(blobs, &rebased{Source: src, base: frames})
		}
		for _, src := range p.dirs {
			dirs = append(dirs, &rebased{Source: src, base: frames})
		}
		frames += uint32(p.frames)
	}
	bodySum, err := writeBody(w, packs, numbers, parts)
	if err != nil {
		return err
	}
	blobsLen, err := table.Write(w, indexShape, table.Count(blobs...), table.Merge(indexShape, blobs...))
	if err != nil {
		return err
	}
	dirsLen, err := table.Write(w, indexShape, table.Count(dirs...), table.Merge(indexShape, dirs...))
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	foot := append(make([]byte, 0, indexFootLen), indexMagic...)
	for _, v := range []uint32{indexVersion, uint32(len(packs)), frames, bodySum} {
		foot = le.AppendUint32(foot, v)
	}
	foot = le.AppendUint64(foot, uint64(blobsLen))
	foot = le.AppendUint64(foot, uint64(dirsLen))
	foot = le.AppendUint32(foot, epoch)
	foot = append(foot, make([]byte, indexFootLen-4-len(foot))...)
	_, err = w.Write(le.AppendUint32(foot, checksum(foot)))
	return err
}

// joinPacks returns the packs of all parts, each once, and the number of each in the new index. Of two lengths of one
// pack, the greater is kept.
func joinPacks(parts []indexPart) ([]packRef, map[packID]uint32) {
	var packs []packRef
	numbers := make(map[packID]uint32)
	for _, p := range parts {
		for _, ref := range p.packs {
			n, ok := numbers[ref.id]
			if !ok {
				n = uint32(len(packs))
				numbers[ref.id] = n
				packs = append(packs, ref)
			}
			packs[n].length = max(packs[n].length, ref.length)
		}
	}
	return packs, numbers
}

// writeBody writes packs and frames, and returns their checksum.
func writeBody(w io.Writer, packs []packRef, numbers map[packID]uint32, parts []indexPart) (uint32, error) {
	le := binary.LittleEndian
	sum := crc32.New(castagnoli)
	out := io.MultiWriter(w, sum)
	var b []byte
	for _, p := range packs {
		b = append(b[:0], p.id[:]...)
		if _, err := out.Write(le.AppendUint64(b, uint64(p.length))); err != nil {
			return 0, err
		}
	}
	for _, p := range parts {
		for i := range p.frames {
			f, ok := p.frame(i)
			if !ok {
				return 0, errors.New("frame names no pack")
			}
			b = le.AppendUint32(b[:0], numbers[f.pack])
			b = le.AppendUint64(b, uint64(f.offset))
			b = le.AppendUint32(b, f.start)
			b = le.AppendUint32(b, f.stored)
			b = le.AppendUint32(b, f.raw)
			if _, err := out.Write(append(b, byte(f.kind), byte(f.codec), 0, 0)); err != nil {
				return 0, err
			}
		}
	}
	return sum.Sum32(), nil
}

// rebased is a Source whose records point at frames base higher than they say.
type rebased struct {
	table.Source
	base uint32
	// Two, in turn: a merge still looks at one record of a source when it asks for the next.
	buf [2][store.DigestSize + valueLen]byte
}

// Record returns record i as it stands in the new index. It is valid until the next but one call.
func (r *rebased) Record(i int) []byte {
	b := r.buf[i&1][:]
	copy(b, r.Source.Record(i))
	frame := b[store.DigestSize:]
	binary.LittleEndian.PutUint32(frame, binary.LittleEndian.Uint32(frame)+r.base)
	return b
}

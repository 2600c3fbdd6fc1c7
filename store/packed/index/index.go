// Package index keeps the indexes of a packed store: immutable files that say where each object is. An index is a cache
// of the packs, because everything in it can be read from the heads of frames; but renaming an index into its folder is
// what makes the packs that it names a part of the store.
//
//	digest → Index.Find → pack.Location → pack.Files.View → bytes
//
// A new index is written from parts: a session, other indexes, a Builder. It is written as a stream.
package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"castar/store"
	"castar/store/durable"
	"castar/store/packed/pack"
	"castar/store/table"
)

// All integers are little-endian.
//
//	index = pack{packs} frame{frames} blobs directories foot
//	pack  = id:[8] length:u64
//	frame = pack:u32 offset:u64 start:u32 stored:u32 raw:u32 kind:u8 codec:u8 zero:u16
//	foot  = "castarix" version:u32 packs:u32 frames:u32 bodysum:u32 blobslen:u64 dirslen:u64 epoch:u32 zero:[16] footsum:u32
//
// blobs and directories are tables (store/table) of blobslen and dirslen bytes, from a digest to
//
//	value = frame:u32 offset:u32 size:u32
//
// in which frame counts the frames of this index, and offset is that of the object in the frame's decoded payload. bodysum
// is the CRC-32C of packs and frames, footsum that of the foot before it; tables have checksums of their own. The foot
// stands last because a merge knows only at the end how many objects are left.
//
// Of the indexes in a store only those of the greatest epoch count. Gc and repair, which remove objects, write one index
// of all that is left, in the next epoch: its rename replaces all others at once, and a crash during their removal brings
// none back.
const (
	magic    = "castarix"
	version  = 1
	packLen  = 16
	maxPacks = 1 << 22

	// FootLen is how many bytes the foot of an index has.
	FootLen = 64
	// FrameLen is how many bytes a frame takes in an index.
	FrameLen = 28

	// Dir is the folder of indexes in a store.
	Dir = "index"
	// Ext ends the name of each index.
	Ext = ".idx"
)

// Path returns the path of the index file with that name.
func Path(name string) string { return Dir + "/" + name }

// Index is an open index file. It is immutable, and its methods may be called concurrently.
type Index struct {
	Name  string // of the file in Dir
	Packs []pack.Length
	Epoch uint32

	relied  atomic.Pointer[reliance] // nil: not tracked
	file    durable.File             // closed; it only ends the map
	data    []byte                   // memory map
	refs    []byte                   // the frame records
	tables  [2]table.Table
	bodySum uint32
}

// Parse reads an index from the bytes of its file, and refers to them from then on. It checks the foot and leaves the rest
// to Check, so that its cost does not grow with the index. The error is pack.ErrFormat for an index of a newer program.
func Parse(data []byte) (*Index, error) {
	le := binary.LittleEndian
	size := uint64(len(data))
	if size < FootLen || string(data[size-FootLen:][:8]) != magic {
		return nil, errors.New("not an index")
	}
	size -= FootLen
	foot := data[size:]
	if pack.Checksum(foot[:FootLen-4]) != le.Uint32(foot[FootLen-4:]) {
		return nil, errors.New("index foot does not match its checksum")
	}
	if v := le.Uint32(foot[8:]); v > version {
		return nil, fmt.Errorf("%w: index version %d, this program reads %d", pack.ErrFormat, v, version)
	} else if v < version {
		return nil, fmt.Errorf("invalid index version %d", v)
	}
	packs, frames := uint64(le.Uint32(foot[12:])), uint64(le.Uint32(foot[16:]))
	blobsLen, dirsLen := le.Uint64(foot[24:]), le.Uint64(foot[32:])
	if packs > maxPacks {
		return nil, fmt.Errorf("index of %d packs, which has at most %d", packs, maxPacks)
	}
	refsAt := packs * packLen
	blobsAt := refsAt + frames*FrameLen
	if blobsAt > size || blobsLen > size-blobsAt || dirsLen != size-blobsAt-blobsLen {
		return nil, errors.New("index length does not match its foot")
	}
	x := &Index{
		data: data, bodySum: le.Uint32(foot[20:]), Epoch: le.Uint32(foot[40:]), refs: data[refsAt:blobsAt],
		Packs: make([]pack.Length, packs),
	}
	for i := range x.Packs {
		b := data[i*packLen:][:packLen]
		x.Packs[i] = pack.Length{ID: pack.ID(b[:8]), Bytes: int64(le.Uint64(b[8:]))}
	}
	dirsAt := blobsAt + blobsLen
	for k := range Tables {
		part := [...][]byte{data[blobsAt:dirsAt], data[dirsAt:size]}[k.Table()]
		var err error
		if x.tables[k.Table()], err = table.Open(shape, part); err != nil {
			return nil, fmt.Errorf("%s: %w", k, err)
		}
	}
	return x, nil
}

// Check reads the whole index and reports what in it disagrees with its checksums or with itself.
func (x *Index) Check() error {
	if x.Epoch == LastEpoch {
		return fmt.Errorf("epoch %d, after which there is none", x.Epoch)
	}
	if pack.Checksum(x.data[:len(x.Packs)*packLen+len(x.refs)]) != x.bodySum {
		return errors.New("packs and frames do not match their checksum")
	}
	for k := range Tables {
		if err := x.Table(k).Check(); err != nil {
			return fmt.Errorf("%s: %w", k, err)
		}
	}
	return x.checkRecords()
}

// checkRecords reports what the records say of packs, frames and objects that cannot be, or not together.
func (x *Index) checkRecords() error {
	lengths := make(map[pack.ID]int64, len(x.Packs))
	for i, p := range x.Packs {
		if _, ok := lengths[p.ID]; ok {
			return fmt.Errorf("pack %d: named twice", i)
		}
		lengths[p.ID] = p.Bytes
	}
	room := make([]uint32, x.Frames()) // for items, in the head of each frame
	for n := range room {
		f, ok := x.Frame(n)
		if !ok {
			return fmt.Errorf("frame %d: names no pack", n)
		}
		if err := f.Possible(); err != nil {
			return fmt.Errorf("frame %d: %w", n, err)
		}
		if f.End() > lengths[f.Pack] {
			return fmt.Errorf("frame %d: ends at %d, past the %d bytes of its pack", n, f.End(), lengths[f.Pack])
		}
		room[n] = f.MaxItems()
	}
	for at := range Records([]*Index{x}) {
		n, l, ok := x.Record(at.Kind, at.N)
		switch {
		case !ok:
			return fmt.Errorf("%s: record %d points outside the index", at.Kind, at.N)
		case l.Frame.Kind.Table() != at.Kind.Table():
			return fmt.Errorf("%s: record %d points at a frame of another kind", at.Kind, at.N)
		case room[n] == 0:
			return fmt.Errorf("%s: record %d points at a frame with fewer objects", at.Kind, at.N)
		}
		room[n]--
	}
	return nil
}

// Table returns the objects of a kind: directories, or blobs of all sorts.
func (x *Index) Table(k pack.Kind) table.Table { return x.tables[k.Table()] }

// Len returns how many objects the index has.
func (x *Index) Len() int { return x.tables[0].Len() + x.tables[1].Len() }

// Bytes returns the size of the file.
func (x *Index) Bytes() int64 { return int64(len(x.data)) }

// Find returns where an object is. It allocates nothing.
func (x *Index) Find(k pack.Kind, d *store.Digest) (pack.Location, bool) {
	b, ok := x.Table(k).Find(d[:])
	if !ok {
		return pack.Location{}, false
	}
	return x.locate(parseValue(b))
}

// Record returns the frame number and the place that record n of a table leads to. It reports false if a damaged record
// leads nowhere.
func (x *Index) Record(k pack.Kind, n int) (frame int, l pack.Location, ok bool) {
	v := x.Value(k, n)
	l, ok = x.locate(v)
	return int(v.Frame), l, ok
}

// Value returns what record n of a table says.
func (x *Index) Value(k pack.Kind, n int) Value {
	return parseValue(x.Table(k).Record(n)[store.DigestSize:])
}

// Digest returns the key of record n of a table. It lies in the memory map.
func (x *Index) Digest(k pack.Kind, n int) *store.Digest {
	return (*store.Digest)(x.Table(k).Record(n)[:store.DigestSize])
}

// locate reports false if a damaged value points nowhere.
func (x *Index) locate(v Value) (l pack.Location, ok bool) {
	l.Offset, l.Size = v.Offset, v.Size
	if uint64(v.Frame) >= uint64(x.Frames()) {
		return l, false
	}
	l.Frame, ok = x.Frame(int(v.Frame))
	return l, ok && uint64(l.Offset)+uint64(l.Size) <= uint64(l.Frame.Raw)
}

// Frames returns the number of frames.
func (x *Index) Frames() int { return len(x.refs) / FrameLen }

// Frame returns frame n. It reports false if a damaged record names no pack.
func (x *Index) Frame(n int) (f pack.Frame, ok bool) {
	le := binary.LittleEndian
	b := x.refs[n*FrameLen:][:FrameLen]
	number := le.Uint32(b)
	if uint64(number) >= uint64(len(x.Packs)) {
		return f, false
	}
	return pack.Frame{
		Pack: x.Packs[number].ID, Offset: int64(le.Uint64(b[4:])),
		Start: le.Uint32(b[12:]), Stored: le.Uint32(b[16:]), Raw: le.Uint32(b[20:]),
		Kind: pack.Kind(b[24]), Codec: pack.Codec(b[25]),
	}, true
}

// Epoch returns the greatest epoch of indexes.
func Epoch(all []*Index) (epoch uint32) {
	for _, x := range all {
		epoch = max(epoch, x.Epoch)
	}
	return epoch
}

// LastEpoch has none after it. No store gets there, but an index may claim it.
const LastEpoch = math.MaxUint32

// NextEpoch returns the epoch of an index that replaces all others.
func NextEpoch(all []*Index) uint32 {
	epoch := Epoch(all)
	if epoch < LastEpoch {
		epoch++
	}
	return epoch
}

// NamedPacks returns the packs that indexes name.
func NamedPacks(all []*Index) map[pack.ID]bool {
	named := make(map[pack.ID]bool)
	for _, x := range all {
		for _, p := range x.Packs {
			named[p.ID] = true
		}
	}
	return named
}

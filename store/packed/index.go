package packed

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"castar/store"
	"castar/store/durable"
	"castar/store/table"
)

// An index says where objects are. It is a cache of the packs: everything in it can be read from the frames' heads.
// Indexes are immutable; renaming one into index/ is what commits the packs that it names. All integers are
// little-endian.
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
// where frame counts the frames of this index, and offset is that of the object in the frame's decoded payload. bodysum
// is the CRC-32C of packs and frames, footsum that of the foot before it; tables have checksums of their own. The foot
// stands last because a merge knows only at the end how many objects are left.
//
// Of the indexes in a store only those of the greatest epoch count. Whoever removes objects writes one index of all that
// is left, in the next epoch: its rename replaces all others at once, and a crash among their removals brings none back.
const (
	indexMagic   = "castarix"
	indexVersion = 1
	indexFootLen = 64
	packRefLen   = 16
	frameRefLen  = 28
	valueLen     = 12
	maxPacks     = 1 << 22
)

// indexShape is that of both tables.
var indexShape = table.Shape{Key: store.DigestSize, Value: valueLen}

// packID names a pack; its file is named by the hexadecimal digits.
type packID [8]byte

func (id packID) String() string { return hex.EncodeToString(id[:]) }

// frameRef says where a frame is and how to read its payload.
type frameRef struct {
	pack   packID
	offset int64 // of the head in the pack
	start  uint32
	stored uint32
	raw    uint32
	kind   kind
	codec  codec
}

// end is the offset of the first byte after the frame.
func (f frameRef) end() int64 { return f.offset + int64(f.start) + int64(f.stored) }

// location says where an object is.
type location struct {
	frame  frameRef
	offset uint32 // in the decoded payload
	size   uint32
}

// String is the place for a message.
func (l location) String() string {
	return fmt.Sprintf("%s offset %d", packPath(l.frame.pack), l.frame.offset)
}

// packRef is a pack that an index names, with the length that it had when the index was written.
type packRef struct {
	id     packID
	length int64
}

// index is an open index file. It is immutable, and its methods are for concurrent use.
type index struct {
	name  string       // of the file in index/
	file  durable.File // closed; it only ends the map
	data  []byte       // memory map
	packs []packRef
	refs  []byte // the frame records
	blobs table.Table
	dirs  table.Table
	epoch uint32

	bodySum uint32
}

// parseIndex reads an index from the bytes of its file. It checks the foot and leaves the rest to check, so that its
// cost does not grow with the index.
func parseIndex(data []byte) (*index, error) {
	le := binary.LittleEndian
	size := uint64(len(data))
	if size < indexFootLen || string(data[size-indexFootLen:][:8]) != indexMagic {
		return nil, errors.New("not an index")
	}
	size -= indexFootLen
	foot := data[size:]
	if checksum(foot[:indexFootLen-4]) != le.Uint32(foot[indexFootLen-4:]) {
		return nil, errors.New("index foot does not match its checksum")
	}
	if v := le.Uint32(foot[8:]); v > indexVersion {
		return nil, fmt.Errorf("%w: index version %d, this program reads %d", errFormat, v, indexVersion)
	} else if v < indexVersion {
		return nil, fmt.Errorf("invalid index version %d", v)
	}
	packs, frames := uint64(le.Uint32(foot[12:])), uint64(le.Uint32(foot[16:]))
	blobsLen, dirsLen := le.Uint64(foot[24:]), le.Uint64(foot[32:])
	if packs > maxPacks {
		return nil, fmt.Errorf("index of %d packs, which has at most %d", packs, maxPacks)
	}
	refsAt := packs * packRefLen
	blobsAt := refsAt + frames*frameRefLen
	if blobsAt > size || blobsLen > size-blobsAt || dirsLen != size-blobsAt-blobsLen {
		return nil, errors.New("index length does not match its foot")
	}
	x := &index{data: data, bodySum: le.Uint32(foot[20:]), epoch: le.Uint32(foot[40:]), refs: data[refsAt:blobsAt], packs: make([]packRef, packs)}
	for i := range x.packs {
		b := data[i*packRefLen:][:packRefLen]
		x.packs[i] = packRef{packID(b[:8]), int64(le.Uint64(b[8:]))}
	}
	var err error
	if x.blobs, err = table.Open(indexShape, data[blobsAt:blobsAt+blobsLen]); err != nil {
		return nil, fmt.Errorf("blobs: %w", err)
	}
	if x.dirs, err = table.Open(indexShape, data[blobsAt+blobsLen:size]); err != nil {
		return nil, fmt.Errorf("directories: %w", err)
	}
	return x, nil
}

// check reads the whole index and reports what in it disagrees with its checksums or with itself.
func (x *index) check() error {
	if x.epoch == lastEpoch {
		return fmt.Errorf("epoch %d, after which there is none", x.epoch)
	}
	if checksum(x.data[:len(x.packs)*packRefLen+len(x.refs)]) != x.bodySum {
		return errors.New("packs and frames do not match their checksum")
	}
	for _, t := range []struct {
		name  string
		table table.Table
	}{{"blobs", x.blobs}, {"directories", x.dirs}} {
		if err := t.table.Check(); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	return x.checkPlaces()
}

// checkPlaces reports what the records say of packs, frames and objects that cannot be, or not together.
func (x *index) checkPlaces() error {
	lengths := make(map[packID]int64, len(x.packs))
	for i, p := range x.packs {
		if _, ok := lengths[p.id]; ok {
			return fmt.Errorf("pack %d: named twice", i)
		}
		lengths[p.id] = p.length
	}
	room := make([]uint32, x.frames()) // for items, in the head of each frame
	for n := range room {
		f, ok := x.frame(n)
		if !ok {
			return fmt.Errorf("frame %d: names no pack", n)
		}
		if err := f.possible(); err != nil {
			return fmt.Errorf("frame %d: %w", n, err)
		}
		if f.end() > lengths[f.pack] {
			return fmt.Errorf("frame %d: ends at %d, past the %d bytes of its pack", n, f.end(), lengths[f.pack])
		}
		room[n] = (f.start - frameHeadLen) / itemLen
	}
	for _, k := range []kind{kindData, kindDirectory} {
		for i := range x.table(k).Len() {
			n, l, ok := x.record(k, i)
			switch {
			case !ok:
				return fmt.Errorf("%s: record %d points outside the index", k, i)
			case l.frame.kind != k && (k != kindData || l.frame.kind != kindList):
				return fmt.Errorf("%s: record %d points at a frame of another kind", k, i)
			case room[n] == 0:
				return fmt.Errorf("%s: record %d points at a frame with fewer objects", k, i)
			}
			room[n]--
		}
	}
	return nil
}

// table returns the objects of a kind: directories, or blobs of all sorts.
func (x *index) table(k kind) table.Table {
	if k == kindDirectory {
		return x.dirs
	}
	return x.blobs
}

// find returns where an object is. It allocates nothing.
func (x *index) find(k kind, d *store.Digest) (location, bool) {
	value, ok := x.table(k).Find(d[:])
	if !ok {
		return location{}, false
	}
	return x.locate(value)
}

// locate decodes the value of a record. It reports false where a damaged one points nowhere.
func (x *index) locate(value []byte) (l location, ok bool) {
	n, offset, size := splitValue(value)
	l.offset, l.size = offset, size
	if uint64(n) >= uint64(x.frames()) {
		return l, false
	}
	l.frame, ok = x.frame(int(n))
	return l, ok && uint64(l.offset)+uint64(l.size) <= uint64(l.frame.raw)
}

// splitValue decodes the value of a record.
func splitValue(value []byte) (frame, offset, size uint32) {
	le := binary.LittleEndian
	return le.Uint32(value), le.Uint32(value[4:]), le.Uint32(value[8:])
}

// frames returns the number of frames.
func (x *index) frames() int { return len(x.refs) / frameRefLen }

// frame decodes the record of frame n. It reports false where a damaged one names no pack.
func (x *index) frame(n int) (f frameRef, ok bool) {
	le := binary.LittleEndian
	b := x.refs[n*frameRefLen:][:frameRefLen]
	pack := le.Uint32(b)
	if uint64(pack) >= uint64(len(x.packs)) {
		return f, false
	}
	return frameRef{
		pack: x.packs[pack].id, offset: int64(le.Uint64(b[4:])),
		start: le.Uint32(b[12:]), stored: le.Uint32(b[16:]), raw: le.Uint32(b[20:]),
		kind: kind(b[24]), codec: codec(b[25]),
	}, true
}

// epochOf returns the greatest epoch of indexes.
func epochOf(all []*index) (epoch uint32) {
	for _, x := range all {
		epoch = max(epoch, x.epoch)
	}
	return epoch
}

// lastEpoch has none after it. No store gets there, but an index may claim it.
const lastEpoch = math.MaxUint32

// nextEpoch returns the epoch of an index that replaces all others.
func nextEpoch(all []*index) uint32 {
	epoch := epochOf(all)
	if epoch < lastEpoch {
		epoch++
	}
	return epoch
}

package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"

	"castar/store"
)

// A pack is a header and then frames, one right after the other. All integers are little-endian.
//
//	pack   = "castarpk" version:u32 role:u32 frame*
//	frame  = head item{count} padding payload{stored}
//	head   = "CFRM" kind:u8 codec:u8 zero:u16 count:u32 start:u32 stored:u32 raw:u32 payloadsum:u32 headsum:u32
//	item   = digest:[32] size:u32
//
// start is the distance from the frame's first byte to its payload, so it covers head, items and padding. The payload
// decodes to raw bytes: the items' bytes, in order, with nothing between them. payloadsum is the CRC-32C of the stored
// payload; headsum that of the head before it and of the items. FORMAT.md has the whole store.
const (
	packMagic   = "castarpk"
	packVersion = 1
	frameMagic  = "CFRM"

	// PackHeadLen is how many bytes the head of a pack has.
	PackHeadLen = 16
	// FrameHeadLen is how many bytes the head of a frame has, without its items.
	FrameHeadLen = 32
	// ItemLen is how many bytes an item takes in a frame, and a chunk in a chunk list.
	ItemLen = store.DigestSize + 4
	// MaxPadding bounds the padding between items and payload: there are fewer bytes of it. It is also the size of the blocks
	// that files share, in nearly all file systems that let them.
	MaxPadding = 4 << 10
)

// ErrFormat is store.ErrNewer of a whole file: it is not damaged, but of a newer program.
var ErrFormat = fmt.Errorf("%w: store format", store.ErrNewer)

// ErrVersion is what is wrong with the head of a pack that is known to be of this format, where it names a newer one.
var ErrVersion = errors.New("the version in its head is wrong")

// Role says what a pack holds, so that questions about trees touch no file data.
type Role uint32

const (
	RoleData Role = 0 // whole blobs and chunks
	RoleMeta Role = 1 // directories and chunk lists
)

// Kind says what the items of a frame are.
type Kind uint8

const (
	KindData      Kind = 0 // whole blobs and chunks
	KindList      Kind = 1 // chunk lists, each named by the digest of its blob
	KindDirectory Kind = 2 // Directory messages
)

// Kinds and Roles are how many there are of each.
const (
	Kinds = 3
	Roles = 2
)

// Role returns the role of the packs that hold frames of the kind.
func (k Kind) Role() Role {
	if k == KindData {
		return RoleData
	}
	return RoleMeta
}

// Table is the number of the table that holds objects of the kind in an index: 0 for blobs, chunks and chunk lists, and 1
// for directories.
func (k Kind) Table() int {
	if k == KindDirectory {
		return 1
	}
	return 0
}

// String names the table of an index that holds objects of the kind.
func (k Kind) String() string { return [...]string{"blobs", "directories"}[k.Table()] }

// Object is the kind that users of a store know such an object by.
func (k Kind) Object() store.Kind {
	return [...]store.Kind{store.KindFile, store.KindDirectory}[k.Table()]
}

// TableKind is KindDirectory for directories, and KindData for all other objects.
func TableKind(k store.Kind) Kind {
	if k == store.KindDirectory {
		return KindDirectory
	}
	return KindData
}

// Item is one object of a frame.
type Item struct {
	Digest store.Digest
	Size   uint32
}

// FrameHead is the decoded head of a frame and its items.
type FrameHead struct {
	Kind       Kind
	Codec      Codec
	Start      uint32
	Stored     uint32
	Raw        uint32
	PayloadSum uint32
	Items      []Item
}

// At returns where the frame is if its head is at an offset of a pack.
func (h *FrameHead) At(id ID, offset int64) Frame {
	return Frame{id, offset, h.Start, h.Stored, h.Raw, h.Kind, h.Codec}
}

// Locations yields the numbers of the items of f, whose head is h, and where the items are.
func (h *FrameHead) Locations(f Frame) iter.Seq2[int, Location] {
	return func(yield func(int, Location) bool) {
		offset := uint32(0)
		for n := range h.Items {
			if !yield(n, Location{f, offset, h.Items[n].Size}) {
				return
			}
			offset += h.Items[n].Size
		}
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of b. It is what frames and indexes are checked with.
func Checksum(b []byte) uint32 { return ExtendChecksum(0, b) }

// ExtendChecksum returns the checksum of what sum is that of, followed by b.
func ExtendChecksum(sum uint32, b []byte) uint32 { return crc32.Update(sum, castagnoli, b) }

// AppendPackHead appends the head of a pack to b.
func AppendPackHead(b []byte, r Role) []byte {
	b = append(b, packMagic...)
	b = binary.LittleEndian.AppendUint32(b, packVersion)
	return binary.LittleEndian.AppendUint32(b, uint32(r))
}

// ParsePackHead reads the first PackHeadLen bytes of a pack. The error is ErrFormat for a pack of a newer program.
func ParsePackHead(b []byte) (Role, error) {
	if len(b) < PackHeadLen || string(b[:8]) != packMagic {
		return 0, errors.New("not a pack")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > packVersion {
		return 0, fmt.Errorf("%w: pack version %d, this program reads %d", ErrFormat, v, packVersion)
	} else if v < packVersion {
		return 0, fmt.Errorf("invalid pack version %d", v)
	}
	r := Role(binary.LittleEndian.Uint32(b[12:]))
	if r != RoleData && r != RoleMeta {
		return 0, fmt.Errorf("unknown pack role %d", r)
	}
	return r, nil
}

// AppendFrameHead appends head and items of h to b, and zeros until the payload begins h.Start bytes after the head. It
// computes the checksum of the head, and leaves that of the payload to the caller.
func AppendFrameHead(b []byte, h *FrameHead) []byte {
	at := len(b)
	b = append(b, frameMagic...)
	b = append(b, byte(h.Kind), byte(h.Codec), 0, 0)
	for _, v := range []uint32{uint32(len(h.Items)), h.Start, h.Stored, h.Raw, h.PayloadSum, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for i := range h.Items {
		b = append(b, h.Items[i].Digest[:]...)
		b = binary.LittleEndian.AppendUint32(b, h.Items[i].Size)
	}
	binary.LittleEndian.PutUint32(b[at+FrameHeadLen-4:], headSum(b[at:]))
	return append(b, make([]byte, at+int(h.Start)-len(b))...)
}

// headSum is the checksum of a head without its last field, and of the items behind it.
func headSum(b []byte) uint32 {
	return ExtendChecksum(Checksum(b[:FrameHeadLen-4]), b[FrameHeadLen:])
}

// ErrShort says that ParseFrameHead needs more bytes.
var ErrShort = errors.New("frame is cut short")

// ParseFrameHead reads head and items from the beginning of b, which may hold more. If b holds too little, the error is
// ErrShort, and need is how many bytes b must hold. Any other error is damage.
func ParseFrameHead(b []byte) (h FrameHead, need int, err error) {
	if len(b) < FrameHeadLen {
		return h, FrameHeadLen, ErrShort
	}
	if string(b[:4]) != frameMagic {
		return h, 0, errors.New("not a frame")
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	h = FrameHead{Kind: Kind(b[4]), Codec: Codec(b[5]), Start: u32(12), Stored: u32(16), Raw: u32(20), PayloadSum: u32(24)}
	count := u32(8)
	end := uint64(FrameHeadLen) + uint64(count)*ItemLen
	switch {
	case h.Kind > KindDirectory || !h.Codec.known() || b[6] != 0 || b[7] != 0:
		return h, 0, errors.New("unknown kind of frame")
	case uint64(h.Start) < end || uint64(h.Start) >= end+MaxPadding:
		return h, 0, errors.New("frame head does not fit its items")
	}
	if err := h.At(ID{}, PackHeadLen).Possible(); err != nil {
		return h, 0, err
	}
	switch {
	case uint64(len(b)) < end:
		return h, int(end), ErrShort
	case headSum(b[:end]) != u32(FrameHeadLen-4):
		return h, 0, errors.New("frame head does not match its checksum")
	}
	h.Items = make([]Item, count)
	sum := uint64(0)
	for i := range h.Items {
		at := FrameHeadLen + i*ItemLen
		h.Items[i] = Item{store.Digest(b[at : at+store.DigestSize]), u32(at + store.DigestSize)}
		sum += uint64(h.Items[i].Size)
	}
	if sum != uint64(h.Raw) {
		return h, 0, errors.New("frame items do not add up to its size")
	}
	if count > 0 && sum-uint64(h.Items[count-1].Size) > MaxContents {
		return h, 0, fmt.Errorf("%w: %d bytes before its last item", ErrImpossible, sum-uint64(h.Items[count-1].Size))
	}
	return h, 0, nil
}

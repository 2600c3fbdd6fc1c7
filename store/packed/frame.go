package packed

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

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
	packHeadLen = 16

	frameMagic   = "CFRM"
	frameHeadLen = 32
	itemLen      = store.DigestSize + 4

	// A reader allows fewer than blockSize bytes of padding between items and payload. Writers add none.
	blockSize = 4 << 10
)

// role says what a pack holds, so that questions about trees touch no file data.
type role uint32

const (
	roleData role = 0 // whole blobs and chunks
	roleMeta role = 1 // directories and chunk lists
)

// kind says what the items of a frame are.
type kind uint8

const (
	kindData      kind = 0 // whole blobs and chunks
	kindList      kind = 1 // chunk lists, each named by the digest of its blob
	kindDirectory kind = 2 // Directory messages
)

func (k kind) role() role {
	if k == kindData {
		return roleData
	}
	return roleMeta
}

// String names the table of an index in which objects of that kind are.
func (k kind) String() string {
	if k == kindDirectory {
		return "directories"
	}
	return "blobs"
}

// codec says how a payload is stored.
type codec uint8

const (
	codecRaw  codec = 0
	codecZstd codec = 1 // one zstd frame without checksum
)

// item is one object of a frame.
type item struct {
	digest store.Digest
	size   uint32
}

// frameHead is the decoded head of a frame and its items.
type frameHead struct {
	kind       kind
	codec      codec
	start      uint32
	stored     uint32
	raw        uint32
	payloadSum uint32
	items      []item
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// appendPackHead begins a pack.
func appendPackHead(b []byte, r role) []byte {
	b = append(b, packMagic...)
	b = binary.LittleEndian.AppendUint32(b, packVersion)
	return binary.LittleEndian.AppendUint32(b, uint32(r))
}

// parsePackHead reads the first packHeadLen bytes of a pack.
func parsePackHead(b []byte) (role, error) {
	if len(b) < packHeadLen || string(b[:8]) != packMagic {
		return 0, errors.New("not a pack")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v > packVersion {
		return 0, fmt.Errorf("%w: pack version %d, this program reads %d", errFormat, v, packVersion)
	} else if v < packVersion {
		return 0, fmt.Errorf("invalid pack version %d", v)
	}
	r := role(binary.LittleEndian.Uint32(b[12:]))
	if r != roleData && r != roleMeta {
		return 0, fmt.Errorf("unknown pack role %d", r)
	}
	return r, nil
}

// appendFrameHead appends head and items of h, and padding so that the payload begins h.start bytes after the head.
func appendFrameHead(b []byte, h *frameHead) []byte {
	at := len(b)
	b = append(b, frameMagic...)
	b = append(b, byte(h.kind), byte(h.codec), 0, 0)
	for _, v := range []uint32{uint32(len(h.items)), h.start, h.stored, h.raw, h.payloadSum, 0} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	for i := range h.items {
		b = append(b, h.items[i].digest[:]...)
		b = binary.LittleEndian.AppendUint32(b, h.items[i].size)
	}
	binary.LittleEndian.PutUint32(b[at+frameHeadLen-4:], headSum(b[at:]))
	return append(b, make([]byte, at+int(h.start)-len(b))...)
}

// headSum is the checksum of a head without its last field, and of the items behind it.
func headSum(b []byte) uint32 {
	return crc32.Update(checksum(b[:frameHeadLen-4]), castagnoli, b[frameHeadLen:])
}

// errFrameTooShort says that more bytes are needed than were given to parseFrameHead.
var errFrameTooShort = errors.New("frame is cut short")

// parseFrameHead reads head and items from the beginning of b, which may hold more. Where b holds too little, the error
// is errFrameTooShort and need is how many bytes it must hold.
func parseFrameHead(b []byte) (h frameHead, need int, err error) {
	if len(b) < frameHeadLen {
		return h, frameHeadLen, errFrameTooShort
	}
	if string(b[:4]) != frameMagic {
		return h, 0, errors.New("not a frame")
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	h = frameHead{kind: kind(b[4]), codec: codec(b[5]), start: u32(12), stored: u32(16), raw: u32(20), payloadSum: u32(24)}
	count := u32(8)
	end := uint64(frameHeadLen) + uint64(count)*itemLen
	switch {
	case h.kind > kindDirectory || h.codec > codecZstd || b[6] != 0 || b[7] != 0:
		return h, 0, errors.New("unknown kind of frame")
	case uint64(h.start) < end || uint64(h.start) >= end+blockSize:
		return h, 0, errors.New("frame head does not fit its items")
	case h.codec == codecRaw && h.raw != h.stored:
		return h, 0, errors.New("frame sizes disagree")
	case h.ref(packID{}, packHeadLen).possible() != nil:
		return h, 0, h.ref(packID{}, packHeadLen).possible()
	case uint64(len(b)) < end:
		return h, int(end), errFrameTooShort
	case headSum(b[:end]) != u32(frameHeadLen-4):
		return h, 0, errors.New("frame head does not match its checksum")
	}
	h.items = make([]item, count)
	sum := uint64(0)
	for i := range h.items {
		at := frameHeadLen + i*itemLen
		h.items[i] = item{store.Digest(b[at : at+store.DigestSize]), u32(at + store.DigestSize)}
		sum += uint64(h.items[i].size)
	}
	if sum != uint64(h.raw) {
		return h, 0, errors.New("frame items do not add up to its size")
	}
	if count > 0 && sum-uint64(h.items[count-1].size) > maxContents {
		return h, 0, fmt.Errorf("%w: %d bytes before its last item", errImpossible, sum-uint64(h.items[count-1].size))
	}
	return h, 0, nil
}

// A chunk list is the digests and sizes of a blob's chunks, in order: list = { digest:[32] size:u32 }.

// appendList appends the chunk list of chunks, each of which is under 4 GiB.
func appendList(b []byte, chunks []store.Chunk) []byte {
	for i := range chunks {
		b = append(b, chunks[i].Digest[:]...)
		b = binary.LittleEndian.AppendUint32(b, uint32(chunks[i].Size))
	}
	return b
}

// checkListSize reports why a chunk list is not n bytes long. It has at least two chunks: a blob of one is stored whole.
func checkListSize(n int64) error {
	if n%itemLen != 0 || n < 2*itemLen || n > maxList {
		return fmt.Errorf("chunk list of %d bytes", n)
	}
	return nil
}

// parseChunk reads the first chunk of a piece of a list.
func parseChunk(b []byte) (store.Chunk, error) {
	size := binary.LittleEndian.Uint32(b[store.DigestSize:])
	if size == 0 {
		return store.Chunk{}, errors.New("chunk list names an empty chunk")
	}
	return store.Chunk{Digest: store.Digest(b[:store.DigestSize]), Size: uint64(size)}, nil
}

// checkList reports what is wrong with a chunk list, as far as it tells by itself.
func checkList(b []byte) error {
	err := checkListSize(int64(len(b)))
	for ; err == nil && len(b) > 0; b = b[itemLen:] {
		_, err = parseChunk(b)
	}
	return err
}

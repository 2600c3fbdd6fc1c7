package zstd

import "encoding/binary"

// maxWindow is how far back a frame may refer to its own output, in bytes. All decoders should support that much (RFC
// 8878, section 3.1.1.1.2).
const maxWindow = 8 << 20

// Single reports whether b has the form of an Encoder's output: exactly one frame, without checksum or dictionary, with
// a window of at most 8 MiB or of its whole contents. It does not look into blocks; only Decode does. The format is
// that of RFC 8878, section 3.1.1:
//
//	frame = 0xfd2fb528:u32 descriptor:u8 [window:u8] [contentsize:1|2|4|8] block+
//	block = head:u24 contents
//	head  = last:1 type:2 size:21, the lowest bits first; type 1 repeats one byte
func Single(b []byte) bool {
	const magic, magicLen = 0xfd2fb528, 4
	if len(b) < magicLen+1 || binary.LittleEndian.Uint32(b) != magic {
		return false
	}
	descriptor := b[magicLen]
	const reserved, checksum, dictionary, oneSegment = 1 << 3, 1 << 2, 3, 1 << 5
	if descriptor&(reserved|checksum|dictionary) != 0 {
		return false
	}
	at := magicLen + 1
	if descriptor&oneSegment == 0 {
		if len(b) == at {
			return false
		}
		if base := uint64(1) << (10 + b[at]>>3); base+base/8*uint64(b[at]&7) > maxWindow {
			return false
		}
		at++
	}
	switch descriptor >> 6 { // the length of the field contentsize
	case 0:
		if descriptor&oneSegment != 0 {
			at++
		}
	case 1:
		at += 2
	case 2:
		at += 4
	case 3:
		at += 8
	}
	for {
		if len(b) < at+3 {
			return false
		}
		head := uint32(b[at]) | uint32(b[at+1])<<8 | uint32(b[at+2])<<16
		size := int(head >> 3)
		if head>>1&3 == 1 {
			size = 1
		}
		at += 3 + size
		if head&1 != 0 {
			return at == len(b)
		}
	}
}

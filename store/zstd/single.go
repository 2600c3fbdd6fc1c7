package zstd

import "github.com/klauspost/compress/zstd"

// maxWindow is how far back a frame may refer to its own output, in bytes. All decoders should support that much (RFC
// 8878, section 3.1.1.1.2).
const maxWindow = 8 << 20

// Single reports whether b has the form of an Encoder's output: exactly one frame, without checksum or dictionary, with
// a window of at most 8 MiB or of its whole contents. It does not look into blocks; only Decode does. A frame is a
// header and blocks (RFC 8878, section 3.1.1):
//
//	block = head:u24 contents
//	head  = last:1 type:2 size:21, the lowest bits first; type 1 repeats one byte
func Single(b []byte) bool {
	const descriptor, dictionary = 4, 3 // the index of a byte, and its bits that say how long the number of a dictionary is
	var h zstd.Header
	if h.Decode(b) != nil || h.Skippable || h.HasCheckSum || b[descriptor]&dictionary != 0 || h.WindowSize > maxWindow {
		return false
	}
	for at := h.HeaderSize; len(b) >= at+3; {
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
	return false
}

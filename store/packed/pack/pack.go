// Package pack reads and writes the packs of a packed store: files of frames, one after the other, each of which holds
// some objects compressed together. It is the only package that knows codecs and the checksums of frames.
//
// An object goes in through a Group, which a Writer makes a frame of:
//
//	object → Group → Writer → frame in a pack in tmp/ → Publish → packs/
//
// What the Writer returns is a Frame, which says where the frame is. With the object's offset it is a Location, which
// an index remembers, and by which Files gives the object back:
//
//	Location → Files.View, Files.Use → bytes
//
// Nothing here checks an object against its digest unless it says so. Damage is a *store.CorruptError.
package pack

import (
	"encoding/hex"
	"fmt"
	"strings"

	"castar/store"
)

const (
	// Dir is the folder of packs in a store.
	Dir = "packs"
	// TempDir is the folder of files that are not part of the store yet.
	TempDir = "tmp"
	// Ext ends the name of each pack.
	Ext = ".pack"
)

// TempPath returns the path of a file in TempDir.
func TempPath(name string) string { return TempDir + "/" + name }

// ID names a pack; its file is named by the hexadecimal digits.
type ID [8]byte

// String returns the hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Path returns the path of the pack in its store, once it is published.
func (id ID) Path() string { return Dir + "/" + id.String() + Ext }

// ParseName reads the name of a file in Dir. It reports false for a name that no pack has.
func ParseName(name string) (id ID, ok bool) {
	digits, ok := strings.CutSuffix(name, Ext)
	if !ok || len(digits) != 2*len(id) || strings.ToLower(digits) != digits {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(digits))
	return id, err == nil
}

// Length is a pack and how many bytes it has.
type Length struct {
	ID    ID
	Bytes int64
}

// Frame says where a frame is and how to read its payload. Frames are equal if all that is said of them is.
type Frame struct {
	Pack   ID
	Offset int64  // of the head in the pack
	Start  uint32 // of the payload, from the head
	Stored uint32 // bytes of the payload
	Raw    uint32 // bytes that it decodes to
	Kind   Kind
	Codec  Codec
}

// Key is where a frame is. Two indexes may say different things of the frame there.
type Key struct {
	Pack   ID
	Offset int64
}

// Key returns where f is.
func (f Frame) Key() Key { return Key{f.Pack, f.Offset} }

// End is the offset of the first byte after the frame.
func (f Frame) End() int64 { return f.Offset + int64(f.Start) + int64(f.Stored) }

// Length is the number of bytes of the frame, as stored.
func (f Frame) Length() int64 { return f.End() - f.Offset }

// Streamed reports whether a frame is too large to be decoded as a whole.
func (f Frame) Streamed() bool { return f.Raw > MaxContents }

// Location says where an object is.
type Location struct {
	Frame  Frame
	Offset uint32 // in the decoded payload
	Size   uint32
}

// String returns the place for a message.
func (l Location) String() string {
	return fmt.Sprintf("%s offset %d", l.Frame.Pack.Path(), l.Frame.Offset)
}

// Large reports whether an object lies beyond the part of a streamed frame that is kept. Only the last of a frame may.
func (l Location) Large() bool {
	return l.Frame.Streamed() && uint64(l.Offset)+uint64(l.Size) > MaxContents
}

// Check reports why data is not the object d of kind k. A chunk list is named by the digest of what it lists, so only its
// form is checked: the checksum of its frame must vouch for it.
func Check(k Kind, d store.Digest, data []byte) error {
	if k == KindList {
		if err := CheckListSize(int64(len(data))); err != nil {
			return err
		}
		return checkChunks(data)
	}
	if store.Sum(data) != d {
		return store.ErrDigestMismatch
	}
	return nil
}

// CheckDecoded does what Check does, and also decodes a directory. That takes memory; see Files.Weigh.
func CheckDecoded(k Kind, d store.Digest, data []byte) error {
	err := Check(k, d, data)
	if err == nil && k == KindDirectory {
		_, err = store.DecodeDirectory(data)
	}
	return err
}

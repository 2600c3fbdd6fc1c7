package listing

import (
	"encoding/base64"
	"strconv"

	"castar/store"
)

// Block writes the lines of one directory. Its methods may be called concurrently.
type Block struct {
	uid, gid    uint32
	user, group string
}

// NewBlock returns a Block whose lines share the owner of dir.
func NewBlock(dir *Entry) Block { return Block{dir.UID, dir.GID, dir.User, dir.Group} }

// AppendDirectory begins the block. name is "." for the root.
func (b Block) AppendDirectory(text []byte, name string, dir *Entry) []byte {
	text = append(text, "/set type=file"...)
	text = appendNumber(text, " uid=", uint64(b.uid), 10)
	text = appendNumber(text, " gid=", uint64(b.gid), 10)
	text = appendWord(text, " uname=", b.user)
	text = appendWord(text, " gname=", b.group)
	text = appendNumber(text, " mode=0", fileMode, 8)
	return b.Append(append(text, '\n'), name, dir)
}

// AppendFile is Append for a file with the owner of the directory, one name, no holes and no attributes, as most are.
func (b Block) AppendFile(text []byte, name string, mode uint32, seconds int64, nanoseconds uint32, size uint64) []byte {
	text = appendEscaped(text, name)
	if mode != fileMode {
		text = appendNumber(text, " mode=0", uint64(mode), 8)
	}
	text = appendTime(text, seconds, nanoseconds)
	return append(appendNumber(text, " size=", size, 10), '\n')
}

// Append appends the line of a file or a symbolic link.
func (b Block) Append(text []byte, name string, e *Entry) []byte {
	text = appendEscaped(text, name)
	mode := uint32(fileMode)
	switch e.Kind {
	case store.KindDirectory:
		text = append(text, " type=dir"...)
		mode = ^uint32(0) // always written
	case store.KindSymlink:
		text = append(text, " type=link"...)
	}
	if e.UID != b.uid {
		text = appendNumber(text, " uid=", uint64(e.UID), 10)
	}
	if e.GID != b.gid {
		text = appendNumber(text, " gid=", uint64(e.GID), 10)
	}
	if e.User != b.user {
		text = appendWord(text, " uname=", e.User)
	}
	if e.Group != b.group {
		text = appendWord(text, " gname=", e.Group)
	}
	if e.Mode != mode {
		text = appendNumber(text, " mode=0", uint64(e.Mode), 8)
	}
	text = appendTime(text, e.Seconds, e.Nanoseconds)
	switch e.Kind {
	case store.KindFile:
		text = appendFile(text, e)
	case store.KindSymlink:
		text = appendWord(text, " link=", e.Target)
	}
	for _, x := range e.Xattrs {
		text = append(appendWord(text, " xattr.", x.Name), '=')
		text = base64.StdEncoding.AppendEncode(text, x.Value)
	}
	return append(text, '\n')
}

// appendFile appends what only files have.
func appendFile(text []byte, e *Entry) []byte {
	text = appendNumber(text, " size=", e.Size, 10)
	if e.Links != 0 {
		text = appendNumber(text, " nlink=", e.Links, 10)
		text = appendNumber(text, " inode=", e.Inode, 10)
	}
	if e.Links != 0 && e.Device != 0 {
		text = appendNumber(text, " resdevice=", e.Device, 10)
	}
	if e.Sparse {
		text = appendNumber(text, " tags=allocated-", e.Allocated, 10)
	}
	return text
}

// appendTime appends the modification time, with nine digits of the nanoseconds.
func appendTime(text []byte, seconds int64, nanoseconds uint32) []byte {
	text = append(text, " time="...)
	text = strconv.AppendInt(text, seconds, 10)
	if nanoseconds == 0 {
		return append(text, ".000000000"...)
	}
	at := len(text)
	text = strconv.AppendUint(text, 1_000_000_000+uint64(nanoseconds%1_000_000_000), 10)
	text[at] = '.' // instead of the 1, which keeps the zeros
	return text
}

func appendNumber(text []byte, keyword string, n uint64, base int) []byte {
	return strconv.AppendUint(append(text, keyword...), n, base)
}

func appendWord(text []byte, keyword, value string) []byte {
	return appendEscaped(append(text, keyword...), value)
}

// plainLow and plainHigh have a bit for each byte below 64 and from 64 to 127 that stands for itself: letters, digits and
// . - _ / + , : @ ~. All programs that read mtree texts agree on these.
const (
	plainLow  = 0x7fff80000000000
	plainHigh = 0x47fffffe87ffffff
)

func isPlain(c byte) bool {
	bits := uint64(plainLow)
	if c >= 64 {
		bits = plainHigh
	}
	return c < 128 && bits>>(c&63)&1 == 1
}

// appendEscaped appends s, with every byte that is not plain as a backslash and three octal digits.
func appendEscaped(text []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		if c := s[i]; !isPlain(c) {
			text = append(append(text, s[from:i]...), '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
			from = i + 1
		}
	}
	return append(text, s[from:]...)
}

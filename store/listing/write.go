package listing

import (
	"encoding/base64"
	"strconv"

	"castar/store"
)

// Header is the first line of a listing.
const Header = "#mtree\n"

// Block collects the lines of one directory. A listing is the Header and then the blocks of all directories, each after
// that of its parent. It is not for concurrent use.
type Block struct {
	text   []byte
	prefix []byte // the escaped path of the directory, with a slash at the end
	shared shared
}

// shared is what the lines of a block need not repeat.
type shared struct {
	uid, gid    uint32
	user, group string
}

// fileMode is the mode that files have unless their line says otherwise.
const fileMode = 0o644

// NewBlock begins the lines of the directory that has this path below the root, which itself has the path "". It appends
// to text, which it takes over.
func NewBlock(text []byte, path string, dir *Entry) *Block {
	b := &Block{text: text, shared: shared{dir.UID, dir.GID, dir.User, dir.Group}}
	b.text = append(b.text, "/set type=file"...)
	b.owner(dir, shared{uid: ^dir.UID, gid: ^dir.GID})
	b.number(" mode=0", fileMode, 8)
	b.text = append(b.text, '\n')
	at := len(b.text)
	b.text = append(b.text, '.')
	if path != "" {
		b.text = append(b.text, '/')
		b.text = appendEscaped(b.text, path)
	}
	b.prefix = append(append(make([]byte, 0, len(b.text)-at+1), b.text[at:]...), '/')
	b.facts(dir)
	return b
}

// Add appends the line of a file or a symbolic link in the directory. The names of all that are added must ascend.
func (b *Block) Add(name string, e *Entry) {
	b.text = append(b.text, b.prefix...)
	b.text = appendEscaped(b.text, name)
	b.facts(e)
}

// Text returns the lines so far.
func (b *Block) Text() []byte { return b.text }

// facts appends the keywords of a line, and ends it.
func (b *Block) facts(e *Entry) {
	mode := uint32(fileMode)
	switch e.Kind {
	case store.KindDirectory:
		b.text = append(b.text, " type=dir"...)
		mode = ^uint32(0)
	case store.KindSymlink:
		b.text = append(b.text, " type=link"...)
	}
	b.owner(e, b.shared)
	if e.Mode != mode {
		b.number(" mode=0", uint64(e.Mode), 8)
	}
	b.time(e)
	switch e.Kind {
	case store.KindFile:
		b.number(" size=", e.Size, 10)
	case store.KindSymlink:
		b.word(" link=", e.Target)
	}
	if e.Link != 0 {
		b.number(" nlink=", e.Links, 10)
		b.number(" inode=", e.Link, 10)
	}
	if e.Sparse {
		b.number(" tags=allocated-", e.Allocated, 10)
	}
	for _, x := range e.Xattrs {
		b.word(" xattr.", x.Name)
		b.text = append(b.text, '=')
		b.text = base64.StdEncoding.AppendEncode(b.text, x.Value)
	}
	b.text = append(b.text, '\n')
}

// owner appends what is not as the block has it.
func (b *Block) owner(e *Entry, s shared) {
	if e.UID != s.uid {
		b.number(" uid=", uint64(e.UID), 10)
	}
	if e.GID != s.gid {
		b.number(" gid=", uint64(e.GID), 10)
	}
	if e.User != s.user {
		b.word(" uname=", e.User)
	}
	if e.Group != s.group {
		b.word(" gname=", e.Group)
	}
}

// time appends the modification time, with nine digits of the nanoseconds.
func (b *Block) time(e *Entry) {
	b.text = append(b.text, " time="...)
	b.text = strconv.AppendInt(b.text, e.Seconds, 10)
	b.text = append(b.text, '.')
	at := len(b.text)
	b.text = strconv.AppendUint(b.text, 1_000_000_000+uint64(e.Nanoseconds%1_000_000_000), 10)
	b.text = append(b.text[:at], b.text[at+1:]...) // without the leading 1
}

func (b *Block) number(keyword string, n uint64, base int) {
	b.text = strconv.AppendUint(append(b.text, keyword...), n, base)
}

func (b *Block) word(keyword, value string) {
	b.text = appendEscaped(append(b.text, keyword...), value)
}

// plain is the bytes that stand for themselves. All programs that read mtree texts agree on these.
func plain(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '.', '-', '_', '/', '+', ',', ':', '@', '~':
		return true
	}
	return false
}

// appendEscaped appends s, with every byte that is not plain as a backslash and three octal digits.
func appendEscaped(b []byte, s string) []byte {
	from := 0
	for i := range len(s) {
		if c := s[i]; !plain(c) {
			b = append(append(b, s[from:i]...), '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
			from = i + 1
		}
	}
	return append(b, s[from:]...)
}

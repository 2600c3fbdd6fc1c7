package export

import (
	"fmt"
	"io"
	"strconv"
	"unicode/utf8"
)

// tarEncoder writes ustar (POSIX.1-1988). Names are raw bytes. What does not fit into a header is in a PAX record before
// it (POSIX.1-2001), or, if it is a name that is not UTF-8, which PAX does not allow, in a long name as GNU tar writes it.
type tarEncoder struct {
	mtime int64 // seconds since 1970
}

const (
	tarBlock      = 512
	tarNameLen    = 100
	tarPrefixLen  = 155
	tarSizeLimit  = 1 << 33 // eleven octal digits
	tarTypeFile   = '0'
	tarTypeLink   = '2'
	tarTypeDir    = '5'
	tarTypePAX    = 'x'
	gnuLongName   = 'L'
	gnuLongTarget = 'K'
)

func (t *tarEncoder) begin() []byte         { return nil }
func (t *tarEncoder) end(uint64) []byte     { return make([]byte, 2*tarBlock) }
func (t *tarEncoder) wrote(*parcel, uint64) {}

func (t *tarEncoder) plain(p *parcel, it *item) error {
	switch {
	case it.step == stepSymlink:
		p.buf = t.header(p.buf, tarEntry{name: it.path(), kind: tarTypeLink, mode: 0o777, target: it.node.Target})
	case it.step == stepEnter && it.node.Name != "": // the root has no entry, unless it has a name
		p.buf = t.header(p.buf, tarEntry{name: it.path() + "/", kind: tarTypeDir, mode: 0o755})
	}
	return nil
}

func (t *tarEncoder) before(p *parcel, it *item) error {
	p.buf = t.fileHeader(p.buf, it)
	return nil
}

func (t *tarEncoder) fileHeader(b []byte, it *item) []byte {
	mode := int64(0o644)
	if it.node.Executable {
		mode = 0o755
	}
	return t.header(b, tarEntry{name: it.path(), kind: tarTypeFile, mode: mode, size: it.node.Size})
}

func (t *tarEncoder) after(p *parcel, it *item, _ int) error {
	p.buf = append(p.buf, make([]byte, tarPadding(it.node.Size))...)
	return nil
}

// tarPadding returns how many zeros fill the last block of a file.
func tarPadding(size uint64) int { return int(-size & (tarBlock - 1)) }

func (t *tarEncoder) long(out *offsetWriter, it *item, contents func(io.Writer) error) error {
	return writeAround(out, t.fileHeader(nil, it), contents, make([]byte, tarPadding(it.node.Size)))
}

// writeAround writes contents between two pieces.
func writeAround(out io.Writer, before []byte, contents func(io.Writer) error, after []byte) error {
	_, err := out.Write(before)
	if err == nil {
		err = contents(out)
	}
	if err == nil {
		_, err = out.Write(after)
	}
	return err
}

// tarEntry is what a header says.
type tarEntry struct {
	name, target string
	kind         byte
	mode         int64
	size         uint64
	mtime        int64
}

// header appends the header of an entry, after those with what does not fit into it.
func (t *tarEncoder) header(b []byte, e tarEntry) []byte {
	e.mtime = t.mtime
	var pax []byte
	if _, _, ok := splitTarName(e.name); !ok {
		if utf8.ValidString(e.name) {
			pax = appendPAX(pax, "path", e.name)
		} else {
			b = t.gnuHeader(b, gnuLongName, e.name)
		}
	}
	if len(e.target) > tarNameLen {
		if utf8.ValidString(e.target) {
			pax = appendPAX(pax, "linkpath", e.target)
		} else {
			b = t.gnuHeader(b, gnuLongTarget, e.target)
		}
	}
	if e.size >= tarSizeLimit {
		pax = appendPAX(pax, "size", strconv.FormatUint(e.size, 10))
	}
	if e.mtime < 0 || e.mtime >= tarSizeLimit {
		pax = appendPAX(pax, "mtime", strconv.FormatInt(e.mtime, 10))
	}
	if len(pax) > 0 {
		b = appendTarData(b, tarEntry{name: "PaxHeaders/entry", kind: tarTypePAX, mode: 0o644}, pax)
	}
	return appendTarHeader(b, e)
}

// gnuHeader appends a name that is too long for a header, as GNU tar does.
func (t *tarEncoder) gnuHeader(b []byte, kind byte, name string) []byte {
	return appendTarData(b, tarEntry{name: "././@LongLink", kind: kind, mode: 0o644}, append([]byte(name), 0))
}

// appendTarData appends a header and what belongs to it.
func appendTarData(b []byte, e tarEntry, data []byte) []byte {
	e.size = uint64(len(data))
	b = append(appendTarHeader(b, e), data...)
	return append(b, make([]byte, tarPadding(e.size))...)
}

// appendPAX appends a record, which begins with its own length.
func appendPAX(b []byte, key, value string) []byte {
	size := len(key) + len(value) + len(" =\n")
	total := size + len(strconv.Itoa(size))
	total = size + len(strconv.Itoa(total)) // one more digit may make it longer
	return fmt.Appendf(b, "%d %s=%s\n", total, key, value)
}

// splitTarName returns the two fields that hold a name. ok is false if it does not fit into them.
func splitTarName(name string) (prefix, rest string, ok bool) {
	if len(name) <= tarNameLen {
		return "", name, true
	}
	if len(name) > tarPrefixLen+1+tarNameLen {
		return "", name[:tarNameLen], false
	}
	for i := max(1, len(name)-tarNameLen-1); i <= tarPrefixLen && i < len(name)-1; i++ {
		if name[i] == '/' {
			return name[:i], name[i+1:], true
		}
	}
	return "", name[:tarNameLen], false
}

// appendTarHeader appends one header block, with as much as fits into it.
func appendTarHeader(b []byte, e tarEntry) []byte {
	from := len(b)
	b = append(b, make([]byte, tarBlock)...)
	h := b[from:]
	prefix, name, _ := splitTarName(e.name)
	copy(h[:tarNameLen], name)
	octal(h[100:108], e.mode)
	octal(h[108:116], 0)
	octal(h[116:124], 0)
	if e.size < tarSizeLimit {
		octal(h[124:136], int64(e.size))
	} else {
		octal(h[124:136], 0)
	}
	if e.mtime >= 0 && e.mtime < tarSizeLimit {
		octal(h[136:148], e.mtime)
	} else {
		octal(h[136:148], 0)
	}
	copy(h[148:156], "        ")
	h[156] = e.kind
	copy(h[157:257], e.target[:min(len(e.target), tarNameLen)])
	copy(h[257:], "ustar\x0000")
	octal(h[329:337], 0)
	octal(h[337:345], 0)
	copy(h[345:500], prefix)
	sum := int64(0)
	for _, c := range h {
		sum += int64(c)
	}
	octal(h[148:155], sum)
	return b
}

// octal writes a number in octal, with leading zeros and a NUL at the end.
func octal(field []byte, n int64) {
	i := len(field) - 1
	field[i] = 0
	for i--; i >= 0; i-- {
		field[i] = '0' + byte(n&7)
		n >>= 3
	}
}

package export

import (
	"fmt"
	"strconv"
	"unicode/utf8"
)

// tarEncoder writes ustar (POSIX.1-1988). Names are raw bytes. What does not fit into a header is in a PAX record before
// it (POSIX.1-2001), or, if it is a name that is not UTF-8, which PAX does not allow, in a long name as GNU tar writes it.
type tarEncoder struct{}

const (
	tarBlock      = 512
	tarNameLen    = 100
	tarPrefixLen  = 155
	tarSizeLimit  = 1 << 33 // eleven octal digits
	tarIDLimit    = 1 << 21 // seven
	tarUserLen    = 32      // with a NUL
	gnuLongName   = 'L'
	gnuLongTarget = 'K'

	tarTypeFile     = '0'
	tarTypeHardLink = '1'
	tarTypeSymlink  = '2'
	tarTypeDir      = '5'
	tarTypePAX      = 'x'
)

func (t *tarEncoder) end(uint64) []byte { return make([]byte, 2*tarBlock) }

func (t *tarEncoder) plain(p *parcel, ev *archiveEvent) error {
	kinds := [...]byte{eventSymlink: tarTypeSymlink, eventHardLink: tarTypeHardLink, eventEnter: tarTypeDir}
	if kind := kinds[ev.kind]; kind != 0 {
		p.buf = t.entry(p.buf, ev, kind)
	}
	return nil
}

func (t *tarEncoder) before(p *parcel, ev *archiveEvent) error {
	p.buf = t.entry(p.buf, ev, tarTypeFile)
	return nil
}

// entry appends the header of an event. The root has none if it has neither a name nor a listing.
func (t *tarEncoder) entry(b []byte, ev *archiveEvent, kind byte) []byte {
	e := tarEntry{name: ev.path(), target: ev.node.Target, kind: kind, attrs: ev.attrs}
	switch {
	case kind == tarTypeFile:
		e.size = ev.node.Size
	case kind == tarTypeDir && e.name != "":
		e.name += "/"
	case kind == tarTypeDir && ev.listed:
		e.name = "./"
	case kind == tarTypeDir:
		return b
	}
	return t.header(b, e)
}

func (t *tarEncoder) after(p *parcel, ev *archiveEvent, _ int) error {
	p.buf = append(p.buf, make([]byte, tarPadding(ev.node.Size))...)
	return nil
}

// tarPadding returns how many zeros fill the last block of a file.
func tarPadding(size uint64) int { return int(-size & (tarBlock - 1)) }

// tarEntry is what a header says.
type tarEntry struct {
	name, target string
	kind         byte
	size         uint64
	attrs
}

// header appends the header of an entry, after those with what does not fit into it.
func (t *tarEncoder) header(b []byte, e tarEntry) []byte {
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
	pax = e.appendRecords(pax)
	if len(pax) > 0 {
		b = appendTarData(b, tarEntry{name: "PaxHeaders/entry", kind: tarTypePAX}, pax)
	}
	return appendTarHeader(b, e)
}

// appendRecords appends records of attributes that a header cannot hold.
func (a *attrs) appendRecords(pax []byte) []byte {
	if a.seconds < 0 || a.seconds >= tarSizeLimit || a.nanoseconds != 0 {
		pax = appendPAX(pax, "mtime", paxTime(a.seconds, a.nanoseconds))
	}
	for _, id := range []struct {
		key, nameKey, name string
		number             uint32
	}{{"uid", "uname", a.user, a.uid}, {"gid", "gname", a.group, a.gid}} {
		if id.number >= tarIDLimit {
			pax = appendPAX(pax, id.key, strconv.FormatUint(uint64(id.number), 10))
		}
		if len(id.name) >= tarUserLen && utf8.ValidString(id.name) {
			pax = appendPAX(pax, id.nameKey, id.name)
		}
	}
	for _, x := range a.xattrs {
		pax = appendPAX(pax, "SCHILY.xattr."+x.Name, string(x.Value))
	}
	return pax
}

// paxTime returns a time in seconds since 1970, as a decimal number.
func paxTime(seconds int64, nanoseconds uint32) string {
	switch {
	case nanoseconds == 0:
		return strconv.FormatInt(seconds, 10)
	case seconds < 0:
		return fmt.Sprintf("-%d.%09d", -(seconds + 1), 1_000_000_000-nanoseconds)
	}
	return fmt.Sprintf("%d.%09d", seconds, nanoseconds)
}

// gnuHeader appends a name that is too long for a header, as GNU tar does.
func (t *tarEncoder) gnuHeader(b []byte, kind byte, name string) []byte {
	return appendTarData(b, tarEntry{name: "././@LongLink", kind: kind}, append([]byte(name), 0))
}

// appendTarData appends a header and what belongs to it.
func appendTarData(b []byte, e tarEntry, data []byte) []byte {
	e.size, e.mode = uint64(len(data)), 0o644
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
	octal(h[100:108], int64(e.mode))
	octal(h[108:116], below(int64(e.uid), tarIDLimit))
	octal(h[116:124], below(int64(e.gid), tarIDLimit))
	octal(h[124:136], below(int64(e.size), tarSizeLimit))
	octal(h[136:148], below(e.seconds, tarSizeLimit))
	copy(h[148:156], "        ")
	h[156] = e.kind
	copy(h[157:257], e.target[:min(len(e.target), tarNameLen)])
	copy(h[257:], "ustar\x0000")
	if len(e.user) < tarUserLen {
		copy(h[265:297], e.user)
	}
	if len(e.group) < tarUserLen {
		copy(h[297:329], e.group)
	}
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

// below returns n, or 0 if that is no number below limit, which is told in a record then.
func below(n, limit int64) int64 {
	if n < 0 || n >= limit {
		return 0
	}
	return n
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

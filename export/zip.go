package export

import (
	"hash/crc32"
	"io"
	"math"
	"sync"
	"time"
	"unicode/utf8"
	"unsafe"

	"github.com/klauspost/compress/flate"
)

// zipEncoder writes zip archives, as PKWARE's APPNOTE describes them and Info-ZIP's programs read them. Files are deflated
// unless that makes them longer. Names are raw bytes, and marked if they are UTF-8 and not ASCII. Modes and symlinks are
// in the external attributes as Unix has them, and the time to a second is in an extended timestamp.
type zipEncoder struct {
	central []byte // the list of entries
	entries uint64
	writers sync.Pool // of *flate.Writer
}

// zipEntry is an entry of the list at the end.
type zipEntry struct {
	name         string
	mode         uint32 // as in struct stat
	extra        []byte // the time, and the owner if it is known
	method       uint16
	flags        uint16
	date, time   uint16
	crc          uint32
	packed, size uint64
	at           uint64 // offset of the local header, in the parcel and later in the archive
}

const (
	zipStored  = 0
	zipDeflate = 8

	zipDescriptor = 1 << 3  // flag: checksum and sizes come after the contents
	zipUTF8       = 1 << 11 // flag: the name is UTF-8

	zipUnix    = 3 << 8 // made on
	zipVersion = 20     // needed to extract
	zip64      = 45     // needed to extract with sizes of 64 bits

	unixFile, unixDir, unixLink = 0o100000, 0o040000, 0o120000

	zipLevel = 5
)

func newZipEncoder() *zipEncoder {
	z := &zipEncoder{}
	z.writers.New = func() any {
		w, _ := flate.NewWriter(nil, zipLevel) // the level is valid
		return w
	}
	return z
}

// entry returns the entry for an event, without contents.
func (z *zipEncoder) entry(ev *archiveEvent) *zipEntry {
	e := &zipEntry{name: ev.path(), method: zipStored, mode: unixFile | ev.mode}
	switch ev.kind {
	case eventEnter:
		e.name, e.mode = e.name+"/", unixDir|ev.mode
	case eventSymlink:
		e.mode = unixLink | ev.mode
	}
	e.date, e.time = dosTime(ev.seconds)
	e.extra = ev.zipExtra()
	for _, c := range []byte(e.name) {
		if c >= utf8.RuneSelf {
			if utf8.ValidString(e.name) {
				e.flags |= zipUTF8
			}
			break
		}
	}
	return e
}

func (z *zipEncoder) plain(p *parcel, ev *archiveEvent) error {
	if ev.kind == eventLeave || ev.kind == eventEnter && ev.node.Name == "" {
		return nil
	}
	z.whole(p, z.entry(ev), []byte(ev.node.Target))
	return nil
}

func (z *zipEncoder) before(*parcel, *archiveEvent) error { return nil }

// after replaces the contents of a file by an entry.
func (z *zipEncoder) after(p *parcel, ev *archiveEvent, from int) error {
	data := p.buf[from:]
	e := z.entry(ev)
	var packed appender
	if len(data) > 0 {
		packed = make(appender, 0, len(data))
		if err := z.deflate(&packed, func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
			return err
		}
	}
	if len(packed) == 0 || len(packed) >= len(data) {
		data = append([]byte(nil), data...)
		p.buf = p.buf[:from]
		z.whole(p, e, data)
		return nil
	}
	e.crc, e.size, e.packed, e.method = crc32.ChecksumIEEE(data), uint64(len(data)), uint64(len(packed)), zipDeflate
	p.buf = p.buf[:from]
	z.put(p, e, packed)
	return nil
}

// whole appends an entry that is stored as it is.
func (z *zipEncoder) whole(p *parcel, e *zipEntry, data []byte) {
	e.crc, e.size, e.packed = crc32.ChecksumIEEE(data), uint64(len(data)), uint64(len(data))
	z.put(p, e, data)
}

func (z *zipEncoder) put(p *parcel, e *zipEntry, packed []byte) {
	e.at = uint64(len(p.buf))
	p.entries = append(p.entries, e)
	p.buf = append(z.local(p.buf, e, false), packed...)
}

// deflate compresses what contents writes.
func (z *zipEncoder) deflate(to io.Writer, contents func(io.Writer) error) error {
	w := z.writers.Get().(*flate.Writer)
	defer z.writers.Put(w)
	w.Reset(to)
	if err := contents(w); err != nil {
		return err
	}
	return w.Close()
}

// long writes a file whose checksum and sizes are known only afterwards.
func (z *zipEncoder) long(out *offsetWriter, ev *archiveEvent, contents func(io.Writer) error) error {
	e := z.entry(ev)
	e.at, e.method, e.flags = out.n, zipDeflate, e.flags|zipDescriptor
	wide := ev.node.Size > math.MaxUint32/2 // compressed, it could be longer than that
	if _, err := out.Write(z.local(nil, e, wide)); err != nil {
		return err
	}
	began, crc := out.n, crc32.NewIEEE()
	err := z.deflate(out, func(w io.Writer) error { return contents(io.MultiWriter(crc, w)) })
	if err != nil {
		return err
	}
	e.crc, e.size, e.packed = crc.Sum32(), ev.node.Size, out.n-began
	b := appendLE(nil, 0x08074b50, e.crc)
	if wide {
		b = appendLE(b, e.packed, e.size)
	} else {
		b = appendLE(b, uint32(e.packed), uint32(e.size))
	}
	z.list(e)
	_, err = out.Write(b)
	return err
}

// local appends the header before the contents of an entry. If wide is set, its sizes have 64 bits.
func (z *zipEncoder) local(b []byte, e *zipEntry, wide bool) []byte {
	var extra []byte
	version, packed, size := uint16(zipVersion), uint32(e.packed), uint32(e.size)
	if wide {
		version, packed, size = zip64, math.MaxUint32, math.MaxUint32
		extra = appendLE(appendLE[uint16](nil, 1, 16), uint64(0), 0)
	}
	extra = append(extra, e.extra...)
	b = appendLE(b, uint32(0x04034b50))
	b = appendLE(b, version, e.flags, e.method, e.time, e.date)
	b = appendLE(b, e.crc, packed, size)
	b = appendLE(b, uint16(len(e.name)), uint16(len(extra)))
	return append(append(b, e.name...), extra...)
}

// appendLE appends numbers, each with its least significant byte first.
func appendLE[T uint16 | uint32 | uint64](b []byte, numbers ...T) []byte {
	for _, n := range numbers {
		for range unsafe.Sizeof(n) {
			b = append(b, byte(n))
			n >>= 8
		}
	}
	return b
}

// dosTime returns a time as zip has had it from the beginning: in UTC, between 1980 and 2107, to two seconds.
func dosTime(seconds int64) (date, clock uint16) {
	t := time.Unix(seconds, 0).UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	} else if t.Year() > 2107 {
		t = time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC)
	}
	return uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day()), uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
}

// zipExtra returns the fields that Info-ZIP calls extended timestamp, if it can hold the time, and new Unix, if the owner
// is known.
func (a *attrs) zipExtra() (b []byte) {
	if a.seconds == int64(int32(a.seconds)) {
		b = append(appendLE[uint16](b, 0x5455, 5), 1)
		b = appendLE(b, uint32(a.seconds))
	}
	if a.listed {
		b = append(appendLE[uint16](b, 0x7875, 11), 1, 4)
		b = append(appendLE(b, a.uid), 4)
		b = appendLE(b, a.gid)
	}
	return b
}

func (z *zipEncoder) wrote(p *parcel, at uint64) {
	for _, e := range p.entries {
		e.at += at
		z.list(e)
	}
}

// list adds an entry to the list at the end.
func (z *zipEncoder) list(e *zipEntry) {
	z.entries++
	version := uint16(zipVersion)
	var wide []byte
	field := func(v uint64) uint32 {
		if v < math.MaxUint32 {
			return uint32(v)
		}
		wide, version = appendLE(wide, v), zip64
		return math.MaxUint32
	}
	size, packed, at := field(e.size), field(e.packed), field(e.at) // in the order of the field with 64 bits
	var extra []byte
	if len(wide) > 0 {
		extra = append(appendLE(nil, 1, uint16(len(wide))), wide...)
	}
	extra = append(extra, e.extra...)
	attributes := e.mode << 16
	if e.mode&unixDir == unixDir {
		attributes |= 0x10 // as DOS has it
	}
	b := appendLE(z.central, uint32(0x02014b50))
	b = appendLE(b, zipUnix|zip64, version, e.flags, e.method, e.time, e.date)
	b = appendLE(b, e.crc, packed, size)
	b = appendLE(b, uint16(len(e.name)), uint16(len(extra)), 0, 0, 0) // no comment, on the first disk, no internal attributes
	b = appendLE(b, attributes, at)
	z.central = append(append(b, e.name...), extra...)
}

// end returns the list of entries, and where it is.
func (z *zipEncoder) end(at uint64) []byte {
	b, size := z.central, uint64(len(z.central))
	if z.entries >= math.MaxUint16 || size >= math.MaxUint32 || at >= math.MaxUint32 {
		end := at + size
		b = appendLE(b, uint32(0x06064b50))
		b = appendLE(b, uint64(44)) // the length of what follows
		b = appendLE[uint16](b, zipUnix|zip64, zip64)
		b = appendLE[uint32](b, 0, 0) // disks
		b = appendLE(b, z.entries, z.entries, size, at)
		b = appendLE[uint32](b, 0x07064b50, 0)
		b = appendLE(b, end)
		b = appendLE(b, uint32(1))
	}
	entries := uint16(min(z.entries, math.MaxUint16))
	b = appendLE[uint32](b, 0x06054b50, 0) // disks
	b = appendLE(b, entries, entries)
	b = appendLE(b, uint32(min(size, math.MaxUint32)), uint32(min(at, math.MaxUint32)))
	return appendLE(b, uint16(0))
}

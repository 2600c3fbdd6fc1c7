package packed

import (
	"encoding/binary"
	"fmt"
	"path"
	"testing"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/pack"
)

// field is a number or a digest in a file of a store.
type field struct {
	name string // for a person
	file string
	at   int
	size int
	// Those of the checksums of the file that cover it are computed anew by this.
	seal func(b []byte)
}

// String names the field, its file and its place.
func (f field) String() string { return fmt.Sprintf("%s at %d of %s", f.name, f.at, path.Dir(f.file)) }

// value returns the field in b, as it is on disk.
func (f field) value(b []byte) []byte { return b[f.at:][:f.size] }

// fieldsOf returns the fields of all records of packs and indexes.
func fieldsOf(t testing.TB, files map[string][]byte) (all []field) {
	t.Helper()
	for name, b := range files {
		switch path.Dir(name) {
		case pack.Dir:
			all = append(all, packFields(t, name, b)...)
		case index.Dir:
			all = append(all, indexFields(t, name, b)...)
		}
	}
	return all
}

func packFields(t testing.TB, name string, b []byte) (all []field) {
	all = append(all, field{"role", name, 12, 4, func([]byte) {}})
	for next := pack.PackHeadLen; next < len(b); {
		at := next
		h, _, err := pack.ParseFrameHead(b[at:])
		if err != nil {
			t.Fatal(err)
		}
		end := pack.FrameHeadLen + len(h.Items)*pack.ItemLen
		head := func(b []byte) {
			copy(b[at+pack.FrameHeadLen-4:], binary.LittleEndian.AppendUint32(nil, pack.ExtendChecksum(pack.Checksum(b[at:at+pack.FrameHeadLen-4]), b[at+pack.FrameHeadLen:at+end])))
		}
		payload := func(b []byte) {
			from := at + int(h.Start)
			copy(b[at+24:], binary.LittleEndian.AppendUint32(nil, pack.Checksum(b[from:from+int(h.Stored)])))
			head(b)
		}
		for i, f := range []string{"kind", "codec", "zero"} {
			all = append(all, field{"head " + f, name, at + 4 + i, 1, head})
		}
		for i, f := range []string{"count", "start", "stored", "raw", "payloadsum"} {
			all = append(all, field{"head " + f, name, at + 8 + 4*i, 4, head})
		}
		for i := range h.Items {
			all = append(all, field{"item digest", name, at + pack.FrameHeadLen + i*pack.ItemLen, store.DigestSize, head},
				field{"item size", name, at + pack.FrameHeadLen + i*pack.ItemLen + store.DigestSize, 4, head})
		}
		for i := 0; h.Kind == pack.KindList && h.Codec == pack.Plain && i < int(h.Stored); i += pack.ItemLen {
			all = append(all, field{"list digest", name, at + int(h.Start) + i, store.DigestSize, payload},
				field{"list size", name, at + int(h.Start) + i + store.DigestSize, 4, payload})
		}
		all = append(all, field{"payload", name, at + int(h.Start) + int(h.Stored)/2, 1, payload})
		next += int(h.Start) + int(h.Stored)
	}
	return all
}

// What a pack, and the value of a record, take in an index.
const (
	packRefLen = 16
	valueLen   = 12
)

func indexFields(t testing.TB, name string, b []byte) (all []field) {
	x, err := index.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	add := func(f string, at, size int) { all = append(all, field{f, name, at, size, resealIndex}) }
	for i := range x.Packs {
		add("pack id", i*packRefLen, 8)
		add("pack length", i*packRefLen+8, 8)
	}
	for i := range x.Frames() {
		at := len(x.Packs)*packRefLen + i*index.FrameLen
		add("frame pack", at, 4)
		add("frame offset", at+4, 8)
		for j, f := range []string{"start", "stored", "raw"} {
			add("frame "+f, at+12+4*j, 4)
		}
		for j, f := range []string{"kind", "codec", "zero"} {
			add("frame "+f, at+24+j, 1)
		}
	}
	at := len(x.Packs)*packRefLen + x.Frames()*index.FrameLen
	for k := range index.Tables {
		for i := range x.Table(k).Len() {
			record := at + i*(store.DigestSize+valueLen)
			add(k.String()+" key", record+store.DigestSize-1, 1) // the order stays
			for j, f := range []string{"frame", "offset", "size"} {
				add(k.String()+" "+f, record+store.DigestSize+4*j, 4)
			}
		}
		at += int(binary.LittleEndian.Uint64(b[len(b)-index.FootLen+24+8*int(k/2):]))
	}
	for i, f := range []string{"packs", "frames"} {
		add("foot "+f, len(b)-index.FootLen+12+4*i, 4)
	}
	add("foot blobslen", len(b)-index.FootLen+24, 8)
	add("foot dirslen", len(b)-index.FootLen+32, 8)
	return all
}

// resealIndex computes the checksums of an index anew.
func resealIndex(b []byte) {
	le := binary.LittleEndian
	foot := b[len(b)-index.FootLen:]
	body := uint64(le.Uint32(foot[12:]))*packRefLen + uint64(le.Uint32(foot[16:]))*index.FrameLen
	ends := []uint64{body + le.Uint64(foot[24:]), body + le.Uint64(foot[24:]) + le.Uint64(foot[32:])}
	for from := body; len(ends) > 0; from, ends = ends[0], ends[1:] {
		if end := ends[0]; from+32 <= end && end <= uint64(len(b)-index.FootLen) {
			t := b[from:end]
			le.PutUint32(t[len(t)-8:], pack.Checksum(t[:len(t)-32]))
			le.PutUint32(t[len(t)-4:], pack.Checksum(t[len(t)-32:len(t)-4]))
		}
	}
	if body <= uint64(len(b)-index.FootLen) {
		le.PutUint32(foot[20:], pack.Checksum(b[:body]))
	}
	le.PutUint32(foot[index.FootLen-4:], pack.Checksum(foot[:index.FootLen-4]))
}

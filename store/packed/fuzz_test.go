package packed

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/durable/crashfs"
)

// sampleFiles returns the files of a small store.
func sampleFiles(tb testing.TB) map[string][]byte {
	tb.Helper()
	fsys := crashfs.New()
	s := newSampler()
	if err := s.ingest(context.Background(), fsys, func(ledger) {}); err != nil {
		tb.Fatal(err)
	}
	return fsys.Files()
}

// seed adds the files of a small store whose names begin with prefix.
func seed(f *testing.F, prefix string) {
	f.Helper()
	n := 0
	for name, data := range sampleFiles(f) {
		if strings.HasPrefix(name, prefix) {
			f.Add(data)
			n++
		}
	}
	if n == 0 {
		f.Fatalf("a store has no %s", prefix)
	}
}

func FuzzFrameHead(f *testing.F) {
	for name, data := range sampleFiles(f) {
		if strings.HasPrefix(name, packsDir) {
			f.Add(data[packHeadLen:])
			f.Add(data[packHeadLen : packHeadLen+frameHeadLen])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, need, err := parseFrameHead(b)
		if errors.Is(err, errFrameTooShort) != (need > len(b)) {
			t.Errorf("%d bytes: error %v, needs %d", len(b), err, need)
		}
		if err != nil {
			return
		}
		again := appendFrameHead(nil, &h)
		if head := frameHeadLen + len(h.items)*itemLen; !bytes.Equal(again[:head], b[:head]) || len(again) != int(h.start) {
			t.Errorf("encodes to %x, was %x", again[:head], b[:head])
		}
		total := uint64(0)
		for _, item := range h.items {
			total += uint64(item.size)
		}
		if total != uint64(h.raw) {
			t.Errorf("items of %d bytes in a frame of %d", total, h.raw)
		}
	})
}

func FuzzPackHead(f *testing.F) {
	f.Add(appendPackHead(nil, roleData))
	f.Add(appendPackHead(nil, roleMeta))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parsePackHead(b)
		if err == nil && !bytes.Equal(appendPackHead(nil, r), b[:packHeadLen]) {
			t.Errorf("role %d of %x", r, b[:packHeadLen])
		}
	})
}

func FuzzIndex(f *testing.F) {
	seed(f, indexDir)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, refoot(b)} {
			x, err := parseIndex(b)
			if err != nil {
				continue
			}
			sound := x.check() == nil
			for _, k := range []kind{kindDirectory, kindData} {
				for i := range min(x.table(k).Len(), 1000) {
					record := x.table(k).Record(i)
					d := store.Digest(record[:store.DigestSize])
					want, there := x.locate(record[store.DigestSize:])
					got, found := x.find(k, &d)
					if sound && (!there || !found || got != want) {
						t.Errorf("record %d, %s: found %v %v, want %v %v", i, d, found, got, there, want)
					}
				}
			}
			for i := range min(x.frames(), 1000) {
				if _, ok := x.frame(i); sound && !ok {
					t.Errorf("frame %d names no pack", i)
				}
			}
		}
	})
}

// refoot gives changed bytes the checksum that lets parseIndex look further.
func refoot(b []byte) []byte {
	if len(b) < indexFootLen {
		return b
	}
	b = bytes.Clone(b)
	foot := b[len(b)-indexFootLen:]
	binary.LittleEndian.PutUint32(foot[indexFootLen-4:], checksum(foot[:indexFootLen-4]))
	return b
}

func FuzzChunkList(f *testing.F) {
	f.Add(appendList(nil, []store.Chunk{{Digest: store.Sum(nil), Size: 1}, {Digest: store.Sum([]byte("a")), Size: 1 << 31}}))
	f.Add(make([]byte, 2*itemLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkList(b) != nil {
			return
		}
		var chunks []store.Chunk
		for c, err := range new(Store).eachChunk(location{size: uint32(len(b))}, b) {
			if err != nil {
				t.Fatal(err)
			}
			chunks = append(chunks, c)
		}
		if len(chunks) < 2 || !bytes.Equal(appendList(nil, chunks), b) {
			t.Errorf("%d chunks encode to %x, was %x", len(chunks), appendList(nil, chunks), b)
		}
	})
}

func FuzzConfig(f *testing.F) {
	seed(f, configName)
	f.Add(seal([]byte(`{"version":2,"future":true}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(b)} {
			c, err := parseConfig(b)
			if err != nil {
				continue
			}
			fsys := crashfs.New()
			if err := fsys.Mkdir(tmpDir); err != nil {
				t.Fatal(err)
			}
			if err := writeConfig(fsys, c); err != nil {
				t.Fatal(err)
			}
			if again, err := readConfig(fsys); err != nil || again != c {
				t.Errorf("%+v comes back as %+v, %v", c, again, err)
			}
		}
	})
}

func FuzzTag(f *testing.F) {
	seed(f, tagsDir)
	f.Add([]byte(`{"root":"GgA=","time":"2024-01-01T00:00:00+23:59","source":"//8=","counts":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, seal(b)} {
			tag, err := decodeTag(b)
			if err != nil {
				continue
			}
			again, err := encodeTag(tag)
			if err != nil {
				t.Errorf("%+v: %v", tag, err)
				continue
			}
			back, err := decodeTag(again)
			if err != nil || !back.Time.Equal(tag.Time) {
				t.Errorf("%+v comes back as %+v, %v", tag, back, err)
			}
			if back.Time = tag.Time; !reflect.DeepEqual(back, tag) {
				t.Errorf("%+v comes back as %+v", tag, back)
			}
		}
	})
}

// FuzzPack reads a frame from a pack of any bytes, as an index that may be damaged describes it.
func FuzzPack(f *testing.F) {
	for name, data := range sampleFiles(f) {
		if strings.HasPrefix(name, packsDir) {
			h, _, err := parseFrameHead(data[packHeadLen:])
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, int64(packHeadLen), h.start, h.stored, h.raw, uint8(h.kind), uint8(h.codec), uint32(0), h.raw)
			f.Add(data, int64(packHeadLen), h.start, h.stored, ^uint32(0), uint8(h.kind), uint8(h.codec), uint32(9), ^uint32(0)-9)
			f.Add(data, int64(packHeadLen), h.start, ^uint32(0), h.stored, uint8(h.kind), uint8(h.codec), uint32(0), h.raw)
			f.Add(data, int64(-1)<<63, h.start, h.stored, h.raw, uint8(3), uint8(2), uint32(0), h.raw)
		}
	}
	s := newSampler()
	f.Fuzz(func(t *testing.T, pack []byte, offset int64, start, stored, raw uint32, k, c uint8, at, size uint32) {
		fsys := crashfs.New()
		st, err := s.open(t.Context(), fsys, true)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		file, err := fsys.Create(packPath(packID{}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(pack); err != nil {
			t.Fatal(err)
		}
		file.Close()
		if uint64(at)+uint64(size) > uint64(raw) {
			return // an index refuses it
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l := location{frameRef{offset: offset, start: start, stored: stored, raw: raw, kind: kind(k), codec: codec(c)}, at, size}
		err = st.use(l, func(data []byte) error {
			if len(data) != int(size) {
				t.Errorf("%d bytes, want %d", len(data), size)
			}
			return nil
		})
		if corrupt := (*store.CorruptError)(nil); err != nil && !errors.As(err, &corrupt) {
			t.Errorf("error %v", err)
		}
		runtime.ReadMemStats(&after)
		if used, most := after.TotalAlloc-before.TotalAlloc, uint64(len(pack))<<15+32<<20; used > most {
			t.Errorf("%d bytes were allocated for a pack of %d", used, len(pack))
		}
	})
}

// A frame of a few bytes that claims to be of 4 GiB, in its index and in its zstd header, is refused at no cost.
func TestHugeClaims(t *testing.T) {
	fsys := crashfs.New()
	st, err := newSampler().open(t.Context(), fsys, true)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	claim := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0} // RFC 8878: 4 GiB of content, one empty block
	pack, err := fsys.Create(packPath(packID{}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pack.Write(claim); err != nil {
		t.Fatal(err)
	}
	pack.Close()
	start := time.Now()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, f := range []frameRef{
		{stored: uint32(len(claim)), raw: 1<<32 - 1, codec: codecZstd},
		{stored: uint32(len(claim)), raw: 1000, codec: codecZstd},
		{stored: 1<<32 - 1, raw: 1<<32 - 1, codec: codecRaw},
		{stored: 1<<32 - 1, raw: 10, codec: codecZstd},
		{stored: 4, raw: 5, codec: codecRaw},
	} {
		if _, err := st.readFrame(f, nil); err == nil || !strings.Contains(err.Error(), "corrupt") {
			t.Errorf("%+v: error %v", f, err)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d bytes in %v", used, time.Since(start))
	}
}

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

	"castar/store"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/record"
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
		if strings.HasPrefix(name, pack.Dir) {
			f.Add(data[pack.PackHeadLen:])
			f.Add(data[pack.PackHeadLen : pack.PackHeadLen+pack.FrameHeadLen])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, need, err := pack.ParseFrameHead(b)
		if errors.Is(err, pack.ErrShort) != (need > len(b)) {
			t.Errorf("%d bytes: error %v, needs %d", len(b), err, need)
		}
		if err != nil {
			return
		}
		again := pack.AppendFrameHead(nil, &h)
		if head := pack.FrameHeadLen + len(h.Items)*pack.ItemLen; !bytes.Equal(again[:head], b[:head]) || len(again) != int(h.Start) {
			t.Errorf("encodes to %x, was %x", again[:head], b[:head])
		}
		total := uint64(0)
		for _, item := range h.Items {
			total += uint64(item.Size)
		}
		if total != uint64(h.Raw) {
			t.Errorf("items of %d bytes in a frame of %d", total, h.Raw)
		}
	})
}

func FuzzIndex(f *testing.F) {
	seed(f, index.Dir)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, refoot(b)} {
			x, err := index.Parse(b)
			if err != nil {
				continue
			}
			sound := x.Check() == nil
			for _, k := range []pack.Kind{pack.KindDirectory, pack.KindData} {
				for i := range min(x.Table(k).Len(), 1000) {
					d := *x.Digest(k, i)
					_, want, there := x.Record(k, i)
					got, found := x.Find(k, &d)
					if sound && (!there || !found || got != want) {
						t.Errorf("record %d, %s: found %v %v, want %v %v", i, d, found, got, there, want)
					}
				}
			}
			for i := range min(x.Frames(), 1000) {
				if _, ok := x.Frame(i); sound && !ok {
					t.Errorf("frame %d names no pack", i)
				}
			}
		}
	})
}

// refoot gives changed bytes the checksum that lets parseIndex look further.
func refoot(b []byte) []byte {
	if len(b) < index.FootLen {
		return b
	}
	b = bytes.Clone(b)
	foot := b[len(b)-index.FootLen:]
	binary.LittleEndian.PutUint32(foot[index.FootLen-4:], pack.Checksum(foot[:index.FootLen-4]))
	return b
}

func FuzzConfig(f *testing.F) {
	seed(f, sealed.ConfigName)
	f.Add(record.OneLine.Wrap([]byte(`{"version":2,"future":true}`)))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, record.OneLine.Wrap(b)} {
			c, err := sealed.ParseConfig(b)
			if err != nil {
				continue
			}
			fsys := crashfs.New()
			if err := fsys.Mkdir(pack.TempDir); err != nil {
				t.Fatal(err)
			}
			if err := sealed.WriteConfig(fsys, c); err != nil {
				t.Fatal(err)
			}
			if again, err := sealed.ReadConfig(fsys); err != nil || again != c {
				t.Errorf("%+v comes back as %+v, %v", c, again, err)
			}
		}
	})
}

func FuzzTag(f *testing.F) {
	seed(f, sealed.TagsDir)
	f.Add([]byte(`{"root":"GgA=","time":"2024-01-01T00:00:00+23:59","source":"//8=","counts":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, record.OneLine.Wrap(b)} {
			tag, err := record.DecodeTag(record.OneLine, b)
			if err != nil {
				continue
			}
			again, err := record.EncodeTag(record.OneLine, tag)
			if err != nil {
				t.Errorf("%+v: %v", tag, err)
				continue
			}
			back, err := record.DecodeTag(record.OneLine, again)
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
		if strings.HasPrefix(name, pack.Dir) {
			h, _, err := pack.ParseFrameHead(data[pack.PackHeadLen:])
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data, int64(pack.PackHeadLen), h.Start, h.Stored, h.Raw, uint8(h.Kind), uint8(h.Codec), uint32(0), h.Raw)
			f.Add(data, int64(pack.PackHeadLen), h.Start, h.Stored, ^uint32(0), uint8(h.Kind), uint8(h.Codec), uint32(9), ^uint32(0)-9)
			f.Add(data, int64(pack.PackHeadLen), h.Start, ^uint32(0), h.Stored, uint8(h.Kind), uint8(h.Codec), uint32(0), h.Raw)
			f.Add(data, int64(-1)<<63, h.Start, h.Stored, h.Raw, uint8(3), uint8(2), uint32(0), h.Raw)
		}
	}
	s := newSampler()
	f.Fuzz(func(t *testing.T, pk []byte, offset int64, start, stored, raw uint32, k, c uint8, at, size uint32) {
		fsys := crashfs.New()
		st, err := s.open(t.Context(), fsys, true)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		file, err := fsys.Create((pack.ID{}).Path())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.Write(pk); err != nil {
			t.Fatal(err)
		}
		file.Close()
		if uint64(at)+uint64(size) > uint64(raw) {
			return // an index refuses it
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		l := pack.Location{Frame: pack.Frame{Offset: offset, Start: start, Stored: stored, Raw: raw, Kind: pack.Kind(k), Codec: pack.Codec(c)}, Offset: at, Size: size}
		err = st.Packs.Use(l, func(data []byte) error {
			if len(data) != int(size) {
				t.Errorf("%d bytes, want %d", len(data), size)
			}
			return nil
		})
		if corrupt := (*store.CorruptError)(nil); err != nil && !errors.As(err, &corrupt) {
			t.Errorf("error %v", err)
		}
		runtime.ReadMemStats(&after)
		if used, most := after.TotalAlloc-before.TotalAlloc, uint64(len(pk))<<15+32<<20; used > most {
			t.Errorf("%d bytes were allocated for a pack of %d", used, len(pk))
		}
	})
}

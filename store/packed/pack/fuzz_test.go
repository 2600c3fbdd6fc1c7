package pack

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
)

// newFiles returns the packs of a store, to be closed at the end of the test.
func newFiles(t testing.TB, fsys durable.FS) *Files {
	t.Helper()
	coders, err := NewCoders(1, 2, 4)
	if err != nil {
		t.Fatal(err)
	}
	files := NewFiles(fsys, coders)
	t.Cleanup(func() {
		if err := files.Close(); err != nil {
			t.Error(err)
		}
	})
	return files
}

func FuzzPackHead(f *testing.F) {
	f.Add(AppendPackHead(nil, RoleData))
	f.Add(AppendPackHead(nil, RoleMeta))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParsePackHead(b)
		if err == nil && !bytes.Equal(AppendPackHead(nil, r), b[:PackHeadLen]) {
			t.Errorf("role %d of %x", r, b[:PackHeadLen])
		}
	})
}

func FuzzChunkList(f *testing.F) {
	f.Add(AppendList(nil, []store.Chunk{{Digest: store.Sum(nil), Size: 1}, {Digest: store.Sum([]byte("a")), Size: 1 << 31}}))
	f.Add(make([]byte, 2*ItemLen))
	f.Fuzz(func(t *testing.T, b []byte) {
		if Check(KindList, store.Digest{}, b) != nil {
			return
		}
		var chunks []store.Chunk
		for c, err := range new(Files).Chunks(Location{Size: uint32(len(b))}, b) {
			if err != nil {
				t.Fatal(err)
			}
			chunks = append(chunks, c)
		}
		if len(chunks) < 2 || !bytes.Equal(AppendList(nil, chunks), b) {
			t.Errorf("%d chunks encode to %x, was %x", len(chunks), AppendList(nil, chunks), b)
		}
	})
}

// A frame of a few bytes that claims to be of 4 GiB, in its index and in its zstd header, is refused at no cost.
func TestHugeClaims(t *testing.T) {
	fsys := crashfs.New()
	if err := fsys.Mkdir(Dir); err != nil {
		t.Fatal(err)
	}
	files := newFiles(t, fsys)
	claim := []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0xff, 0xff, 0xff, 0xff, 1, 0, 0} // RFC 8878: 4 GiB of content, one empty block
	file, err := fsys.Create((ID{}).Path())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(claim); err != nil {
		t.Fatal(err)
	}
	file.Close()
	start := time.Now()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, f := range []Frame{
		{Stored: uint32(len(claim)), Raw: 1<<32 - 1, Codec: Zstd},
		{Stored: uint32(len(claim)), Raw: 1000, Codec: Zstd},
		{Stored: 1<<32 - 1, Raw: 1<<32 - 1, Codec: Plain},
		{Stored: 1<<32 - 1, Raw: 10, Codec: Zstd},
		{Stored: 4, Raw: 5, Codec: Plain},
	} {
		if _, err := files.readPayload(f, nil); err == nil || !strings.Contains(err.Error(), "corrupt") {
			t.Errorf("%+v: error %v", f, err)
		}
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
		t.Errorf("%d bytes in %v", used, time.Since(start))
	}
}

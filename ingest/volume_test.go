package ingest

import (
	"encoding/binary"
	"hash/fnv"
	"strings"
	"testing"
)

// TestProves checks what proves that a file with the same path, size, mtime and ctime is unchanged.
func TestProves(t *testing.T) {
	const whole, fraction = 1_600_000_000_000_000_000, 1_600_000_000_004_000_000
	tests := []struct {
		name   string
		v      volume
		r      cacheEntry
		ctime  int64
		proved bool
	}{
		{"same mount", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 5, boot: 1}, fraction, true},
		{"same mount, times of a builder", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 5, boot: 1}, whole, true},
		{"another inode", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 8, mount: 5, boot: 1}, fraction, false},
		{"another mount", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 6, boot: 1}, fraction, false},
		{"another boot", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 6, boot: 2}, fraction, true},
		{"another boot, times of a builder", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 6, boot: 2}, whole, false},
		{"another boot, another inode", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 8, mount: 6, boot: 2}, fraction, false},
		{"mount was not known", volume{native: true, mount: 5, boot: 1}, cacheEntry{ino: 7}, fraction, false},
		{"mount is not known", volume{native: true}, cacheEntry{ino: 7, mount: 5, boot: 1}, fraction, true},
		{"no mount is known", volume{native: true}, cacheEntry{ino: 7}, fraction, true},
		{"no mount is known, times of a builder", volume{native: true}, cacheEntry{ino: 7}, whole, false},
		{"not native", volume{mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 5, boot: 1}, fraction, false},
		{"another device", volume{native: true, dev: 1, mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 5, boot: 1}, fraction, false},
		{"not native, trusted", volume{believed: true}, cacheEntry{ino: 8, mount: 6, boot: 1}, whole, true},
		{"another mount, trusted", volume{native: true, believed: true, mount: 5, boot: 1}, cacheEntry{ino: 7, mount: 6, boot: 1}, whole, true},
		{"another inode, trusted", volume{native: true, believed: true}, cacheEntry{ino: 8}, fraction, false},
	}
	for _, tt := range tests {
		if got := tt.v.proves(&tt.r, &stat{ino: 7, ctime: tt.ctime}); got != tt.proved {
			t.Errorf("%s: proved is %v, want %v", tt.name, got, tt.proved)
		}
	}
}

// TestPathKey compares with package fnv, because keys are stored on disk.
func TestPathKey(t *testing.T) {
	for _, path := range []string{"/", "/a", "/a/b", "/home/user/\xff\x00", "/" + strings.Repeat("long/", 100) + "end"} {
		h := fnv.New128a()
		if path != "/" {
			h.Write([]byte(path))
		}
		sum := h.Sum(nil)
		want := pathKey{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
		if got := keyOf(path); got != want {
			t.Errorf("%q: %x, want %x", path, got, want)
		}
	}
	v := &volume{native: true, id: 1}
	a, b := fileKeyOf("/a").on(v, &stat{}), fileKeyOf("/b").on(v, &stat{})
	if other := fileKeyOf("/a").on(&volume{native: true, id: 2}, &stat{}); a == b || a == other {
		t.Errorf("keys %x, %x, %x of different files", a, b, other)
	}
}

// TestRecord decodes an encoded record.
func TestRecord(t *testing.T) {
	r := cacheEntry{size: 1, mtime: -2, ctime: 3, ino: 4, mount: 5, boot: 6, day: 7}
	r.digest[0], r.digest[31] = 8, 9
	b := r.encode()
	if got := decodeCacheEntry(b[:]); got != r || len(b) != cacheShape.Value {
		t.Errorf("%+v of %d bytes, want %+v", got, len(b), r)
	}
}

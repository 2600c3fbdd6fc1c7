package ingest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// entry returns an entry of a listing as getdents64 writes it.
func entry(ino uint64, name string) []byte {
	b := binary.NativeEndian.AppendUint64(nil, ino)
	b = binary.NativeEndian.AppendUint64(b, 7) // offset of the next
	b = binary.NativeEndian.AppendUint16(b, uint16((19+len(name)+1+7)&^7))
	b = append(append(b, unix.DT_REG), name...)
	return append(b, make([]byte, 8-len(b)%8)...)
}

func TestParseNames(t *testing.T) {
	long := strings.Repeat("x", 255)
	wrong := func(length uint16) []byte {
		e := entry(1, "name")
		binary.NativeEndian.PutUint16(e[direntLength:], length)
		return e
	}
	tests := []struct {
		name string
		buf  []byte
		want []string
		err  error
	}{
		{"nothing", nil, nil, nil},
		{"dots", slices.Concat(entry(1, "."), entry(2, "..")), nil, nil},
		{"names with dots", slices.Concat(entry(1, "..."), entry(2, ".a"), entry(3, "..b")), []string{"...", ".a", "..b"}, nil},
		{"number 0", slices.Concat(entry(0, "a"), entry(1, "b"), entry(0, "c")), []string{"a", "b", "c"}, nil},
		{"largest number", entry(1<<64-1, "a"), []string{"a"}, nil},
		{"lengths", slices.Concat(entry(1, "1234"), entry(1, "12345"), entry(1, long)), []string{"1234", "12345", long}, nil},
		{"bytes", entry(1, "\xff\n/"), []string{"\xff\n/"}, nil},
		{"no end", append(entry(1, "1234")[:19], "12345"...), []string{"12345"}, nil},
		{"short", entry(1, "a")[:18], nil, errListing},
		{"cut off", append(entry(1, "a"), entry(2, "b")[:23]...), nil, errListing},
		{"length 0", wrong(0), nil, errListing},
		{"length of no name", wrong(19), nil, errListing},
		{"length of too much", wrong(32), nil, errListing},
		{"empty name", entry(1, ""), nil, errListing},
	}
	for _, tt := range tests {
		got, err := parseNames(tt.buf, []string{"before"})
		if tt.err != nil {
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: names %q, error %v, want %v", tt.name, got, err, tt.err)
			}
			continue
		}
		if want := append([]string{"before"}, tt.want...); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: names %q, error %v, want %q", tt.name, got, err, want)
		}
	}
}

// TestReadNames lists more than one buffer of names, as package os does.
func TestReadNames(t *testing.T) {
	dir := onTmpfs(t)
	for i := range 300 {
		plant(t, fmt.Sprintf("%s/%s%d", dir, strings.Repeat("n", i%200), i), "")
	}
	f, err := os.Open(dir)
	try(t, err)
	defer f.Close()
	got, err := readNames(int(f.Fd()), make([]byte, 1024))
	try(t, err)
	again, err := os.Open(dir)
	try(t, err)
	defer again.Close()
	want, err := again.Readdirnames(-1)
	try(t, err)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
}

// FuzzParseNames looks for a panic, an endless loop, and for names that package unix finds and this does not.
func FuzzParseNames(f *testing.F) {
	f.Add(slices.Concat(entry(1, "."), entry(0, "a"), entry(2, "bcdef")))
	f.Add(entry(1, ""))
	f.Add(entry(1, "a")[:20])
	f.Fuzz(func(t *testing.T, buf []byte) {
		names, err := parseNames(buf, nil)
		if err != nil {
			return
		}
		_, _, theirs := unix.ParseDirent(buf, -1, nil)
		for _, name := range theirs {
			if !slices.Contains(names, name) {
				t.Errorf("names %q lack %q", names, name)
			}
		}
		for _, name := range names {
			if name == "" || name == "." || name == ".." || strings.Contains(name, "\x00") {
				t.Errorf("a name is %q", name)
			}
		}
	})
}

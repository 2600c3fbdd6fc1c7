package posix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
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

// namesIn returns the names in a listing.
func namesIn(listing []byte) (names []string, err error) {
	err = parse(listing, func(name string, _ uint8) { names = append(names, name) })
	return names, err
}

func TestParse(t *testing.T) {
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
		{"short", entry(1, "a")[:18], nil, ErrListing},
		{"cut off", append(entry(1, "a"), entry(2, "b")[:23]...), nil, ErrListing},
		{"length 0", wrong(0), nil, ErrListing},
		{"length of no name", wrong(19), nil, ErrListing},
		{"length of too much", wrong(32), nil, ErrListing},
		{"empty name", entry(1, ""), nil, ErrListing},
	}
	for _, tt := range tests {
		got, err := namesIn(tt.buf)
		if tt.err != nil {
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: names %q, error %v, want %v", tt.name, got, err, tt.err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: names %q, error %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

// TestRead lists a directory in several parts, and compares with package os.
func TestRead(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		name := fmt.Sprintf("%s/%s%d", dir, strings.Repeat("n", i%200), i)
		var err error
		switch i % 3 {
		case 0:
			err = os.WriteFile(name, nil, 0o600)
		case 1:
			err = os.Mkdir(name, 0o700)
		case 2:
			err = os.Symlink("target", name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	listed, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := func() int {
		fd, err := OpenDir(unix.AT_FDCWD, dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		return fd
	}
	names, err := AppendNames(nil, open(), make([]byte, 1024))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := ReadEntries(open(), make([]byte, 1024))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	if len(names) != len(listed) || len(entries) != len(listed) {
		t.Fatalf("%d names and %d entries, want %d", len(names), len(entries), len(listed))
	}
	types := map[fs.FileMode]uint8{0: unix.DT_REG, fs.ModeDir: unix.DT_DIR, fs.ModeSymlink: unix.DT_LNK}
	for i, want := range listed {
		if names[i] != want.Name() || entries[i].Name != want.Name() {
			t.Errorf("names %q and %q, want %q", names[i], entries[i].Name, want.Name())
		}
		if kind := entries[i].Type; kind != types[want.Type()] && kind != unix.DT_UNKNOWN {
			t.Errorf("%q: type %d, want %v", names[i], kind, want.Type())
		}
	}
}

// FuzzParse looks for a panic, an endless loop, and for names that package unix finds and this does not.
func FuzzParse(f *testing.F) {
	f.Add(slices.Concat(entry(1, "."), entry(0, "a"), entry(2, "bcdef")))
	f.Add(entry(1, ""))
	f.Add(entry(1, "a")[:20])
	f.Fuzz(func(t *testing.T, buf []byte) {
		names, err := namesIn(buf)
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

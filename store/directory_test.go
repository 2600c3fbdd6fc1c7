package store_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"runtime"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"castar/protos"
	"castar/store"
)

func dirMessage(name string, size uint64) *protos.DirectoryNode {
	return &protos.DirectoryNode{Name: []byte(name), Digest: make([]byte, store.DigestSize), Size: size}
}

func fileMessage(name string) *protos.FileNode {
	return &protos.FileNode{Name: []byte(name), Digest: make([]byte, store.DigestSize)}
}

func symlinkMessage(name, target string) *protos.SymlinkNode {
	return &protos.SymlinkNode{Name: []byte(name), Target: []byte(target)}
}

func dirs(nodes ...*protos.DirectoryNode) *protos.Directory {
	return &protos.Directory{Directories: nodes}
}
func files(nodes ...*protos.FileNode) *protos.Directory { return &protos.Directory{Files: nodes} }
func symlinks(nodes ...*protos.SymlinkNode) *protos.Directory {
	return &protos.Directory{Symlinks: nodes}
}

// Every rule of the protocol, each broken alone, in the encoding of the generated code.
func TestDecodeDirectoryRules(t *testing.T) {
	tests := []struct {
		name string
		m    *protos.Directory
		want string // part of the error, or "" where the directory is valid
	}{
		{"empty", &protos.Directory{}, ""},
		{"one of each", &protos.Directory{
			Directories: []*protos.DirectoryNode{dirMessage("b", 1)},
			Files:       []*protos.FileNode{fileMessage("a")},
			Symlinks:    []*protos.SymlinkNode{symlinkMessage("c", "x")},
		}, ""},
		{"symlink before the others", &protos.Directory{
			Directories: []*protos.DirectoryNode{dirMessage("b", 0), dirMessage("c", 0)},
			Symlinks:    []*protos.SymlinkNode{symlinkMessage("a", "x")},
		}, ""},

		{"empty directory name", dirs(dirMessage("", 0)), `invalid name "": empty`},
		{"empty file name", files(fileMessage("")), `invalid name "": empty`},
		{"empty symlink name", symlinks(symlinkMessage("", "x")), `invalid name "": empty`},
		{"dot", files(fileMessage(".")), `invalid name ".": is .`},
		{"dot dot", dirs(dirMessage("..", 0)), `invalid name "..": is ..`},
		{"three dots", files(fileMessage("...")), ""},
		{"slash", symlinks(symlinkMessage("foo/bar", "x")), "contains a slash"},
		{"only a slash", files(fileMessage("/")), "contains a slash"},
		{"NUL in a name", files(fileMessage("foo\x00")), "contains a NUL byte"},
		{"longest name", files(fileMessage(strings.Repeat("X", 255))), ""},
		{"name too long", files(fileMessage(strings.Repeat("X", 256))), "longer than 255 bytes"},
		{"much too long", dirs(dirMessage(strings.Repeat("X", 500), 0)), "longer than 255 bytes"},
		{"not UTF-8", files(fileMessage("\xc5\xc4\xd6")), ""},
		{"controls", files(fileMessage("\n\x1b\x7f\\ ")), ""},

		{"no target", symlinks(symlinkMessage("a", "")), `"a": invalid target "" of a symbolic link: empty`},
		{"NUL in a target", symlinks(symlinkMessage("a", "foo\x00")), "contains a NUL byte"},
		{"longest target", symlinks(symlinkMessage("a", strings.Repeat("X", 4095))), ""},
		{"target too long", symlinks(symlinkMessage("a", strings.Repeat("X", 4096))), "longer than 4095 bytes"},
		{"targets of all kinds", symlinks(symlinkMessage("a", "."), symlinkMessage("b", ".."), symlinkMessage("c", "./.."),
			symlinkMessage("d", "/a/b"), symlinkMessage("e", "a//b/"), symlinkMessage("f", "\xc5\xc4\xd6")), ""},

		{"no directory digest", dirs(&protos.DirectoryNode{Name: []byte("a")}), `"a": invalid digest length 0`},
		{"short directory digest", dirs(&protos.DirectoryNode{Name: []byte("a"), Digest: []byte{1, 2}}), `"a": invalid digest length 2`},
		{"no file digest", files(&protos.FileNode{Name: []byte("a"), Size: 1}), `"a": invalid digest length 0`},
		{"short file digest", files(&protos.FileNode{Name: []byte("a"), Digest: make([]byte, 31)}), `"a": invalid digest length 31`},
		{"long file digest", files(&protos.FileNode{Name: []byte("a"), Digest: make([]byte, 33)}), `"a": invalid digest length 33`},

		{"directories out of order", dirs(dirMessage("b", 0), dirMessage("a", 0)), `wrong order: "a" comes after "b"`},
		{"files out of order", files(fileMessage("b"), fileMessage("a")), `wrong order: "a" comes after "b"`},
		{"symlinks out of order", symlinks(symlinkMessage("b", "x"), symlinkMessage("a", "x")), `wrong order: "a" comes after "b"`},
		{"order is of bytes", files(fileMessage("a"), fileMessage("B")), `wrong order: "B" comes after "a"`},
		{"shorter one first", files(fileMessage("a"), fileMessage("a\x01"), fileMessage("ab")), ""},
		{"bytes are unsigned", files(fileMessage("\x7f"), fileMessage("\x80")), ""},

		{"directory twice", dirs(dirMessage("a", 0), dirMessage("a", 0)), `duplicate name "a"`},
		{"file twice", files(fileMessage("a"), fileMessage("a")), `duplicate name "a"`},
		{"symlink twice", symlinks(symlinkMessage("a", "x"), symlinkMessage("a", "y")), `duplicate name "a"`},
		{"directory and file", &protos.Directory{Directories: []*protos.DirectoryNode{dirMessage("a", 0)}, Files: []*protos.FileNode{fileMessage("a")}}, `duplicate name "a"`},
		{"directory and symlink", &protos.Directory{Directories: []*protos.DirectoryNode{dirMessage("a", 0)}, Symlinks: []*protos.SymlinkNode{symlinkMessage("a", "x")}}, `duplicate name "a"`},
		{"file and symlink", &protos.Directory{Files: []*protos.FileNode{fileMessage("a")}, Symlinks: []*protos.SymlinkNode{symlinkMessage("a", "x")}}, `duplicate name "a"`},
		{"twice among others", &protos.Directory{
			Directories: []*protos.DirectoryNode{dirMessage("a", 0), dirMessage("m", 0), dirMessage("z", 0)},
			Files:       []*protos.FileNode{fileMessage("b"), fileMessage("n")},
			Symlinks:    []*protos.SymlinkNode{symlinkMessage("c", "x"), symlinkMessage("m", "x")},
		}, `duplicate name "m"`},

		{"largest size", dirs(dirMessage("a", math.MaxUint64-1)), ""},
		{"size with its entry too large", dirs(dirMessage("a", math.MaxUint64)), "total size exceeds"},
		{"two halves too large", dirs(dirMessage("a", math.MaxUint64/2), dirMessage("b", math.MaxUint64/2)), "total size exceeds"},
		{"two halves", dirs(dirMessage("a", math.MaxUint64/2), dirMessage("b", math.MaxUint64/2-1)), ""},
		{"size of a file does not count", files(&protos.FileNode{Name: []byte("a"), Digest: make([]byte, 32), Size: math.MaxUint64}), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := marshal(t, tt.m)
			dir, err := store.DecodeDirectory(b)
			checkError(t, err, tt.want)
			if tt.want != "" {
				return
			}
			if got, err := store.EncodeDirectory(dir); err != nil || string(got) != string(b) {
				t.Errorf("encoded %x, %v, want %x", got, err, b)
			}
		})
	}
}

// checkError compares err with a part of what it should say, or with no error where that is empty.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one that says %q", err, want)
	}
}

func TestDecodeNodeRules(t *testing.T) {
	dir := func(n *protos.DirectoryNode) *protos.Node {
		return &protos.Node{Node: &protos.Node_Directory{Directory: n}}
	}
	file := func(n *protos.FileNode) *protos.Node { return &protos.Node{Node: &protos.Node_File{File: n}} }
	symlink := func(n *protos.SymlinkNode) *protos.Node {
		return &protos.Node{Node: &protos.Node_Symlink{Symlink: n}}
	}
	tests := []struct {
		name string
		m    *protos.Node
		want string
	}{
		{"directory", dir(dirMessage("", 7)), ""},
		{"file", file(&protos.FileNode{Digest: make([]byte, 32), Size: math.MaxUint64, Executable: true}), ""},
		{"symlink", symlink(symlinkMessage("", "../x")), ""},
		{"nothing set", &protos.Node{}, "invalid root: no node set"},
		{"directory with a name", dir(dirMessage("a", 0)), `a root has no name, this one has "a"`},
		{"file with a name", file(fileMessage("a")), `a root has no name, this one has "a"`},
		{"symlink with a name", symlink(symlinkMessage("a", "x")), `a root has no name, this one has "a"`},
		{"empty directory message", dir(&protos.DirectoryNode{}), "invalid digest length 0"},
		{"empty file message", file(&protos.FileNode{}), "invalid digest length 0"},
		{"empty symlink message", symlink(&protos.SymlinkNode{}), "invalid target"},
		{"short digest", dir(&protos.DirectoryNode{Digest: make([]byte, 20)}), "invalid digest length 20"},
		{"NUL in the target", symlink(symlinkMessage("", "\x00")), "contains a NUL byte"},
		{"target too long", symlink(symlinkMessage("", strings.Repeat("X", 5000))), "longer than 4095 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := marshal(t, tt.m)
			n, err := store.DecodeNode(b)
			checkError(t, err, tt.want)
			if tt.want != "" {
				return
			}
			if got, err := store.EncodeNode(n); err != nil || string(got) != string(b) {
				t.Errorf("encoded %x, %v, want %x", got, err, b)
			}
		})
	}
}

// digestField is a digest of zeros, as field 2 in hexadecimal.
var digestField = "1220" + strings.Repeat("00", store.DigestSize)

// What other decoders take, and would encode otherwise: it must be refused, or it would change its digest.
func TestDecodeDirectoryCanonical(t *testing.T) {
	tests := []struct {
		name    string
		encoded string // hexadecimal
	}{
		{"lists in another order", "1225" + "0a0161" + digestField + "0a25" + "0a0162" + digestField},
		{"fields in another order", "1225" + digestField + "0a0161"},
		{"size of zero written out", "1227" + "0a0161" + digestField + "1800"},
		{"not executable written out", "1227" + "0a0161" + digestField + "2000"},
		{"executable other than 1", "1227" + "0a0161" + digestField + "2002"},
		{"length in two bytes", "12a500" + "0a0161" + digestField},
		{"size in two bytes", "1228" + "0a0161" + digestField + "188100"},
		{"tag in two bytes", "9200" + "25" + "0a0161" + digestField},
		{"name twice", "1228" + "0a0162" + "0a0161" + digestField},
		{"digest twice", "1247" + "0a0161" + digestField + digestField},
		{"size twice", "1229" + "0a0161" + digestField + "1801" + "1802"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkOnlyOthersDecode(t, tt.encoded, new(protos.Directory), func(b []byte) error {
				_, err := store.DecodeDirectory(b)
				return err
			})
		})
	}
}

func TestDecodeNodeCanonical(t *testing.T) {
	tests := []struct {
		name    string
		encoded string // hexadecimal
	}{
		{"empty name written out", "1224" + "0a00" + digestField},
		{"size of zero written out", "1224" + digestField + "1800"},
		{"fields in another order", "1226" + "1801" + digestField + "2001"},
		{"length in two bytes", "12a200" + digestField},
		{"two nodes", "1222" + digestField + "1a0312017f"},
		{"one node in two parts", "1222" + digestField + "12022001"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			checkOnlyOthersDecode(t, tt.encoded, new(protos.Node), func(b []byte) error {
				_, err := store.DecodeNode(b)
				return err
			})
		})
	}
}

// checkOnlyOthersDecode checks that the generated code takes the encoding, and decode does not.
func checkOnlyOthersDecode(t *testing.T, encoded string, m proto.Message, decode func([]byte) error) {
	t.Helper()
	b, err := hex.DecodeString(encoded)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, m); err != nil || len(m.ProtoReflect().GetUnknown()) > 0 {
		t.Fatalf("the generated code refuses it: %v", err)
	}
	if decode(b) == nil {
		t.Error("decoded, want an error")
	}
}

// Two bytes make a message that is no node; room for a node must not be made for each of them.
func TestDecodeDirectoryMemory(t *testing.T) {
	b := bytes.Repeat([]byte{0x0a, 0x00}, 1<<19)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := store.DecodeDirectory(b)
	runtime.ReadMemStats(&after)
	checkError(t, err, "invalid digest length 0")
	if n := after.TotalAlloc - before.TotalAlloc; n > uint64(len(b)) {
		t.Errorf("%d bytes were allocated for a message of %d", n, len(b))
	}
}

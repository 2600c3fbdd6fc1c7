package store_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"castar/protos"
	"castar/store"
)

// marshal returns the encoding of the generated code.
func marshal(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// message returns dir as a generated message.
func message(dir store.Directory) *protos.Directory {
	m := new(protos.Directory)
	for _, n := range dir {
		switch root := rootMessage(n).Node.(type) {
		case *protos.Node_Directory:
			m.Directories = append(m.Directories, root.Directory)
		case *protos.Node_File:
			m.Files = append(m.Files, root.File)
		case *protos.Node_Symlink:
			m.Symlinks = append(m.Symlinks, root.Symlink)
		}
	}
	return m
}

// rootMessage returns n as a generated message.
func rootMessage(n store.Node) *protos.Node {
	name := []byte(n.Name)
	switch n.Kind {
	case store.KindDirectory:
		return &protos.Node{Node: &protos.Node_Directory{Directory: &protos.DirectoryNode{Name: name, Digest: n.Digest[:], Size: n.Size}}}
	case store.KindFile:
		return &protos.Node{Node: &protos.Node_File{File: &protos.FileNode{Name: name, Digest: n.Digest[:], Size: n.Size, Executable: n.Executable}}}
	}
	return &protos.Node{Node: &protos.Node_Symlink{Symlink: &protos.SymlinkNode{Name: name, Target: []byte(n.Target)}}}
}

// drawBytes draws a string of min to max bytes, seldom long, none of which is among not.
func drawBytes(t *rapid.T, label string, min, max int, not string) string {
	n := rapid.OneOf(rapid.IntRange(min, 8), rapid.IntRange(min, max), rapid.Just(max)).Draw(t, label+" length")
	b := rapid.SliceOfN(rapid.Byte(), n, n).Draw(t, label)
	for i := range b {
		for strings.IndexByte(not, b[i]) >= 0 {
			b[i]++
		}
	}
	return string(b)
}

// drawNode draws a node without a name.
func drawNode(t *rapid.T) store.Node {
	kind := rapid.SampledFrom([]store.Kind{store.KindDirectory, store.KindFile, store.KindSymlink}).Draw(t, "kind")
	if kind == store.KindSymlink {
		return store.Node{Kind: kind, Target: drawBytes(t, "target", 1, store.MaxTargetLen, "\x00")}
	}
	n := store.Node{Kind: kind, Size: rapid.Uint64Max(1<<59).Draw(t, "size")}
	copy(n.Digest[:], rapid.SliceOfN(rapid.Byte(), store.DigestSize, store.DigestSize).Draw(t, "digest"))
	n.Executable = kind == store.KindFile && rapid.Bool().Draw(t, "executable")
	return n
}

// drawDirectory draws a valid directory.
func drawDirectory(t *rapid.T) store.Directory {
	dir := make(store.Directory, rapid.IntRange(0, 12).Draw(t, "entries"))
	for i := range dir {
		dir[i] = drawNode(t)
		dir[i].Name = drawBytes(t, "name", 1, store.MaxNameLen, "\x00/")
	}
	dir = slices.DeleteFunc(dir, func(n store.Node) bool { return n.Name == "." || n.Name == ".." })
	slices.SortFunc(dir, func(a, b store.Node) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(dir, func(a, b store.Node) bool { return a.Name == b.Name })
}

func TestDirectoryEqualsGeneratedCode(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := drawDirectory(rt)
		got, err := store.EncodeDirectory(dir)
		if err != nil {
			rt.Fatal(err)
		}
		if want := marshal(t, message(dir)); !bytes.Equal(got, want) {
			rt.Fatalf("encoded %x, want %x", got, want)
		}
		back, err := store.DecodeDirectory(got)
		if err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(back, dir) {
			rt.Fatalf("decoded %v, want %v", back, dir)
		}
		checkUnknownFields(rt, got)
	})
}

func TestNodeEqualsGeneratedCode(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := drawNode(rt)
		got, err := store.EncodeNode(n)
		if err != nil {
			rt.Fatal(err)
		}
		if want := marshal(t, rootMessage(n)); !bytes.Equal(got, want) {
			rt.Fatalf("encoded %x, want %x", got, want)
		}
		if back, err := store.DecodeNode(got); err != nil || back != n {
			rt.Fatalf("decoded %v, %v, want %v", back, err, n)
		}
	})
}

// checkUnknownFields adds a field that the schema does not have, to the directory and to its first node.
func checkUnknownFields(t *rapid.T, encoded []byte) {
	unknown := rapid.SampledFrom([][]byte{
		{0x20, 0x01},                         // field 4, a varint
		{0x2a, 0x00},                         // field 5, bytes
		{0x31, 1, 2, 3, 4, 5, 6, 7, 8},       // field 6, 8 bytes
		{0x3b, 0x3c},                         // field 7, a group
		{0x45, 1, 2, 3, 4},                   // field 8, 4 bytes
		{0xf8, 0xff, 0xff, 0xff, 0x0f, 0x00}, // the last field there can be
	}).Draw(t, "unknown")
	m := new(protos.Directory)
	if err := proto.Unmarshal(encoded, m); err != nil {
		t.Fatal(err)
	}
	var parts []proto.Message
	parts = append(parts, m)
	for _, n := range m.Directories {
		parts = append(parts, n)
	}
	for _, n := range m.Files {
		if unknown[0] != 0x20 { // which is known there
			parts = append(parts, n)
		}
	}
	for _, n := range m.Symlinks {
		parts = append(parts, n)
	}
	part := rapid.SampledFrom(parts).Draw(t, "part").ProtoReflect()
	part.SetUnknown(unknown)
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if dir, err := store.DecodeDirectory(b); err == nil {
		t.Fatalf("with the unknown field %x in %s: decoded %v", unknown, part.Descriptor().Name(), dir)
	}
}

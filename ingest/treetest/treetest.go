// Package treetest makes random trees of files for property tests.
package treetest

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"

	"pgregory.net/rapid"
)

// Maker makes trees. It may be used concurrently.
type Maker struct {
	noise []byte // what files are made of
}

// New returns a Maker.
func New() *Maker {
	m := &Maker{make([]byte, 520<<10)}
	rand.NewChaCha8([32]byte{}).Read(m.noise)
	return m
}

// Tree draws a tree of at most depth levels and makes it at path, which must not exist: directories, files of sizes that
// matter to a store, symlinks of all kinds, and names of any bytes. It fails t if it cannot make the tree.
func (m *Maker) Tree(t *rapid.T, path string, depth int) {
	try := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	try(os.Mkdir(path, 0o755))
	names := rapid.SliceOfNDistinct(rapid.Custom(name), 0, 8, rapid.ID[string]).Draw(t, "names")
	for _, name := range names {
		at := path + "/" + name
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 3 && depth > 1:
			m.Tree(t, at, depth-1)
		case kind < 5:
			targets := []string{"a", "..", ".", "/", "/nowhere/at/all", name, "\xff", " ", "a/../b", strings.Repeat("t/", 2047)}
			try(os.Symlink(rapid.SampledFrom(targets).Draw(t, "target"), at))
		default:
			mode := rapid.SampledFrom([]fs.FileMode{0o644, 0o755, 0o700, 0o655, 0o611}).Draw(t, "mode")
			try(os.WriteFile(at, m.content(t), mode))
			try(os.Chmod(at, mode))
		}
	}
}

// content draws the contents of a file. Its length is near a size at which a store or a walk changes its method. Small
// files are more frequent.
func (m *Maker) content(t *rapid.T) []byte {
	near := rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 1, 16 << 10, 128 << 10, 256 << 10, 512 << 10}).Draw(t, "near")
	from := rapid.IntRange(0, 9).Draw(t, "from")
	return m.noise[from:][:near+rapid.IntRange(-1, 2).Draw(t, "off")]
}

// name draws a name of 1 to 255 bytes. There are few kinds, so that odd names are frequent.
func name(t *rapid.T) string {
	name := rapid.OneOf(
		rapid.StringMatching(`[a-c]{1,3}`),
		rapid.SampledFrom([]string{
			" ", "\n", "...", "-rf", "~", "a'", "a\\b", "\xff\xfe", "\xc3\x28", "\x01", "\u202e", "é", "e\u0301", "A", "a.", "*", "\"", ".a",
			strings.Repeat("x", 255), strings.Repeat("\xff", 255),
		}),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 8), func(b []byte) string {
			return string(bytes.Map(func(r rune) rune {
				if r == 0 || r == '/' {
					return '_'
				}
				return r
			}, b))
		}),
	).Draw(t, "name")
	if name == "." || name == ".." {
		return "dots"
	}
	return name
}

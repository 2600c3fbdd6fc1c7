package cmd

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"castar/export"
	"castar/ingest"
	"castar/store"
	"castar/store/packed"
)

// TestRoundTrip exports what was ingested and ingests that.
func TestRoundTrip(t *testing.T) {
	ctx := context.Background()
	base, noise := t.TempDir(), noise()
	st, err := packed.Open(ctx, filepath.Join(base, "store"), packed.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		number++
		path := filepath.Join(base, fmt.Sprint(number))
		randomTree(rt, path, 3, noise)
		defer os.RemoveAll(path)
		defer os.RemoveAll(path + ".out")
		r, err := ingest.FS(ctx, st, path, ingest.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := export.Dir(ctx, st, r.Root, path+".out", export.Options{}); err != nil {
			rt.Fatal(err)
		}
		again, err := ingest.FS(ctx, nil, path+".out", ingest.Options{})
		if err != nil {
			rt.Fatal(err)
		}
		if again.Root != r.Root {
			rt.Errorf("the export has root %v, the original %v", again.Root, r.Root)
		}
		if diff := cmp.Diff(describe(t, path), describe(t, path+".out")); diff != "" {
			rt.Errorf("original -, export +:\n%s", diff)
		}
	})
}

// describe returns every entry below dir with its kind, executable bit and contents.
func describe(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		switch d.Type() {
		case 0:
			content, err = os.ReadFile(path)
		case fs.ModeSymlink:
			var target string
			target, err = os.Readlink(path)
			content = []byte(target)
		}
		executable := d.Type() == 0 && fi.Mode()&0o100 != 0
		all[strings.TrimPrefix(path, dir)] = fmt.Sprint(d.Type(), executable, store.Sum(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// noise is what files are made of.
func noise() []byte {
	b := make([]byte, 520<<10)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// randomName draws names of one to 255 bytes, few enough that the odd ones come often.
func randomName(t *rapid.T) string {
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

// randomTree makes a tree at path, a directory that is not there yet, of at most so many levels.
func randomTree(t *rapid.T, path string, depth int, noise []byte) {
	try := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	try(os.Mkdir(path, 0o755))
	names := rapid.SliceOfNDistinct(rapid.Custom(randomName), 0, 8, rapid.ID[string]).Draw(t, "names")
	for _, name := range names {
		at := path + "/" + name
		switch kind := rapid.IntRange(0, 9).Draw(t, "kind"); {
		case kind < 3 && depth > 1:
			randomTree(t, at, depth-1, noise)
		case kind < 5:
			targets := []string{"a", "..", ".", "/", "/nowhere/at/all", name, "\xff", " ", "a/../b", strings.Repeat("t/", 2047)}
			try(os.Symlink(rapid.SampledFrom(targets).Draw(t, "target"), at))
		default:
			// Round what a store keeps whole, cuts at and reads at once, and small ones oftener.
			near := rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 1, 1, 16 << 10, 128 << 10, 256 << 10, 512 << 10}).Draw(t, "near")
			from := rapid.IntRange(0, 9).Draw(t, "from")
			content := noise[from:][:near+rapid.IntRange(-1, 2).Draw(t, "off")]
			mode := rapid.SampledFrom([]fs.FileMode{0o644, 0o755, 0o700, 0o655, 0o611}).Draw(t, "mode")
			try(os.WriteFile(at, content, mode))
			try(os.Chmod(at, mode))
		}
	}
}

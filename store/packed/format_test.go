package packed

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
)

// exampleStore makes the store that FORMAT.md shows: what is random elsewhere is fixed.
func exampleStore(t *testing.T) *crashfs.FS {
	t.Helper()
	ctx := context.Background()
	fsys := made(t)
	if err := fsys.Remove(sealed.ConfigName); err != nil {
		t.Fatal(err)
	}
	cfg := sealed.NewConfig(sealed.Settings{})
	cfg.ID = "0123456789abcdef0123456789abcdef"
	if err := sealed.WriteConfig(fsys, cfg); err != nil {
		t.Fatal(err)
	}
	st, err := openFS(ctx, fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	st.Packs.Random = strings.NewReader("PACK\x00\x00\x00\x00PACK\x00\x00\x00\x01")
	data := []byte("hello, world\n")
	d, err := st.Blobs().Put(ctx, data)
	if err != nil {
		t.Fatal(err)
	}
	file := store.Node{Kind: store.KindFile, Name: "hello", Digest: d, Size: uint64(len(data)), Executable: true}
	root, err := st.Directories().Put(ctx, store.Directory{file})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	if err := st.Tags().Set(ctx, store.Tag{
		Name: "v1", Root: store.Node{Kind: store.KindDirectory, Digest: root, Size: 1},
		Time: time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), Source: "/src/hello",
		Counts: store.Counts{Files: 1, Directories: 1, Bytes: uint64(len(data))},
	}); err != nil {
		t.Fatal(err)
	}
	return fsys
}

// dump prints files as FORMAT.md does. The name of an index has the time in it.
func dump(files map[string][]byte) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if len(files[name]) == 0 {
			continue
		}
		shown := name
		if strings.HasPrefix(name, index.Dir+"/") {
			shown = index.Path("17b853ca3b16e000-00000000000000aa" + index.Ext)
		}
		fmt.Fprintf(&b, "%s\n", shown)
		for line := range strings.Lines(hex.Dump(files[name])) {
			b.WriteString("    " + line)
		}
	}
	return b.String()
}

// The example in FORMAT.md is what the store writes, and can be read.
func TestFormatExample(t *testing.T) {
	fsys := exampleStore(t)
	doc, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(doc), "\n## Example\n")
	_, rest, _ = strings.Cut(rest, "```\n")
	example, _, ok := strings.Cut(rest, "```\n")
	if want := dump(fsys.Files()); !ok || example != want {
		t.Errorf("the example should be\n%s", want)
	}
	// A store is written from nothing but the example, and opened.
	written := crashfs.New()
	for _, dir := range []string{pack.Dir, index.Dir, sealed.TagsDir, pack.TempDir} {
		if err := written.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range undump(t, example) {
		if err := durable.WriteFile(written, pack.TempPath("0"), name, data); err != nil {
			t.Fatal(err)
		}
	}
	st, err := openFS(t.Context(), written, Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	tag, err := st.Tags().Get(t.Context(), "v1")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := st.Directories().Get(t.Context(), tag.Root.Digest)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readBlob(t.Context(), st, dir[0].Digest); err != nil || string(got) != "hello, world\n" {
		t.Errorf("read %q, %v", got, err)
	}
	for _, x := range *st.Indexes.Load() {
		if err := x.Check(); err != nil {
			t.Error(err)
		}
	}
}

// undump is the inverse of dump.
func undump(t *testing.T, text string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	name := ""
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, " ") {
			name = strings.TrimSpace(line)
			continue
		}
		_, digits, _ := strings.Cut(line[4:], "  ")
		digits, _, _ = strings.Cut(digits, "|")
		b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = append(files[name], b...)
	}
	return files
}

// Only names that a pack is given are those of packs.
func TestPackName(t *testing.T) {
	id := pack.ID{0, 1, 0xab}
	if got, ok := pack.ParseName("0001ab0000000000.pack"); !ok || got != id || id.Path() != pack.Dir+"/0001ab0000000000.pack" {
		t.Errorf("%v, %v", got, ok)
	}
	for _, name := range []string{"", ".pack", "0001AB0000000000.pack", "0001ab0000000000", "0001ab00000000.pack",
		"0001ab000000000000.pack", "0001ab000000000g.pack", "0001ab0000000000.pack.pack"} {
		if _, ok := pack.ParseName(name); ok {
			t.Errorf("%q is taken for a pack", name)
		}
	}
}

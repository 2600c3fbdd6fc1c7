package ingest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/memory"
)

// narOf returns the strings as they are in a NAR.
func narOf(words ...string) []byte {
	var b []byte
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(w)))
		b = append(b, w...)
		b = append(b, make([]byte, -len(w)&7)...)
	}
	return b
}

// narWords returns the strings of a node, after the first of the archive.
func narWords(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{"(", "type", "regular", "contents", v, ")"}
	case exec:
		return []string{"(", "type", "regular", "executable", "", "contents", string(v), ")"}
	case link:
		return []string{"(", "type", "symlink", "target", string(v), ")"}
	}
	words := []string{"(", "type", "directory"}
	for _, name := range slices.Sorted(maps.Keys(v.(tree))) {
		words = append(words, "entry", "(", "name", name, "node")
		words = append(append(words, narWords(v.(tree)[name])...), ")")
	}
	return append(words, ")")
}

func TestNAR(t *testing.T) {
	long := strings.Repeat("long ", batchBytes)
	for _, v := range []any{
		"a file", exec("x"), "", link("/nix/store"), tree{}, long,
		tree{"a": "1", "b": tree{"c": exec("22"), "d": tree{}, "e": link("x")}, "c": long, "d": tree{"\xff": ""}},
	} {
		st := memory.New()
		archive := narOf(append([]string{narMagic}, narWords(v)...)...)
		r, err := NAR(context.Background(), st, bytes.NewReader(archive), Options{})
		if want := rootOf(t, v); err != nil || r.Root != want {
			t.Errorf("root %v, error %v; want %v", r.Root, err, want)
			continue
		}
		if fs := want(t, planted2(t, v), Options{}, v); fs.Counts != r.Counts {
			t.Errorf("counts %v, want %v", r.Counts, fs.Counts)
		}
		for _, n := range []int{0, 1, 8, 30, len(archive) / 2, len(archive) - 8, len(archive) - 1} {
			if r, err := NAR(context.Background(), nil, bytes.NewReader(archive[:n]), Options{}); err == nil {
				t.Errorf("the first %d of %d bytes: root %v", n, len(archive), r.Root)
			}
		}
	}
}

// planted2 plants anything.
func planted2(t *testing.T, v any) string {
	path := t.TempDir() + "/x"
	plant(t, path, v)
	return path
}

func TestNARRefused(t *testing.T) {
	file := narWords("1")
	dir := func(entries ...[]string) []string {
		words := []string{narMagic, "(", "type", "directory"}
		for _, e := range entries {
			words = append(words, e...)
		}
		return append(words, ")")
	}
	named := func(name string) []string {
		return append(append([]string{"entry", "(", "name", name, "node"}, file...), ")")
	}
	deep := []string{narMagic}
	for range store.MaxDepth + 1 {
		deep = append(deep, "(", "type", "directory", "entry", "(", "name", "d", "node")
	}
	tests := []struct {
		reason string
		words  []string
	}{
		{"not a NAR", nil},
		{"not a NAR", []string{"nix-archive-2"}},
		{"wrong order: a comes after b", dir(named("b"), named("a"))},
		{"duplicate name a", dir(named("a"), named("a"))},
		{"contains a slash", dir(named("../x"))},
		{"is ..", dir(named(".."))},
		{"is .", dir(named("."))},
		{"empty", dir(named(""))},
		{"contains a NUL", dir(named("a\x00"))},
		{"a string is too long: 256 bytes", dir(named(strings.Repeat("n", 256)))},
		{"invalid target", []string{narMagic, "(", "type", "symlink", "target", "", ")"}},
		{"is of the type \"fifo\"", []string{narMagic, "(", "type", "fifo", ")"}},
		{`"executablE" where "contents" should be`, []string{narMagic, "(", "type", "regular", "executablE"}},
		{`")" where "contents" should be`, []string{narMagic, "(", "type", "regular", ")"}},
		{`"x" where "" should be`, []string{narMagic, "(", "type", "regular", "executable", "x"}},
		{`"x" where ")" should be`, []string{narMagic, "(", "type", "regular", "contents", "", "x"}},
		{"after the end of the archive", append(dir(), "")},
		{store.ErrTooDeep.Error(), deep},
		{"cut short", []string{narMagic, "(", "type", "directory", "entry", "(", "name", "a", "node", "(", "type", "regular", "contents"}},
	}
	for _, tt := range tests {
		r, err := NAR(context.Background(), nil, bytes.NewReader(narOf(tt.words...)), Options{})
		if err == nil || !strings.Contains(err.Error(), tt.reason) || r.Root != (store.Node{}) {
			t.Errorf("root %v, error %.200v; want %s", r.Root, err, tt.reason)
		}
	}
	head := narOf(narMagic, "(", "type", "regular", "contents")
	for reason, size := range map[string]uint64{"cut short": 1 << 40, "more than a file can have": 1 << 63} {
		_, err := NAR(context.Background(), nil, bytes.NewReader(binary.LittleEndian.AppendUint64(bytes.Clone(head), size)), Options{})
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("a size of %d: error %v", size, err)
		}
	}
	padded := narOf(append([]string{narMagic}, file...)...)
	i := bytes.Index(padded, []byte("1\x00\x00"))
	padded[bytes.LastIndex(padded[:len(padded)-20], []byte("1\x00\x00"))+3] = 'x'
	if _, err := NAR(context.Background(), nil, bytes.NewReader(padded), Options{}); err == nil {
		t.Errorf("padding that is not zero, near %d: no error", i)
	}
}

func TestStream(t *testing.T) {
	long := strings.Repeat("long ", batchBytes)
	for _, data := range []string{"", "short", long} {
		for name, want := range map[string]store.Node{"": rootOf(t, data), "a name": rootOf(t, tree{"a name": data})} {
			r, err := Stream(context.Background(), memory.New(), strings.NewReader(data), name, Options{})
			if err != nil || r.Root != want || r.Counts.Bytes != uint64(len(data)) {
				t.Errorf("%d bytes as %q: %v, error %v; want %v", len(data), name, r, err, want)
			}
		}
	}
	if r, err := Stream(context.Background(), nil, strings.NewReader(""), "a/b", Options{}); err == nil {
		t.Errorf("a name with a slash: %v", r)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if r, err := Stream(ctx, nil, strings.NewReader(""), "", Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v, %v", r, err)
	}
}

func FuzzNAR(f *testing.F) {
	for _, v := range []any{"a file", exec("x"), link("x"), tree{"a": "1", "b": tree{"c": exec("22"), "e": link("x")}}} {
		f.Add(narOf(append([]string{narMagic}, narWords(v)...)...))
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		st := memory.New()
		r, err := NAR(context.Background(), st, bytes.NewReader(archive), Options{})
		if err != nil || r.Root.Kind != store.KindDirectory {
			return
		}
		for _, err := range st.Directories.Walk(context.Background(), r.Root.Digest) {
			if err != nil {
				t.Fatalf("the tree is not whole: %v", err)
			}
		}
	})
}

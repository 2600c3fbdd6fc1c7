package patch

import (
	"context"
	"strings"
	"testing"

	"castar/store"
	"castar/store/tree"
)

func TestQuote(t *testing.T) {
	tests := map[string]string{
		"x": "a/x", "x y": "a/x y", "": "a/root", "\xff": `"a/\377"`, "a\n": `"a/a\012"`, `"`: `"a/\""`, `\`: `"a/\\"`, "ü": `"a/\303\274"`,
		"x /y": `"a/x /y"`, "x/ y": "a/x/ y",
	}
	for path, want := range tests {
		if got := quote("a/", path); got != want {
			t.Errorf("quote(%q) = %s, want %s", path, got, want)
		}
	}
}

// TestChange writes patches of single changes.
func TestChange(t *testing.T) {
	contents := map[store.Digest]string{}
	file := func(text string) store.Node {
		d := store.Sum([]byte(text))
		contents[d] = text
		return store.Node{Kind: store.KindFile, Digest: d, Size: uint64(len(text))}
	}
	run := func(n store.Node) store.Node {
		n.Executable = true
		return n
	}
	link := func(target string) store.Node { return store.Node{Kind: store.KindSymlink, Target: target} }
	large := file("large")
	large.Size = maxFile + 1
	index := func(n store.Node) string { return index(n) }
	old, new := file("a\nb\n"), file("a\nc")
	tests := []struct {
		name   string
		change tree.Change
		want   string // each line after a letter for its part
	}{
		{"modified", tree.Change{Op: tree.Modified, Path: "x", Old: old, New: new},
			"H diff --git a/x b/x\nH index " + index(old) + ".." + index(new) + " 100644\nH --- a/x\nH +++ b/x\n" +
				"@ @@ -1,2 +1,2 @@\nT  a\n- -b\n+ +c\nT \\ No newline at end of file\n"},
		{"added", tree.Change{Op: tree.Added, Path: "a b", New: run(file("x\n"))},
			"H diff --git a/a b b/a b\nH new file mode 100755\nH --- /dev/null\nH +++ b/a b\t\n@ @@ -0,0 +1,1 @@\n+ +x\n"},
		{"removed", tree.Change{Op: tree.Removed, Path: "x", Old: link("y")},
			"H diff --git a/x b/x\nH deleted file mode 120000\nH --- a/x\nH +++ /dev/null\n@ @@ -1,1 +0,0 @@\n- -y\n" +
				"T \\ No newline at end of file\n"},
		{"executable", tree.Change{Op: tree.Executable, Path: "x", Old: old, New: run(old)},
			"H diff --git a/x b/x\nH old mode 100644\nH new mode 100755\n"},
		{"renamed", tree.Change{Op: tree.Renamed, From: "x", Path: "y", Old: old, New: old},
			"H diff --git a/x b/y\nH similarity index 100%\nH rename from x\nH rename to y\n"},
		{"binary", tree.Change{Op: tree.Added, Path: "x", New: file("\x00")},
			"H diff --git a/x b/x\nH new file mode 100644\nT Binary files /dev/null and b/x differ\n"},
		{"large", tree.Change{Op: tree.Added, Path: "x", New: large},
			"H diff --git a/x b/x\nH new file mode 100644\nT Files /dev/null and b/x, too large to compare lines, differ\n"},
		{"a directory", tree.Change{Op: tree.Added, Path: "x", New: store.Node{Kind: store.KindDirectory}}, ""},
	}
	for _, tt := range tests {
		var got strings.Builder
		w := Writer{
			Contents: func(_ context.Context, _ int, _ string, n store.Node) ([]byte, error) {
				return []byte(contents[n.Digest]), nil
			},
			Line: func(part Part, line []byte) { got.WriteString(string("TH@+-"[part]) + " " + string(line) + "\n") },
		}
		if err := w.Change(t.Context(), &tt.change); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got.String() != tt.want {
			t.Errorf("%s: got\n%swant\n%s", tt.name, &got, tt.want)
		}
	}
}

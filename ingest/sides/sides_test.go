package sides

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"castar/ingest"
	"castar/store"
	"castar/store/memory"
)

func TestIsPath(t *testing.T) {
	tests := []struct {
		arg    string
		isPath bool
		root   bool
	}{
		{".", true, false}, {"..", true, false}, {"./x", true, false}, {"../x", true, false}, {"/x", true, false}, {"./", true, false},
		{".x", false, true}, {"x", false, true}, {"x/y", false, true}, {"x:y z", false, true}, {"x y", false, false},
		{"..x", false, true}, {"0123456789", false, true}, {"-x", false, false}, {"x//y", false, false},
		{store.Sum(nil).Snix() + ":x y", false, true}, {"b3:" + strings.TrimPrefix(store.Sum(nil).Snix(), "blake3-"), false, true},
	}
	for _, tt := range tests {
		if got := IsPath(tt.arg); got != tt.isPath {
			t.Errorf("IsPath(%q) = %v", tt.arg, got)
		}
		if got := couldBeRoot(tt.arg); !tt.isPath && got != tt.root {
			t.Errorf("couldBeRoot(%q) = %v", tt.arg, got)
		}
	}
}

// TestFind looks for a tag, a path that is no root, and neither.
func TestFind(t *testing.T) {
	ctx, st, dir := t.Context(), memory.New(), t.TempDir()
	t.Chdir(dir)
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	r, err := ingest.FS(ctx, st, dir, ingest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := Find(ctx, st, r.Root.Digest.String())
	if err != nil || stored.Path != "" || stored.Root.Digest != r.Root.Digest {
		t.Fatalf("a root: %+v, %v", stored, err)
	}
	live, err := Find(ctx, st, ".")
	if err != nil || live.Path != "." {
		t.Fatalf("a path: %+v, %v", live, err)
	}
	if s, err := Find(ctx, st, "file"); err != nil || s.Path != "file" {
		t.Errorf("a file: %+v, %v", s, err)
	}
	if s, err := Find(ctx, st, "nothing"); err == nil {
		t.Errorf("neither: %+v", s)
	}
	if _, err := live.Hash(ctx, ingest.Options{}); err != nil || live.Root.Digest != r.Root.Digest {
		t.Fatalf("hashed: %+v, %v", live, err)
	}
	for _, s := range []*Side{stored, live} {
		n, err := s.Lookup(ctx, "file")
		if err != nil {
			t.Fatal(err)
		}
		if text, err := s.Contents(ctx, "file", n); err != nil || string(text) != "before" {
			t.Errorf("contents: %q, %v", text, err)
		}
	}
}

// TestChanged reads a file that changed after it was hashed.
func TestChanged(t *testing.T) {
	dir := t.TempDir()
	s := &Side{Arg: dir, Path: dir}
	n := store.Node{Kind: store.KindFile, Digest: store.Sum([]byte("old")), Size: 3}
	for _, contents := range []string{"old", "new", "longer"} {
		if err := os.WriteFile(filepath.Join(dir, "f"), []byte(contents), 0o666); err != nil {
			t.Fatal(err)
		}
		data, err := s.Contents(t.Context(), "f", n)
		if contents == "old" {
			if err != nil || string(data) != "old" {
				t.Errorf("%q, %v", data, err)
			}
		} else if err == nil || !strings.HasSuffix(err.Error(), "changed while it was read") {
			t.Errorf("%s: %v", contents, err)
		}
	}
	if _, err := s.Contents(t.Context(), "../f", n); err == nil {
		t.Error("outside")
	}
}

package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"castar/export"
	"castar/ingest"
	"castar/store/memory"
	"castar/store/storetest/gorace"
)

// layers orders the packages of this module. A package may import only packages of lower layers, so no backend knows
// another, and ingest and export never meet. Packages below store that are not listed are backends or on their layer.
var layers = map[string]int{
	"castar/protos":        0,
	"castar/store/posix":   0,
	"castar/store":         1,
	"castar/store/chunk":   2,
	"castar/store/durable": 2,
	"castar/store/history": 2,
	"castar/store/traffic": 2,
	"castar/store/query":   2,
	"castar/store/record":  2,
	"castar/store/retry":   2,
	"castar/store/table":   2,
	"castar/store/zstd":    2,
	"castar/store/bucket":  3,
	"castar/store/tree":    3,
	"castar/store/*":       4,
	"castar/store/config":  5,
	"castar/ingest":        5,
	"castar/export":        5,
	"castar/cmd":           6,
	"castar":               7,
}

// TestLayers asserts the order of layers for the imports of every file, whatever system it is built for. It reads the
// files itself and does not run go list, so a cached result of this test never outlives a change.
func TestLayers(t *testing.T) {
	files := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(name, ".go"):
			return nil
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		checkImports(t, filepath.ToSlash(name), f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 50 {
		t.Errorf("only %d files", files)
	}
}

// checkImports checks one file.
func checkImports(t *testing.T, name string, f *ast.File) {
	from, may := path.Join("castar", path.Dir(name)), mayImport
	if strings.HasSuffix(name, "_test.go") {
		may = mayImportInTest
	}
	if _, ok := layerOf(from); !ok {
		t.Errorf("%s: %s has no layer", name, from)
	}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if !may(from, imported) {
			t.Errorf("%s imports %s", name, imported)
		}
	}
}

// family returns the package that has a layer, castar/x or castar/store/x. path is that package or a subpackage.
func family(path string) string {
	parts, n := strings.Split(path, "/"), 2
	if strings.HasPrefix(path, "castar/store/") {
		n = 3
	}
	return strings.Join(parts[:min(n, len(parts))], "/")
}

// layerOf returns the layer of a package, and whether it has one.
func layerOf(path string) (layer int, ok bool) {
	f := family(path)
	if layer, ok = layers[f]; !ok && strings.HasPrefix(f, "castar/store/") {
		return layers["castar/store/*"], true
	}
	return layer, ok
}

func mayImport(path, imported string) bool {
	if !strings.HasPrefix(imported+"/", "castar/") || family(path) == family(imported) {
		return true // another module's, or a part of the same package
	}
	from, _ := layerOf(path)
	to, ok := layerOf(imported)
	return ok && to < from
}

// mayImportInTest also allows the conformance suite and the store in memory.
func mayImportInTest(path, imported string) bool {
	return mayImport(path, imported) ||
		family(imported) == "castar/store/storetest" || imported == "castar/store/memory"
}

func TestMayImport(t *testing.T) {
	tests := []struct {
		path, imported string
		want           bool
	}{
		{"castar", "castar/cmd", true},
		{"castar/cmd", "castar/store/packed", true},
		{"castar/cmd", "castar", false},
		{"castar/ingest", "castar/store/tree", true},
		{"castar/ingest", "castar/export", false},
		{"castar/export", "castar/ingest", false},
		{"castar/ingest", "castar/store/config", false},
		{"castar/ingest", "castar/ingest/ignore", true},
		{"castar/export/mount", "castar/export", true},
		{"castar/export/mount", "castar/ingest", false},
		{"castar/store", "castar/protos", true},
		{"castar/store", "castar/store/posix", true},
		{"castar/store/posix", "castar/store", false},
		{"castar/store", "castar/store/chunk", false},
		{"castar/store", "castar/store/packed", false},
		{"castar/store/packed", "castar/store/memory", false},
		{"castar/store/packed", "castar/store/chunk", true},
		{"castar/store/packed", "castar/store/config", false},
		{"castar/store/config", "castar/store/packed", true},
		{"castar/store/tree", "castar/store/memory", false},
		{"castar/store/rpc", "castar/store/storetest/peer", false},
		{"castar/store/chunk", "castar/store/durable", false},
		{"castar/protos", "castar/store", false},
		{"castar/store/packed", "castar/nowhere", false},
		{"castar/store/durable", "castar/store/durable/crashfs", true},
		{"castar/store", "fmt", true},
		{"castar/store", "castarx/y", true},
	}
	for _, tt := range tests {
		if got := mayImport(tt.path, tt.imported); got != tt.want {
			t.Errorf("mayImport(%s, %s) = %v", tt.path, tt.imported, got)
		}
	}
}

// packedImports are the packages of other modules that a packed store needs. Subpackages are included.
var packedImports = []string{
	"github.com/DataDog/zstd",
	"github.com/klauspost/compress",
	"golang.org/x/sys",
	"google.golang.org/protobuf/encoding/protowire",
	"lukechampine.com/blake3",
}

// TestPackedIsSmall asserts that opening a packed store pulls in no package for the network, gRPC or a cloud. It
// follows the imports of every file, whatever system it is built for.
func TestPackedIsSmall(t *testing.T) {
	seen, queue := map[string]bool{}, []string{"castar/store/packed"}
	for len(queue) > 0 {
		pkg := queue[0]
		queue = queue[1:]
		if seen[pkg] {
			continue
		}
		seen[pkg] = true
		for _, imported := range importsOf(t, pkg) {
			switch first, _, _ := strings.Cut(imported, "/"); {
			case first == "castar":
				queue = append(queue, imported)
			case first == "net":
				t.Errorf("%s imports %s", pkg, imported)
			case strings.Contains(first, ".") && !isBelow(imported, packedImports):
				t.Errorf("%s imports %s", pkg, imported)
			}
		}
	}
	if !seen["castar/store/durable"] {
		t.Errorf("only %v were read", seen)
	}
}

// importsOf returns what the files of a package of this module import, its tests left out.
func importsOf(t *testing.T, pkg string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(strings.TrimPrefix(pkg, "castar/"), "*.go"))
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %d files, %v", pkg, len(names), err)
	}
	var imports []string
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			imports = append(imports, imported)
		}
	}
	return imports
}

// isBelow reports whether a package is one of others or below one.
func isBelow(pkg string, others []string) bool {
	return slices.ContainsFunc(others, func(o string) bool { return strings.HasPrefix(pkg+"/", o+"/") })
}

func TestMain(m *testing.M) { gorace.Main(m) }

// A tree in, a root, the tree out again: another program can use the packages as castar does.
func Example() {
	dir, err := os.MkdirTemp("", "example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	if err := os.CopyFS(in, os.DirFS("testdata/vectors")); err != nil {
		log.Fatal(err)
	}

	ctx, st := context.Background(), memory.New()
	defer st.Close()
	stored, err := ingest.FS(ctx, st, in, ingest.Options{})
	if err != nil {
		log.Fatal(err)
	}
	written, err := export.Dir(ctx, st, stored.Root, out, export.Options{})
	if err != nil {
		log.Fatal(err)
	}
	again, err := ingest.FS(ctx, nil, out, ingest.Options{}) // with no store, it computes the root only
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d file, %d directory; same root: %v\n", written.Files, written.Directories, again.Root == stored.Root)
	// Output: 1 file, 1 directory; same root: true
}

package config

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"castar/store"
)

// ruleFile has stores whose rule comes from different places.
const ruleFile = `
[stores.snix]
type = "packed"
path = "DIR/snix"
[stores.made]
type = "packed"
path = "DIR/made"
size_rule = "snix"
[stores.overridden]
type = "packed"
path = "DIR/snix"
size_rule = "documented"
[stores.memory]
type = "memory"
size_rule = "snix"
[stores.cache]
type = "cache"
near = "DIR/plain"
far = "&snix"
[stores.cache2]
type = "cache"
near = "&snix"
far = "DIR/plain"
[stores.cache3]
type = "cache"
near = "DIR/plain"
far = "memory:"
size_rule = "snix"
[blobservices.halves]
type = "memory"
[directoryservices.halves]
type = "objectstore"
object_store_url = "file:DIR/o"
size_rule = "snix"
[blobservices.halves2]
type = "memory"
size_rule = "snix"
[directoryservices.halves2]
type = "memory"
`

// The size rule is that of the parameter, or else of the part that decides, or else of the store's config.
func TestSizeRule(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	rule := store.SizeSnix
	if err := Init(t.Context(), path("snix"), Settings{Rule: &rule}, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := Init(t.Context(), path("plain"), Settings{}, Options{}); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(ruleFile, "DIR", dir)
	file := path("stores.toml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string]store.SizeRule{
		path("snix"):              store.SizeSnix,
		path("plain"):             store.SizeDocumented,
		path("new"):               store.SizeDocumented,
		"memory:":                 store.SizeDocumented,
		file + "#snix":            store.SizeSnix,
		file + "#made":            store.SizeSnix,
		file + "#overridden":      store.SizeDocumented,
		file + "#memory":          store.SizeSnix,
		file + "#cache":           store.SizeSnix,
		file + "#cache2":          store.SizeDocumented,
		file + "#cache3":          store.SizeSnix,
		file + "#halves":          store.SizeSnix,
		file + "#halves2":         store.SizeDocumented,
		"grpc+http://[::1]:1":     store.SizeDocumented,
		"grpc+unix:/nowhere/sock": store.SizeDocumented,

		"grpc+http://[::1]:1?size_rule=snix":                             store.SizeSnix,
		"grpc+http://[::1]:1?package=snix&size_rule=snix":                store.SizeSnix,
		"objectstore+file:" + path("o2") + "?size_rule=snix":             store.SizeSnix,
		"objectstore+memory:?size_rule=documented":                       store.SizeDocumented,
		"cache:?near=" + path("plain") + "&far=memory:&size_rule=snix":   store.SizeSnix,
		"cache:?near=memory:&far=" + path("snix"):                        store.SizeSnix,
		"cache:?near=memory:&far=objectstore%2Bmemory:?size_rule%3Dsnix": store.SizeSnix,
	} {
		got, err := SizeRule(t.Context(), spec, Options{})
		if err != nil || got != want {
			t.Errorf("SizeRule(%s) = %v, %v", spec, got, err)
		}
		st, err := Open(t.Context(), spec, Options{Create: true})
		if err != nil || st.SizeRule != want {
			t.Fatalf("Open(%s): %v", spec, err)
		}
		st.Close()
	}
	if got, err := SizeRule(t.Context(), path("made"), Options{}); err != nil || got != store.SizeSnix {
		t.Errorf("of a store that a composition file has made: %v, %v", got, err)
	}
}

// A wrong size rule is reported. The size rule of a URL does not change which store it names.
func TestSizeRuleInURLs(t *testing.T) {
	for spec, want := range map[string]string{
		"grpc+http://h?size_rule=tvix":                      "unknown size rule",
		"objectstore+memory:?size_rule=":                    `parameter "size_rule" has no value`,
		"objectstore+memory:?size_rule=snix&size_rule=snix": "given twice",
	} {
		if _, err := SizeRule(t.Context(), spec, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", spec, err, want)
		}
	}
	var ids []string
	dir := t.TempDir()
	for _, query := range []string{"", "?size_rule=snix", "?size_rule=documented"} {
		st, err := Open(t.Context(), "objectstore+file:"+dir+query, Options{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, st.ID)
		st.Close()
	}
	if ids[0] != ids[1] || ids[0] != ids[2] {
		t.Errorf("IDs %q", ids)
	}
}

func TestInit(t *testing.T) {
	dir := t.TempDir()
	if err := Init(t.Context(), dir, Settings{}, Options{}); err != nil {
		t.Fatal(err)
	}
	rule := store.SizeSnix
	if err := Init(t.Context(), dir, Settings{Rule: &rule}, Options{}); err == nil || !strings.Contains(err.Error(), "a store is there already") {
		t.Errorf("again: error %v", err)
	}
	if got, err := SizeRule(t.Context(), dir, Options{}); err != nil || got != store.SizeDocumented {
		t.Errorf("then its rule is %v, %v", got, err)
	}
	for _, spec := range []string{"memory:", "objectstore+memory:", "grpc+http://h", "cache:?near=" + dir + "/n&far=" + dir + "/f"} {
		if err := Init(t.Context(), spec, Settings{}, Options{}); !errors.Is(err, store.ErrUnsupported) {
			t.Errorf("%s: error %v", spec, err)
		}
	}
	used := t.TempDir()
	if err := os.WriteFile(filepath.Join(used, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Init(t.Context(), used, Settings{}, Options{}); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("in a folder with something in it: error %v", err)
	}
}

// Blobs can be read beside directories that cannot.
func TestLackingDirectories(t *testing.T) {
	for _, kind := range []string{"redb", "sled"} {
		c := load(t, "[blobservices.root]\ntype='memory'\n[directoryservices.root]\ntype='"+kind+"'\npath='/nowhere'\n")
		st, err := openNamed(t.Context(), c, "", Options{})
		if err != nil {
			t.Fatal(err)
		}
		d, err := st.Blobs.Put(t.Context(), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := st.Blobs.Open(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := b.WriteTo(&got); err != nil || got.String() != "x" {
			t.Errorf("%q, %v", &got, err)
		}
		b.Close()
		_, getErr := st.Directories.Get(t.Context(), d)
		_, putErr := st.Directories.Put(t.Context(), nil)
		_, uploadErr := st.Directories.Upload(t.Context())
		var walkErr error
		for _, walkErr = range st.Directories.Walk(t.Context(), d) {
		}
		for _, err := range []error{getErr, putErr, uploadErr, walkErr} {
			if !errors.Is(err, store.ErrUnsupported) || !strings.HasPrefix(err.Error(), kind+": ") {
				t.Errorf("error %v", err)
			}
		}
		if err := errors.Join(st.Sync(t.Context()), st.Close()); err != nil {
			t.Error(err)
		}
	}
}

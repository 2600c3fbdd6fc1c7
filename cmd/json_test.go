package cmd

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJSONTypes runs every command with --json and looks for lines without a type.
func TestJSONTypes(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("XDG_CACHE_HOME", filepath.Join(t.TempDir(), "cache"))
	t.Setenv("CASTAR_STORE", "store")
	for name, data := range map[string]string{"tree/a": "1", "tree/sub/b": "2", "later/a": "3",
		"stores.toml": "[blobservices.root]\ntype = 'packed'\npath = 'store'\n[directoryservices.root]\ntype = 'memory'\n"} {
		if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	types := map[string]string{ // of all lines, in order, each once in a run
		"init":                                  "store",
		"ingest -t x tree --progress=json":      "progress ingest",
		"ingest -t x later":                     "ingest",
		"log":                                   "ingest",
		"tag":                                   "tag",
		"ls -R x":                               "entry",
		"find x~1":                              "entry",
		"stat x":                                "entry",
		"stat x~1:a --nar":                      "entry",
		"diff x~1 x":                            "change",
		"diff --stat x~1 x":                     "summary",
		"du x":                                  "directory",
		"stats":                                 "root summary",
		"stats x~1 x":                           "root summary",
		"export --dry-run x out":                "change summary",
		"export x new":                          "summary",
		"copy --from store --to memory: --tags": "root summary",
		"verify":                                "summary",
		"repair":                                "summary",
		"forget -n --keep-last 1 --gc":          "decision summary",
		"gc":                                    "summary",
		"version":                               "version",
		"config check stores.toml":              "store packed memory",
		"cat nope":                              "error",
		"mount nope nope":                       "error",
		"umount nope":                           "error",
		"serve -l nowhere:0":                    "error",
		"completion csh":                        "error",
		"help nope":                             "error",
	}
	ran := make(map[string]bool)
	for _, command := range []string{"init", "ingest -t x tree --progress=json", "ingest -t x later"} { // the others need them
		ran[command] = true
		wantTypes(t, command, types[command])
	}
	for command, want := range types {
		if !ran[command] {
			wantTypes(t, command, want)
		}
		ran[strings.Fields(command)[0]] = true
	}
	e := &env{stdout: &output{w: io.Discard}, stderr: &console{w: io.Discard}}
	for _, c := range e.app().VisibleCommands() {
		if !ran[c.Name] {
			t.Errorf("no run of castar %s", c.Name)
		}
	}
}

// wantTypes runs a command and compares the types of its lines on stderr and stdout.
func wantTypes(t *testing.T, command, want string) {
	t.Helper()
	_, stdout, stderr := run(t, append(strings.Fields(command), "--json")...)
	var got []string
	for line := range strings.Lines(stderr + stdout) {
		var object struct{ Type string }
		if err := json.Unmarshal([]byte(line), &object); err != nil || object.Type == "" {
			t.Errorf("castar %s printed a line without a type: %s(%v)", command, line, err)
		}
		if !strings.Contains(strings.Join(got, " ")+" ", object.Type+" ") {
			got = append(got, object.Type)
		}
	}
	if strings.Join(got, " ") != want {
		t.Errorf("castar %s: types %q, want %q", command, got, want)
	}
}

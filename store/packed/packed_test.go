package packed

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"castar/store"
	"castar/store/storetest"
)

func open(t *testing.T, dir string, o Options) *store.Store {
	t.Helper()
	st, err := Open(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.Store {
		return open(t, filepath.Join(t.TempDir(), "store"), Options{Create: true})
	})
}

// Lines can be forgotten only where no other process appends to the log.
func TestTagsAlone(t *testing.T) {
	storetest.RunTags(t, func(t *testing.T) *store.Store {
		return open(t, filepath.Join(t.TempDir(), "store"), Options{Create: true, Exclusive: true})
	})
}

func TestReopen(t *testing.T) {
	storetest.RunReopen(t, func(t *testing.T, dir string) *store.Store { return open(t, dir, Options{Create: true}) })
}

// A store is made below folders that are missing, in one that is there, and through a symbolic link, but not in a file.
func TestMakeFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"there", "closed/there"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("there", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "closed"), 0o100); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "closed"), 0o700) })
	ids := map[string]string{}
	names := []string{"a/b/c", "there", "link", "closed/there", "a/b/c"}
	if runtime.GOOS == "linux" { // others have file systems that take only UTF-8
		names = append(names, "\xff\n/\xfe")
	}
	for _, name := range names {
		st := open(t, filepath.Join(dir, name), Options{Create: true})
		if id := ids[name]; id != "" && id != st.ID {
			t.Errorf("%s: made twice", name)
		}
		ids[name] = st.ID
	}
	if ids["link"] != ids["there"] {
		t.Error("the link leads elsewhere")
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), file, Options{Create: true}); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("store in a file: %v", err)
	}
}

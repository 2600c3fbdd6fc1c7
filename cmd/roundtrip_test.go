package cmd

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"castar/export"
	"castar/ingest"
	"castar/ingest/treetest"
	"castar/store"
	"castar/store/packed"
	"castar/store/storetest"
)

// TestRoundTrip exports what was ingested and ingests that.
func TestRoundTrip(t *testing.T) {
	ctx := context.Background()
	base, trees := t.TempDir(), treetest.New()
	st, err := packed.Open(ctx, filepath.Join(base, "store"), packed.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	number := 0
	storetest.Check(t, func(rt *rapid.T) {
		number++
		path := filepath.Join(base, fmt.Sprint(number))
		trees.Tree(rt, path, 3)
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

package cmd

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"castar/store"
	"castar/store/storetest"
)

// castar runs a command in this process and returns what it printed.
func castar(args ...string) (status int, stdout, stderr string) {
	var out, errs bytes.Buffer
	status = Main(append([]string{"castar"}, args...), strings.NewReader(""), &out, &errs)
	return status, out.String(), errs.String()
}

// mustRun runs a command that must end with status 0.
func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	status, out, errs := castar(args...)
	if status != 0 {
		t.Fatalf("castar %s: exit status %d: %s%s", args, status, out, errs)
	}
	return out
}

// harm is a kind of damage to a file; it reports false where it does not apply.
type harm struct {
	name string
	do   func(t *testing.T, path string) bool
}

// harms returns the kinds of damage there are.
func harms() []harm {
	change := func(f func(b []byte) []byte) func(*testing.T, string) bool {
		return func(t *testing.T, path string) bool {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(path); err != nil { // other stores share it
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f(b), 0o600); err != nil {
				t.Fatal(err)
			}
			return len(b) > 0
		}
	}
	replace := func(with func(path string) error) func(*testing.T, string) bool {
		return func(t *testing.T, path string) bool {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			if err := with(path); err != nil {
				t.Fatal(err)
			}
			return true
		}
	}
	all := []harm{
		{"deleted", replace(func(string) error { return nil })},
		{"empty", change(func([]byte) []byte { return nil })},
		{"half", change(func(b []byte) []byte { return b[:len(b)/2] })},
		{"cut short", change(func(b []byte) []byte { return b[:max(len(b)-1, 0)] })},
		{"extended", change(func(b []byte) []byte { return append(b, "garbage"...) })},
		{"extended by itself", change(func(b []byte) []byte { return append(b, b...) })},
		{"zeros", change(func(b []byte) []byte { return make([]byte, len(b)) })},
		{"a folder", replace(func(path string) error {
			return os.MkdirAll(filepath.Join(path, "in it"), 0o700)
		})},
		{"a symlink", replace(func(path string) error { return os.Symlink("nowhere", path) })},
		{"swapped", swap},
	}
	for i := range 9 { // from the first byte to the last
		if i%4 != 0 && !wholeMatrix() {
			continue
		}
		all = append(all, harm{fmt.Sprintf("flipped at %d of 8", i), change(func(b []byte) []byte {
			if len(b) > 0 {
				b[(len(b)-1)*i/8] ^= 4
			}
			return b
		})})
	}
	return all
}

// swap swaps a file with the next in its folder.
func swap(t *testing.T, path string) bool {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return e.Name() == filepath.Base(path) })
	other := filepath.Join(filepath.Dir(path), entries[(i+1)%len(entries)].Name())
	fi, err := os.Stat(other)
	if err != nil || fi.IsDir() || other == path || filepath.Base(other) == "lock" {
		return false
	}
	for _, r := range [][2]string{{path, path + "~"}, {other, path}, {path + "~", other}} {
		if err := os.Rename(r[0], r[1]); err != nil {
			t.Fatal(err)
		}
	}
	return true
}

// harmedStore is a small store with two tags, and a copy.
type harmedStore struct {
	kind  string // before the path in what names it: "", or that of a bucket
	dir   string
	trees map[string]string // by tag
}

func newHarmedStore(t *testing.T, kind string) harmedStore {
	t.Helper()
	if fi, err := os.Stat("/dev/shm"); err == nil && fi.IsDir() {
		t.Setenv("TMPDIR", "/dev/shm") // hundreds of stores are synced; that they are is tested elsewhere
	}
	cache := filepath.Join(t.TempDir(), "cache")
	if err := os.WriteFile(cache, nil, 0o600); err != nil { // no cache, where damage to a bucket does not show
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", cache)
	d := harmedStore{kind: kind, dir: t.TempDir(), trees: map[string]string{}}
	good := filepath.Join(d.dir, "good")
	for i, tag := range []string{"first", "second"} {
		tree := filepath.Join(d.dir, tag)
		d.trees[tag] = tree
		if err := os.MkdirAll(filepath.Join(tree, "sub", "empty"), 0o777); err != nil {
			t.Fatal(err)
		}
		for j := range 30 {
			data := make([]byte, 1<<(j/2))
			_, _ = rand.NewChaCha8([32]byte{byte(i), byte(j)}).Read(data)
			if j == 29 && i == 0 {
				data = bytes.Repeat(data, 50) // of several chunks
				_, _ = rand.NewChaCha8([32]byte{9}).Read(data[:500_000])
			}
			if err := os.WriteFile(filepath.Join(tree, "sub", fmt.Sprint(j)), data, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		mustRun(t, "-s", kind+good, "ingest", "-t", tag, tree)
	}
	mustRun(t, "-s", kind+good, "copy", "--to", filepath.Join(d.dir, "backup"))
	return d
}

// files returns the files of the store that may be damaged.
func (d harmedStore) files(t *testing.T) (files []string) {
	t.Helper()
	good := filepath.Join(d.dir, "good")
	patterns := []string{"config", "log", "packs/*", "index/*", "tags/*"}
	if d.kind != "" {
		patterns = append(patterns, "head")
	}
	for _, pattern := range patterns {
		names, err := filepath.Glob(filepath.Join(good, pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			rel, _ := filepath.Rel(good, name)
			files = append(files, rel)
		}
	}
	if d.kind != "" {
		return files // there are no folders
	}
	return append(files, "packs", "index", "tags", "tmp")
}

// TestRepairMatrix damages every file of a store in every way. Repair alone loses nothing that could be had before, and
// names what is lost. With a copy at hand it makes all of it whole, and finds nothing to do the next time. CASTAR_MATRIX
// asks for more places and orders.
func TestRepairMatrix(t *testing.T) {
	if n := testRepairMatrix(t, newHarmedStore(t, "")); n < 100 {
		t.Errorf("only %d cases", n)
	}
}

// TestRepairMatrixBucket is the same for a store in a bucket.
func TestRepairMatrixBucket(t *testing.T) {
	if n := testRepairMatrix(t, newHarmedStore(t, "packed+file:")); n < 50 {
		t.Errorf("only %d cases", n)
	}
}

func testRepairMatrix(t *testing.T, d harmedStore) (n int) {
	for _, file := range d.files(t) {
		for _, kind := range harms() {
			isDir := !strings.Contains(file, "/") && !slices.Contains([]string{"config", "log", "head"}, file)
			if isDir && kind.name != "deleted" && kind.name != "a symlink" {
				continue
			}
			if d.kind != "" && (kind.name == "a folder" || kind.name == "a symlink") {
				continue
			}
			if n++; storetest.UnderRace && n%raceStep != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s %s %d", filepath.Dir(file), kind.name, n), func(t *testing.T) {
				t.Parallel()
				d.harm(t, file, kind)
			})
		}
	}
	return n
}

// harm damages a file of a store, and has it mended.
func (d harmedStore) harm(t *testing.T, file string, kind harm) {
	st := filepath.Join(t.TempDir(), "store")
	if err := linkStore(filepath.Join(d.dir, "good"), st); err != nil {
		t.Fatal(err)
	}
	if !kind.do(t, filepath.Join(st, file)) {
		return // it does not apply to this file
	}
	alone := filepath.Join(t.TempDir(), "store")
	if err := linkStore(st, alone); err != nil {
		t.Fatal(err)
	}
	d.repairAlone(t, d.kind+alone, file, kind.name)
	d.repairFrom(t, st, file, kind.name)
	if wholeMatrix() {
		d.repairFrom(t, alone, file, kind.name)
	}
}

// linkStore makes another store of the same files, but for the lock: files of a store are not changed, but replaced.
func linkStore(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dest := filepath.Join(to, strings.TrimPrefix(path, from))
		switch {
		case d.IsDir():
			return os.MkdirAll(dest, 0o700)
		case d.Type() == fs.ModeSymlink:
			return os.Symlink("nowhere", dest)
		case d.Name() == "lock":
			return os.WriteFile(dest, nil, 0o600)
		}
		return os.Link(path, dest)
	})
}

// wholeMatrix reports whether to try everything, and not a part that takes seconds.
func wholeMatrix() bool { return os.Getenv("CASTAR_MATRIX") != "" }

// repairAlone mends a store as far as what is left of it allows.
func (d harmedStore) repairAlone(t *testing.T, st, file, kind string) {
	t.Helper()
	exports := func(tag string) bool {
		status, _, _ := castar("-s", st, "export", tag, filepath.Join(t.TempDir(), "dest"))
		return status == 0
	}
	before := map[string]bool{}
	for tag := range d.trees {
		before[tag] = exports(tag)
	}
	status, mended, errs := castar("-s", st, "repair")
	lost := strings.Contains("\n"+mended, "\nlost: ") || strings.Contains(mended, ", and everything in 1 place")
	if status != 0 && status != statusPartial || errs != "" || lost != (status == statusPartial) {
		t.Fatalf("exit status %d: %s%s", status, mended, errs)
	}
	if lostWhole(file, kind) != strings.Contains(mended, ", and everything in ") && file != "packs" {
		t.Errorf("what was lost with %s: %s", file, mended)
	}
	// All but the contents of packs, and a tag that is deleted, can be had from elsewhere in the store.
	if whole := !strings.HasPrefix(file, "packs") && !lostWhole(file, kind); whole != (status == 0) && kind != "extended" && kind != "swapped" {
		t.Logf("exit status %d: %s", status, mended)
		if whole {
			t.Error("something is lost")
		}
	}
	for tag := range d.trees {
		named := strings.Contains(mended, "lost: "+tag+":") || strings.Contains(mended, "lost: "+tag+" ")
		now := exports(tag)
		deleted := file == "tags/"+store.Sum([]byte(tag)).String() && kind == "deleted"
		if before[tag] && !now || now == named && !deleted {
			t.Errorf("tag %s: could be exported before: %v, and now: %v: %s", tag, before[tag], now, mended)
		}
	}
}

// lostWhole reports whether it is impossible to know what else was in the harmed folder.
func lostWhole(file, kind string) bool {
	return file == "tags" || file == "log" && (kind == "a symlink" || kind == "a folder")
}

// repairFrom mends a store from the copy, and checks that it is whole.
func (d harmedStore) repairFrom(t *testing.T, folder, file, kind string) {
	t.Helper()
	st := d.kind + folder
	status, mended, errs := castar("-s", st, "repair", "--from", filepath.Join(d.dir, "backup"))
	if want := map[bool]int{true: statusPartial}[lostWhole(file, kind)]; status != want && !wholeMatrix() {
		t.Fatalf("repair: exit status %d, want %d: %s%s", status, want, mended, errs)
	}
	for tag, tree := range d.trees {
		if strings.HasPrefix(file, "tags/") && kind == "deleted" {
			if _, err := os.Stat(filepath.Join(folder, file)); err != nil {
				continue // somebody may have meant it
			}
		}
		dest := filepath.Join(t.TempDir(), tag)
		if status, _, errs := castar("-s", st, "export", tag, dest); status != 0 {
			if strings.HasPrefix(file, "tags/") && kind == "deleted" && status == statusNotFound {
				continue
			}
			t.Fatalf("export %s: %s\nrepair said: %s", tag, errs, mended)
		}
		if err := sameTree(tree, dest); err != nil {
			t.Error(err)
		}
	}
	again := mustRun(t, "-s", st, "repair")
	if strings.Count(again, "\n") != 1 || !strings.HasSuffix(again, "; lost 0 entries\n") {
		t.Errorf("repair once more: %s", again)
	}
	if file == "tags" {
		if status, out, _ := castar("-s", st, "verify"); status != statusPartial || !strings.Contains(out, "tags were lost") {
			t.Errorf("verify after tags were lost: exit status %d: %s", status, out)
		}
		if status, _, errs := castar("-s", st, "gc"); status != statusFailed || !strings.Contains(errs, "nothing was removed: ") {
			t.Errorf("gc after tags were lost: exit status %d: %s", status, errs)
		}
		mustRun(t, "-s", st, "gc", "--all")
	}
	mustRun(t, "-s", st, "gc")
	if status, _, _ := castar("help", "verify"); status == 0 {
		if status, out, errs := castar("-s", st, "verify"); status != 0 {
			t.Errorf("verify: exit status %d: %s%s\nrepair said: %s", status, out, errs, mended)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(folder, "tmp")); len(left) > 0 {
		t.Errorf("left in tmp: %v", left)
	}
}

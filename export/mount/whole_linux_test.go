package mount

import (
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"castar/store"
	"castar/store/memory"

	"github.com/google/go-cmp/cmp"
)

// names lists a directory.
func names(t *testing.T, dir string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestWholeStore(t *testing.T) {
	st := memory.New()
	one, two := plant(t, st, "", files{"f": "one"}), plant(t, st, "", files{"f": "two", "d": files{"g": "deep"}})
	file, sym := plant(t, st, "", "a file"), plant(t, st, "", link("f"))
	hidden := plant(t, st, "", files{"h": "no tag has it"})
	when := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for name, root := range map[string]store.Node{"a": one, "a/b": two, "a/c/d": one, "file": file, "sym": sym} {
		if err := st.Tags.Set(t.Context(), store.Tag{Name: name, Root: root, Time: when}); err != nil {
			t.Fatal(err)
		}
	}
	for i, root := range []store.Node{one, two, one} {
		if err := st.Tags.Record(t.Context(), store.Tag{Root: root, Time: when.Add(time.Duration(i/2) * time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	at, n := mounted(t, st, nil)
	symDigest, err := sym.RootDigest()
	if err != nil {
		t.Fatal(err)
	}
	roots := []string{one.Digest.String(), two.Digest.String(), file.Digest.String(), symDigest.String()}
	slices.Sort(roots)
	for dir, want := range map[string][]string{
		"": {"log", "roots", "tags"}, "tags": {"a", "a:", "file", "sym"}, "tags/a": {"b", "c"}, "tags/a/c": {"d"},
		"log":   {"2026-01-02T03:04:05Z", "2026-01-02T03:04:05Z-2", "2026-01-02T04:04:05Z"},
		"roots": roots, "tags/a/b": {"d", "f"},
	} {
		if d := cmp.Diff(want, names(t, in(at, dir))); d != "" {
			t.Errorf("%s: %s", dir, d)
		}
	}
	prefix := hidden.Digest.String()[:10]
	for path, want := range map[string]string{
		"tags/a:/f": "one", "tags/a/b/d/g": "deep", "tags/file": "a file", "log/2026-01-02T03:04:05Z-2/f": "two",
		"roots/" + two.Digest.String() + "/f": "two", "roots/" + prefix + "/h": "no tag has it",
		"roots/" + file.Digest.String(): "a file",
	} {
		if got, err := os.ReadFile(in(at, path)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if target, err := os.Readlink(in(at, "roots", prefix)); err != nil || target != hidden.Digest.String() {
		t.Errorf("a prefix: %q, %v", target, err)
	}
	for _, path := range []string{"tags/x", "log/x", "roots/x", "roots/00000000", "roots/" + strings.Repeat("0", 64)} {
		if _, err := os.Stat(in(at, path)); !os.IsNotExist(err) {
			t.Errorf("%s: %v", path, err)
		}
	}
	seen := map[uint64]string{}
	for path, number := range numbersIn(t, at) {
		if other, ok := seen[number]; ok {
			t.Errorf("%q and %q have the number %d", path, other, number)
		}
		seen[number] = path
	}
	if p := n.take(); p != nil {
		t.Errorf("reported %q", p)
	}
}

// TestTagMoves moves a tag while its old tree is in use.
func TestTagMoves(t *testing.T) {
	st := memory.New()
	set := func(root store.Node) {
		t.Helper()
		if err := st.Tags.Set(t.Context(), store.Tag{Name: "t", Root: root}); err != nil {
			t.Fatal(err)
		}
	}
	set(plant(t, st, "", files{"f": "old"}))
	at, _ := mounted(t, st, nil)
	f, err := os.Open(in(at, "tags/t/f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set(plant(t, st, "", files{"f": "new"}))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got, err := os.ReadFile(in(at, "tags/t/f"))
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("%q, %v", got, err)
		}
		if string(got) == "new" {
			break
		}
	}
	buf := make([]byte, 10)
	if n, _ := f.ReadAt(buf, 0); string(buf[:n]) != "old" {
		t.Errorf("the open file has %q", buf[:n])
	}
	if err := st.Tags.Delete(t.Context(), "t"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if _, err := os.Stat(in(at, "tags/t")); os.IsNotExist(err) {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("a deleted tag: %v", err)
		}
	}
}

// TestUnmount unmounts what is in use.
func TestUnmount(t *testing.T) {
	st := memory.New()
	root := plant(t, st, "", files{"f": "x"})
	at, _ := mounted(t, st, &root)
	f, err := os.Open(in(at, "f"))
	if err != nil {
		t.Fatal(err)
	}
	err = Unmount(at, false)
	if err == nil || !strings.Contains(err.Error(), "busy: used by mount.test (process ") {
		t.Errorf("busy: %v", err)
	}
	if err := Unmount(at, true); err != nil {
		t.Errorf("lazy: %v", err)
	}
	if got := names(t, at); got != nil {
		t.Errorf("still there: %q", got)
	}
	f.Close()
	if err := Unmount(at, false); err == nil || !strings.Contains(err.Error(), "not a mount") {
		t.Errorf("again: %v", err)
	}
}

// TestClosed reads from a mount whose process gives up.
func TestClosed(t *testing.T) {
	st := memory.New()
	root := plant(t, st, "", files{"f": "x"})
	if _, err := os.Stat("/dev/fuse"); err != nil || os.Geteuid() != 0 {
		t.Skip("NOT TESTED: mounts, which need /dev/fuse and root")
	}
	dir := t.TempDir()
	m, err := Mount(t.Context(), st, &root, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Unmount(true) })
	m.Close()
	if _, err := os.ReadFile(in(dir, "f")); err == nil || err.(*os.PathError).Err != syscall.EIO {
		t.Errorf("error %v", err)
	}
}

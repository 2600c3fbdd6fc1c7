package cmd

import (
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/ingest"
	"castar/store"
	"castar/store/packed"
	"castar/store/storetest"
)

// TestNightly ingests a tree on many nights, with a listing, after small changes. Kept whole, all that takes little
// more than one ingest and the changes take. Forgetting by policy leaves exactly what restic's documentation says.
func TestNightly(t *testing.T) {
	const files, fileSize = 40, 8 << 10
	nights := storetest.Sample(1000, 70)
	dir := quickDir(t)
	t.Setenv("XDG_CACHE_HOME", filepath.Join(dir, "cache"))
	src, once, nightly := filepath.Join(dir, "src"), filepath.Join(dir, "once"), filepath.Join(dir, "nightly")
	rng := rand.New(rand.NewPCG(1, 2))
	write := func(i int) {
		body := make([]byte, fileSize)
		for j := range body {
			body[j] = byte(rng.Uint32())
		}
		name := filepath.Join(src, string(rune('a'+i/10)), string(rune('a'+i%10)))
		if err := os.WriteFile(name, body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i := range files {
		if err := os.MkdirAll(filepath.Join(src, string(rune('a'+i/10))), 0o700); err != nil {
			t.Fatal(err)
		}
		write(i)
	}
	stores := [2]*store.Store{}
	for i, path := range []string{once, nightly} {
		st, err := packed.Open(t.Context(), path, packed.Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		stores[i] = st
	}
	last := time.Date(2026, 11, 25, 2, 30, 0, 0, time.UTC) // a Wednesday
	for night := range nights {
		write(night % files)
		if _, err := ingest.FS(t.Context(), stores[0], src, ingest.Options{}); err != nil {
			t.Fatal(err)
		}
		r, err := ingest.FS(t.Context(), stores[1], src, ingest.Options{Listing: true})
		if err == nil {
			err = stores[1].Sync(t.Context())
		}
		tag := store.Tag{Name: "home", Root: r.Root, Time: last.AddDate(0, 0, night+1-nights), Source: src, Host: "h", Version: "v",
			Counts: r.Counts, Listing: r.Listing}
		if err == nil {
			err = stores[1].Tags.Record(t.Context(), tag)
		}
		if err == nil {
			err = stores[1].Tags.Set(t.Context(), tag)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, st := range stores {
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		st.Close()
	}
	for _, args := range [][]string{{"gc", "-s", nightly}, {"verify", "-s", nightly, "--structure"}} {
		if status, _, stderr := run(t, args...); status != statusDone {
			t.Fatalf("%v: status %d, %s", args, status, stderr)
		}
	}
	if a, b := treeBytes(t, nightly), treeBytes(t, once); float64(a) > 1.3*float64(b) {
		t.Errorf("%d nights take %d bytes, and all that changed takes %d", nights, a, b)
	}
	if got := nightlyLog(t, nightly); len(got) != nights {
		t.Errorf("the log has %d lines", len(got))
	}
	for range 2 {
		if status, _, stderr := run(t, "forget", "-s", nightly, "--keep-daily", "7", "--keep-weekly", "4", "--gc"); status != statusDone {
			t.Fatalf("forget: status %d, %s", status, stderr)
		}
		want := []string{"2026-11-25", "2026-11-24", "2026-11-23", "2026-11-22", "2026-11-21", "2026-11-20", "2026-11-19", "2026-11-15", "2026-11-08"}
		if got := nightlyLog(t, nightly); !slices.Equal(got, want) {
			t.Errorf("left are %v, want %v", got, want)
		}
	}
	if n := treeBytes(t, nightly); n > 3*files*fileSize {
		t.Errorf("nine nights take %d bytes", n)
	}
	if status, _, stderr := run(t, "verify", "-s", nightly); status != statusDone {
		t.Errorf("verify: status %d, %s", status, stderr)
	}
	for _, name := range []string{"home", "home~1", "home~8", "home@2026-11-10"} {
		if status, _, stderr := run(t, "ls", "-s", nightly, name); status != statusDone {
			t.Errorf("%s: status %d, %s", name, status, stderr)
		}
	}
}

// quickDir returns a folder in memory, if there is one: many ingests sync often.
func quickDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "castar-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// nightlyLog returns the days of the log, newest first.
func nightlyLog(t *testing.T, path string) (days []string) {
	t.Helper()
	status, stdout, stderr := run(t, "log", "-s", path, "--json")
	if status != statusDone {
		t.Fatalf("log: status %d, %s", status, stderr)
	}
	for line := range strings.Lines(stdout) {
		var r struct{ Time time.Time }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		days = append(days, r.Time.UTC().Format(time.DateOnly))
	}
	return days
}

// treeBytes returns the sum of the lengths of the files in a folder.
func treeBytes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			sum += fi.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

package packed

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/packed/internal/sealed"
	"castar/store/record"
	"castar/store/storetest"
)

// TestSpoiledLog reads logs in which much cannot be read: it is said in a bounded number of errors, in bounded memory,
// and what is whole between it comes all the same.
func TestSpoiledLog(t *testing.T) {
	good, err := record.EncodeTag(record.OneLine, store.Tag{Root: store.Node{Kind: store.KindSymlink, Target: "x"}, Time: time.Unix(0, 0)})
	if err != nil {
		t.Fatal(err)
	}
	line := string(good) + "\n"
	n := storetest.Sample(100, 2) // hundreds of lines
	tests := []struct {
		name, log    string
		whole, spoil int
		says         string // in the last error
	}{
		{"one", line + "bad\n" + line, 2, 1, "line 3: not a sealed line"},
		{"run", line + strings.Repeat("bad\n\n", 1000*n) + line, 2, 1,
			fmt.Sprintf("lines 3 to %d: %d lines cannot be read, the first: not a sealed line", 2000*n+1, 1000*n)},
		{"end", line + "bad\nbad", 1, 1, "lines 3 to 4: 2 lines"},
		{"alternating", strings.Repeat("bad\n"+line, 100*n), 100 * n, 100 + 1, fmt.Sprintf("%d lines cannot be read", 100*n-100)},
		{"long", line + strings.Repeat("x", 32<<20) + "\n" + line, 2, 1, "line 3: line is too long: 33554433 bytes, want at most 1048576"},
		{"endless", line + strings.Repeat("\x00", 32<<20), 1, 1, "line is too long"},
		{"blank", strings.Repeat("\n", 10_000), 0, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			st := open(t, dir, Options{Create: true})
			if err := os.WriteFile(filepath.Join(dir, sealed.LogName), []byte(tt.log), 0o600); err != nil {
				t.Fatal(err)
			}
			whole, spoil, last := 0, 0, ""
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for _, err := range st.Tags.Log(t.Context()) {
				if err == nil {
					whole++
				} else {
					spoil++
					last = err.Error()
				}
			}
			runtime.ReadMemStats(&after)
			if whole != tt.whole || spoil != tt.spoil || !strings.Contains(last, tt.says) {
				t.Errorf("%d lines and %d errors, the last %.200q; want %d and %d, and %q", whole, spoil, last, tt.whole, tt.spoil, tt.says)
			}
			if n := after.TotalAlloc - before.TotalAlloc; strings.Contains(last, "too long") && n > 8<<20 {
				t.Errorf("a line that is too long takes %d MB", n>>20)
			}
		})
	}
}

// TestLongRecord sets a tag that nobody could read, and reads a file in its place that is longer than any tag.
func TestLongRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	st := open(t, dir, Options{Create: true})
	tag := store.Tag{Name: "v1", Root: store.Node{Kind: store.KindSymlink, Target: "x"}}
	if err := st.Tags.Set(t.Context(), tag); err != nil {
		t.Fatal(err)
	}
	long := tag
	long.Source = strings.Repeat("s", record.Max)
	if st.Tags.Set(t.Context(), long) == nil || st.Tags.Record(t.Context(), long) == nil {
		t.Error("a record that is longer than readers take is written")
	}
	if _, err := st.Tags.Get(t.Context(), "v1"); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, sealed.TagPath("v1")), bytes.Repeat([]byte("x"), record.Max+1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := st.Tags.Get(t.Context(), "v1")
	if want := fmt.Sprintf("%d bytes, want at most %d", record.Max+1, record.Max); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

package packed

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/internal/sealed"
	"castar/store/record"
)

// logTag returns ingest number i.
func logTag(i int) store.Tag {
	return store.Tag{Name: "v", Root: store.Node{Kind: store.KindSymlink, Target: fmt.Sprint(i)}, Time: time.Unix(int64(i), 0).UTC()}
}

func logText(t *testing.T, i int) string {
	t.Helper()
	line, err := record.EncodeTag(record.OneLine, logTag(i))
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// TestForgetKeepsBytes forgets lines among some that cannot be read, or must not be judged. Those stay, byte by byte.
func TestForgetKeepsBytes(t *testing.T) {
	newer := string(record.OneLine.Wrap([]byte(`{"needs":["words"],"name":"v"}`)))
	odd := "bad\n" + newer + strings.Repeat("x", record.Max+1) + "\n\x00\x00\n \n"
	torn := logText(t, 4)[:40]
	dir := filepath.Join(t.TempDir(), "store")
	st := open(t, dir, Options{Create: true, Exclusive: true})
	log := filepath.Join(dir, sealed.LogName)
	text := "\n" + logText(t, 1) + "\n" + logText(t, 2) + odd + "\n" + logText(t, 3) + "\n" + logText(t, 1) + "\n" + torn
	if err := os.WriteFile(log, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := logText(t, 2) + odd + torn
	for range 2 {
		if err := st.Tags.Forget(t.Context(), []store.Tag{logTag(1), logTag(3), logTag(4)}); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(log); err != nil || string(got) != want {
			t.Errorf("the log is %.300q, %v, want %.300q", got, err, want)
		}
	}
	if err := st.Tags.Record(t.Context(), logTag(5)); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(log); string(got) != want+"\n"+logText(t, 5) {
		t.Errorf("the log is %.300q", got)
	}
	if entries, _ := os.ReadDir(filepath.Join(dir, "tmp")); len(entries) > 0 {
		t.Errorf("tmp has %v", entries)
	}
}

// TestForgetCrash crashes at every operation of a Forget: each line is there or gone, those to keep are there, and what was
// forgotten stays forgotten once Forget has returned.
func TestForgetCrash(t *testing.T) {
	ctx := context.Background()
	run := crashfs.New()
	st, err := openFS(ctx, run, Options{Create: true, Exclusive: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		if err := st.Tags().Record(ctx, logTag(i)); err != nil {
			t.Fatal(err)
		}
	}
	before := run.Len()
	if err := st.Tags().Forget(ctx, []store.Tag{logTag(0), logTag(2)}); err != nil {
		t.Fatal(err)
	}
	states := 0
	for k := before; k <= run.Len(); k++ {
		for s := range run.States(k, 100, uint64(k)) {
			states++
			var left []string
			for tag, err := range logOf(t, s) {
				if err != nil {
					t.Fatalf("after operation %d: %v", k, err)
				}
				left = append(left, tag.Root.Target)
			}
			whole, gone := []string{"0", "1", "2", "3"}, []string{"1", "3"}
			if !slices.Equal(left, gone) && (k == run.Len() || !slices.Equal(left, whole)) {
				t.Fatalf("after operation %d of %d: the log has %v", k, run.Len(), left)
			}
		}
	}
	if states < 5 {
		t.Errorf("only %d states", states)
	}
}

// logOf yields the log of a store in a file system.
func logOf(t *testing.T, fsys durable.FS) func(yield func(store.Tag, error) bool) {
	t.Helper()
	st, err := openFS(context.Background(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return st.Tags().Log(context.Background())
}

// A store that others may write to, or that is read-only, forgets nothing.
func TestForgetRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	st := open(t, dir, Options{Create: true})
	if err := st.Tags.Record(t.Context(), logTag(1)); err != nil {
		t.Fatal(err)
	}
	if err := st.Tags.Forget(t.Context(), []store.Tag{logTag(1)}); !errors.Is(err, store.ErrNotAlone) {
		t.Errorf("error %v", err)
	}
	st.Close()
	st = open(t, dir, Options{ReadOnly: true, Exclusive: true})
	if err := st.Tags.Forget(t.Context(), []store.Tag{logTag(1)}); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("error %v", err)
	}
}

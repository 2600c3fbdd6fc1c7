package packed

import (
	"context"
	"errors"
	"fmt"
	"iter"
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
	"castar/store/packed/pack"
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
			left := targets(t, logOf(t, s))
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

// TestForgetFaults makes each operation of a Forget fail, as on a full disk: Forget says so, and the log is as it was. Only
// if the new log is in its place and cannot be synced is it that. Nothing is left behind, and the next Forget does all.
func TestForgetFaults(t *testing.T) {
	ctx := t.Context()
	before := crashfs.New()
	st, err := openFS(ctx, before, Options{Create: true})
	for i := range 4 {
		err = errors.Join(err, st.Tags().Record(ctx, logTag(i)))
	}
	if err = errors.Join(err, st.Close()); err != nil {
		t.Fatal(err)
	}
	whole, gone := []string{"0", "1", "2", "3"}, []string{"1", "3"}
	for _, injected := range injected() {
		failed := map[string]bool{}
		for n := 0; ; n++ {
			fsys := before.Clone()
			st, err := openFS(ctx, fsys, Options{Exclusive: true})
			if err != nil {
				t.Fatal(err)
			}
			f := &fault{n: n, err: injected}
			fsys.Inject(f.hook)
			err = st.Tags().Forget(ctx, []store.Tag{logTag(0), logTag(2)})
			fsys.Inject(nil)
			if !f.hit() {
				break
			}
			failed[f.failed.Kind.String()] = true
			if _, short := errors.AsType[*crashfs.Short](injected); short && f.failed.Kind != crashfs.Write {
				continue // as without it
			}
			want := whole
			if err == nil || f.failed.Kind == crashfs.SyncDir { // the new log is in its place
				want = gone
			}
			if ferr := checkFault(f, err); ferr != nil {
				t.Error(ferr)
			}
			if got := targets(t, st.Tags().Log(ctx)); !slices.Equal(got, want) {
				t.Errorf("%v: %v: the log has %v, want %v", f.failed, injected, got, want)
			}
			if left, err := fsys.ReadDir(pack.TempDir); len(left) > 0 || err != nil {
				t.Errorf("%v: %v: left in tmp/: %v, %v", f.failed, injected, left, err)
			}
			if err := st.Tags().Forget(ctx, []store.Tag{logTag(0), logTag(2)}); err != nil {
				t.Errorf("%v: %v: again: %v", f.failed, injected, err)
			}
			if err := st.Close(); err != nil || fsys.InUse() > 0 {
				t.Errorf("%v: %v: Close returns %v, %d in use", f.failed, injected, err, fsys.InUse())
			}
			if got := targets(t, logOf(t, fsys)); !slices.Equal(got, gone) {
				t.Errorf("%v: %v: in the end the log has %v", f.failed, injected, got)
			}
		}
		if !failed["write"] || !failed["sync"] || !failed["rename"] {
			t.Errorf("%v: failed %v", injected, failed)
		}
	}
}

// targets lists the links that ingests have for roots.
func targets(t *testing.T, log iter.Seq2[store.Tag, error]) (targets []string) {
	t.Helper()
	for tag, err := range log {
		if err != nil {
			t.Error(err)
		}
		targets = append(targets, tag.Root.Target)
	}
	return targets
}

// logOf yields the log of a store in a file system.
func logOf(t *testing.T, fsys durable.FS) iter.Seq2[store.Tag, error] {
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

package packed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"castar/store"
	"castar/store/packed/index"
	"castar/store/packed/pack"
)

// inParallel calls f from n goroutines and reports their errors.
func inParallel(t *testing.T, n int, f func(worker int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := f(i); err != nil {
				t.Errorf("goroutine %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

// listed returns how often each object is listed.
func listed(t *testing.T, st *store.Store) map[store.Digest]int {
	t.Helper()
	all := map[store.Digest]int{}
	for d, err := range st.Lister.List(t.Context(), store.Digest{}, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all[d]++
	}
	return all
}

func readAll(ctx context.Context, st *store.Store, d store.Digest) ([]byte, error) {
	b, err := st.Blobs.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	var buf bytes.Buffer
	_, err = b.WriteTo(&buf)
	return buf.Bytes(), err
}

// Two handles of one folder, like two processes, that store the same objects from many goroutines both succeed, and
// the store then has each object.
func TestTwoIngestAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	const objects, workers = 300, 4
	blob := func(i int) []byte {
		if i%100 == 0 {
			return random(byte(i/100), 700<<10) // several chunks
		}
		return fmt.Appendf(nil, "blob %d", i)
	}
	node := func(i int) store.Directory { return store.Directory{{Kind: store.KindFile, Name: fmt.Sprint(i)}} }
	inParallel(t, 2, func(int) error {
		st, err := Open(t.Context(), dir, Options{Create: true})
		if err != nil {
			return err
		}
		defer st.Close()
		inParallel(t, workers, func(worker int) error {
			for i := worker; i < objects; i += workers / 2 { // each by two
				if _, err := st.Blobs.Put(t.Context(), blob(i)); err != nil {
					return err
				}
				if _, err := st.Directories.Put(t.Context(), node(i)); err != nil {
					return err
				}
				if i%90 == worker {
					if err := st.Sync(t.Context()); err != nil {
						return err
					}
				}
			}
			return nil
		})
		return st.Sync(t.Context())
	})
	st := open(t, dir, Options{ReadOnly: true})
	want := map[store.Digest]bool{}
	for i := range objects {
		data, dir := blob(i), node(i)
		d := store.Sum(data)
		if got, err := readAll(t.Context(), st, d); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("blob %d: %d bytes, %v", i, len(got), err)
		}
		b, err := store.EncodeDirectory(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := st.Directories.Get(t.Context(), store.Sum(b)); err != nil {
			t.Fatal(err)
		}
		want[d], want[store.Sum(b)] = true, true
		chunks, err := st.Blobs.Chunks(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range chunks {
			want[c.Digest] = true
		}
	}
	for d := range listed(t, st) { // how often is up to who merged whose index
		if !want[d] {
			t.Errorf("%s is listed, and nobody put it", d)
		}
		delete(want, d)
	}
	if len(want) > 0 {
		t.Errorf("%d objects are not listed", len(want))
	}
}

// A reader keeps working while others merge away the indexes that it has open, again and again; and however often a
// store is synced, its indexes stay few.
func TestManySyncs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	first := open(t, dir, Options{Create: true})
	data := []byte("the first blob")
	d, err := first.Blobs.Put(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader := open(t, dir, Options{ReadOnly: true})
	const rounds = 60
	inParallel(t, 2, func(worker int) error {
		st, err := Open(t.Context(), dir, Options{})
		if err != nil {
			return err
		}
		defer st.Close()
		for i := range rounds {
			if _, err := st.Blobs.Put(t.Context(), fmt.Appendf(nil, "blob %d of %d", i, worker)); err != nil {
				return err
			}
			if err := st.Sync(t.Context()); err != nil {
				return err
			}
			for _, st := range []*store.Store{reader, first, st} {
				if got, err := readAll(t.Context(), st, d); err != nil || !bytes.Equal(got, data) {
					return fmt.Errorf("round %d: read %q, %w", i, got, err)
				}
			}
		}
		return nil
	})
	indexes, err := filepath.Glob(filepath.Join(dir, index.Dir, "*"))
	if err != nil || len(indexes) > 16 {
		t.Errorf("%d indexes after %d syncs of 2 writers (%v)", len(indexes), rounds, err)
	}
	last := open(t, dir, Options{})
	if n := len(listed(t, last)); n != 2*rounds+1 {
		t.Errorf("%d objects, want %d", n, 2*rounds+1)
	}
	if _, err := last.Blobs.Put(t.Context(), []byte("one more")); err != nil {
		t.Fatal(err)
	}
	if err := last.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// One writer's indexes grow at least twofold from each to the next.
func TestIndexesStayFew(t *testing.T) {
	fsys := made(t)
	st, err := openFS(t.Context(), fsys, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, st)
	rng := rand.New(rand.NewPCG(1, 1))
	total := 0
	for i := range 200 {
		for j := range 1 + rng.IntN(20) {
			if _, err := st.Blobs().Put(t.Context(), fmt.Appendf(nil, "%d %d", i, j)); err != nil {
				t.Fatal(err)
			}
			total++
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		most := 2
		for n := total; n > 1; n /= 2 {
			most++
		}
		if n := count(fsys, index.Dir); n > most {
			t.Fatalf("%d indexes of %d objects", n, total)
		}
	}
	sum := 0
	for _, x := range *st.Indexes.Load() {
		sum += x.Table(pack.KindData).Len()
		if err := x.Check(); err != nil {
			t.Error(err)
		}
	}
	if sum != total {
		t.Errorf("%d records of %d objects", sum, total)
	}
}

// killDirVar makes the test binary a process that stores into that folder until it is killed.
const killDirVar = "CASTAR_TEST_KILL_DIR"

// A process that is killed at any moment breaks nothing that it or another was told, and the next clears up after it.
func TestKill(t *testing.T) {
	if dir := os.Getenv(killDirVar); dir != "" {
		storeUntilKilled(t, dir)
		return
	}
	if testing.Short() {
		t.Skip("NOT TESTED: kills, in short tests")
	}
	dir := filepath.Join(t.TempDir(), "store")
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	promised := map[string]bool{}
	for i := range 24 {
		lines, err := killed(t, dir, i%4 == 0, time.Duration(rng.IntN(30))*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range lines {
			promised[line] = true
		}
		st, err := Open(t.Context(), dir, Options{Create: true})
		if err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(filepath.Join(dir, pack.TempDir)); err != nil || len(left) > 0 {
			t.Fatalf("%d files are left in tmp/, %v", len(left), err)
		}
		for line := range promised {
			d := store.Sum([]byte(line))
			if got, err := readAll(t.Context(), st, d); err != nil || string(got) != line {
				t.Fatalf("promised %q, read %q: %v", line, got, err)
			}
		}
		for d := range listed(t, st) {
			if got, err := readAll(t.Context(), st, d); err != nil || store.Sum(got) != d {
				t.Fatalf("listed %s: %v", d, err)
			}
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d blobs were promised", len(promised))
	if len(promised) == 0 {
		t.Error("no process got as far as to promise anything")
	}
}

// killed runs a process, kills it some time after it was started or, unless early, promised something, and returns what
// it promised. A last line that was cut off is left out.
func killed(t *testing.T, dir string, early bool, after time.Duration) (lines []string, err error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestKill$")
	cmd.Env = append(os.Environ(), killDirVar+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var timer *time.Timer
	r := bufio.NewReader(out)
	for {
		if timer == nil && (early || len(lines) > 0) {
			timer = time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
		line, err := r.ReadString('\n')
		if err != nil {
			break
		}
		lines = append(lines, line)
	}
	if err := cmd.Wait(); err == nil {
		return nil, errors.New("the process ended before it was killed")
	}
	return lines, nil
}

// storeUntilKilled puts blobs and says which are durable. Between the syncs it puts many that it promises nothing about.
func storeUntilKilled(t *testing.T, dir string) {
	st, err := Open(t.Context(), dir, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		line := fmt.Sprintf("%d of process %d\n", i, os.Getpid())
		for _, data := range [][]byte{[]byte(line), random(byte(i), 80<<10), random(byte(i), 80<<10+i)} {
			if _, err := st.Blobs.Put(t.Context(), data); err != nil {
				t.Fatal(err)
			}
		}
		if i%3 > 0 {
			continue
		}
		if err := st.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(os.Stdout, line); err != nil {
			t.Fatal(err)
		}
	}
}

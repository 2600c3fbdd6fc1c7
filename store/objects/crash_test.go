package objects

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"syscall"
	"testing"

	"castar/store"
	"castar/store/bucket"
	"castar/store/durable/crashfs"
	"castar/store/storetest"
)

// syncEverything syncs the whole of a model of a file system.
func syncEverything(fsys *crashfs.FS) func() error {
	return func() error {
		folders := map[string]bool{".": true}
		for name := range fsys.Files() {
			f, err := fsys.Open(name)
			if err != nil {
				return err
			}
			if err = f.Sync(); err != nil {
				return err
			}
			f.Close()
			for folder := path.Dir(name); folder != "."; folder = path.Dir(folder) {
				folders[folder] = true
			}
		}
		for folder := range folders {
			if err := fsys.SyncDir(folder); err != nil {
				return err
			}
		}
		return nil
	}
}

func noClose() error { return nil }

// crashStore opens a store in a model of a file system. Chunks are small, so that even small blobs have many.
func crashStore(t *testing.T, fsys *crashfs.FS, all bool) *store.Store {
	t.Helper()
	var syncAll func() error
	if all {
		syncAll = syncEverything(fsys)
	}
	return openBucket(t, bucket.NewFile(fsys, ownPrefix, syncAll, noClose), Options{AvgChunkSize: 512, Concurrency: 1})
}

// crashBlobs are blobs of one chunk and of many, some of them shared.
func crashBlobs() [][]byte {
	data := make([]byte, 6000)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return [][]byte{{}, data[:10], data[:3000], data, data[20:30]}
}

// fill stores some blobs and a closure.
func fill(t *testing.T, st *store.Store, blobs [][]byte) error {
	for _, data := range blobs {
		if _, err := st.Blobs.Put(t.Context(), data); err != nil {
			return err
		}
	}
	dirs, _ := fixtures(t, store.SizeDocumented)
	w, err := st.Directories.Upload(t.Context())
	if err != nil {
		return err
	}
	defer w.Close()
	root := store.Digest{}
	for _, dir := range dirs {
		if root, err = w.Put(t.Context(), dir); err != nil {
			return err
		}
	}
	if err := w.Commit(t.Context(), root); err != nil {
		return err
	}
	return st.Sync(t.Context())
}

// After every crash a blob that exists can be read, and a blob exists once Sync has returned. The next ingest, which asks
// what exists, leaves everything readable.
func TestFileCrash(t *testing.T) {
	t.Parallel()
	for _, all := range []bool{false, true} {
		fsys := crashfs.New()
		st := crashStore(t, fsys, all)
		blobs := crashBlobs()
		if err := fill(t, st, blobs[:2]); err != nil {
			t.Fatal(err)
		}
		first := fsys.Len()
		if err := fill(t, st, blobs); err != nil {
			t.Fatal(err)
		}
		last, states := fsys.Len(), 0
		checked := map[string]bool{}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		for k := 1; k <= last; k++ {
			if k%storetest.Sample(1, 9) > 0 && k != first && k != last {
				continue
			}
			limit := 3
			if k == first || k == last {
				limit = storetest.Sample(50, 15)
			}
			if k%4 == 0 { // the process is killed, and the machine crashes only after the next one
				checkCrash(t, fsys.Kill(k), all, blobs, k >= last, k >= first)
			}
			for s := range fsys.States(k, limit, uint64(k)) {
				states++
				if key := fmt.Sprint(contents(t, s), k >= last, k >= first); !checked[key] {
					checked[key] = true
					checkCrash(t, s, all, blobs, k >= last, k >= first)
				}
			}
		}
		t.Logf("%d states, %d of them different", states, len(checked))
		if len(checked) < storetest.Sample(50, 20) {
			t.Errorf("only %d states were tried", len(checked))
		}
	}
}

// contents returns a digest of all that a crash left: names of folders and files, and bytes.
func contents(t *testing.T, s *crashfs.FS) store.Digest {
	t.Helper()
	var h store.Hasher
	files := s.Files()
	var list func(folder string)
	list = func(folder string) {
		entries, err := s.ReadDir(folder)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := path.Join(folder, e.Name())
			fmt.Fprintf(&h, "%q %v %d\n%s", name, e.IsDir(), len(files[name]), files[name])
			if e.IsDir() {
				list(name)
			}
		}
	}
	list(".")
	return h.Sum()
}

func checkCrash(t *testing.T, s *crashfs.FS, all bool, blobs [][]byte, whole, begun bool) {
	t.Helper()
	st := crashStore(t, s, all)
	defer st.Close()
	for i, data := range blobs {
		d := store.Sum(data)
		has, err := st.Blobs.Has(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		if !has && (whole || begun && i < 2) {
			t.Fatalf("blob %d is gone", i)
		}
		if has {
			if got, err := readAll(t, st, d); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("blob %d: %d bytes, %v", i, len(got), err)
			}
		}
	}
	_, d := encoded(t, store.SizeDocumented)
	list, err := walkDigests(t.Context(), st, d["E"])
	if len(list) != 4 && begun || err != nil && !store.IsNotFound(err) {
		t.Fatalf("closure: %d directories, %v", len(list), err)
	}
	if err := fill(t, st, blobs); err != nil {
		t.Fatal(err)
	}
	again := crashStore(t, s.Crash(s.Len(), func(int) int { return 0 }), all) // only synced changes survive
	defer again.Close()
	for i, data := range blobs {
		if got, err := readAll(t, again, store.Sum(data)); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("blob %d, stored again: %d bytes, %v", i, len(got), err)
		}
	}
}

// Whichever operation fails, Sync reports it, then and ever after, and what exists can be read.
func TestFileFaults(t *testing.T) {
	t.Parallel()
	for _, injected := range []error{syscall.EIO, syscall.ENOSPC} {
		for fault := 0; ; fault += storetest.Sample(3, 10) {
			fsys := crashfs.New()
			st := crashStore(t, fsys, false)
			var mu sync.Mutex
			n, synced := -1, false
			fsys.Inject(func(op crashfs.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if n++; n != fault {
					return nil
				}
				synced = op.Kind == crashfs.Sync || op.Kind == crashfs.SyncDir
				return injected
			})
			err := fill(t, st, crashBlobs())
			fsys.Inject(nil)
			mu.Lock() // uploads that fill began may go on after it failed
			few := n < fault
			mu.Unlock()
			if few {
				if err != nil || fault < 30 {
					t.Errorf("after %d faults: %v", fault, err)
				}
				break
			}
			if err != nil && !errors.Is(err, injected) {
				t.Errorf("fault %d: %v, want %v", fault, err, injected)
			}
			serr := st.Sync(t.Context())
			if err != nil && serr == nil {
				if _, perr := st.Blobs.Put(t.Context(), []byte("more")); perr != nil {
					t.Errorf("fault %d: Sync succeeds, Put: %v", fault, perr)
				}
			}
			st.Close()
			mu.Lock()
			doubtful := synced
			mu.Unlock()
			if !doubtful { // after a failed sync, only a restart shows what exists
				checkCrash(t, fsys.Clone(), false, crashBlobs(), err == nil, false)
			}
		}
	}
}

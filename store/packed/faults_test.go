package packed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/care"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/storetest"
)

// fault makes one operation of a file system fail.
type fault struct {
	n      int // of the operation, from 0
	err    error
	mu     sync.Mutex
	seen   int
	failed crashfs.Op
}

func (f *fault) hook(op crashfs.Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen++
	if f.seen-1 != f.n {
		return nil
	}
	f.failed = op
	return f.err
}

// hit reports whether the operation came to pass.
func (f *fault) hit() bool { return f.seen > f.n }

// injected are the errors that operations fail with. The short writes leave less than a sector, and about a half.
func injected() []error {
	return []error{
		syscall.EIO, syscall.ENOSPC, syscall.EMFILE,
		&crashfs.Short{N: 7, Err: syscall.ENOSPC}, &crashfs.Short{N: 700, Err: syscall.EIO},
	}
}

// reason returns the errno of an injected error.
func reason(err error) error {
	if short, ok := errors.AsType[*crashfs.Short](err); ok {
		return short.Err
	}
	return err
}

// Whichever operation of an ingest fails, the ingest says so, promises nothing that is not so, and leaves a store that
// the next one opens and completes, also after a crash. Under the race detector each fault comes with one operation
// in fifty.
func TestFaults(t *testing.T) {
	defer goleak.VerifyNone(t)
	s := newSampler()
	for i, injected := range injected() {
		runs := 0
		for n := 0; ; n++ {
			if storetest.UnderRace && n%50 != 10*i {
				runs++
				continue
			}
			f := &fault{n: n, err: injected}
			fsys := crashfs.New()
			fsys.Inject(f.hook)
			r, err := s.run(fsys, asIs, newLedger())
			fsys.Inject(nil)
			if !f.hit() {
				break
			}
			runs++
			if _, short := errors.AsType[*crashfs.Short](injected); short && f.failed.Kind != crashfs.Write {
				continue // as without it
			}
			if ferr := checkFault(f, err); ferr != nil {
				t.Errorf("operation %d: %v", n, ferr)
			}
			if n := fsys.InUse(); n > 0 && f.failed.Kind != crashfs.Unmap {
				t.Errorf("%v: %v: %d files, maps or locks are left", f.failed, injected, n)
			}
			if err := s.reboot(r, f.failed); err != nil {
				t.Errorf("%v: %v: %v", f.failed, injected, err)
			}
		}
		if runs < 130 {
			t.Errorf("%v: only %d operations", injected, runs)
		}
	}
}

// checkFault reports what is wrong with the error of an ingest in which an operation failed.
func checkFault(f *fault, err error) error {
	if err == nil {
		if harmless(f.failed) || errors.Is(f.err, syscall.EIO) && looksAtTag(f.failed) {
			return nil
		}
		return fmt.Errorf("%v failed, and the ingest did not", f.failed)
	}
	if !errors.Is(err, reason(f.err)) || !strings.Contains(err.Error(), f.failed.Name) {
		return fmt.Errorf("%v failed, and the error is %q", f.failed, err)
	}
	return nil
}

// harmless are the operations without which an ingest is complete: an old index that stays is searched in vain, the
// close of a file that was only read loses nothing, what was given up is for people to know, and a head that
// cannot be looked at is removed.
func harmless(op crashfs.Op) bool {
	return op.Name == sealed.GivenUpName || op.Name == bucketfs.HeadName && op.Kind == crashfs.Stat ||
		op.Kind == crashfs.Remove && strings.HasPrefix(op.Name, index.Dir+"/") ||
		op.Kind == crashfs.Close && !strings.HasPrefix(op.Name, pack.TempDir+"/")
}

// looksAtTag reports whether an operation reads a tag that is about to be replaced. One on a bad disk may be.
func looksAtTag(op crashfs.Op) bool {
	return strings.HasPrefix(op.Name, sealed.TagsDir+"/") && (op.Kind == crashfs.Open || op.Kind == crashfs.Size || op.Kind == crashfs.Read)
}

// reboot holds the store that a failed run left to what was promised: as the next process finds it, after a crash, and
// after a crash that follows another ingest.
func (s *sampler) reboot(r run, failed crashfs.Op) error {
	c := &crasher{sampler: s, wrap: asIs}
	k, l := r.fsys.Len(), r.final().maybe()
	next, err := s.run(r.fsys.Kill(k), asIs, l)
	if err != nil {
		return fmt.Errorf("next process: %w", err)
	}
	for state := range next.fsys.States(next.fsys.Len(), 3, 0) {
		final := next.final()
		if failed.Kind == crashfs.SyncDir && failed.Name == "." {
			final.log = nil // the log's own name may be in doubt for good; what is in it nobody builds on
		}
		if err := c.verify(state, final); err != nil {
			return fmt.Errorf("next process, and crash: %w", err)
		}
	}
	for state := range r.fsys.States(k, 3, 0) {
		if err := c.recover(state, l); err != nil {
			return fmt.Errorf("crash: %w", err)
		}
	}
	return nil
}

// maybe returns l for a run that failed: each of its tags may be what the run was about to make it.
func (l ledger) maybe() ledger {
	l = l.clone()
	for name, may := range l.tags {
		_, second := sampleTag(2, name)
		l.tags[name] = append(slices.Clip(may), second, store.Tag{})
	}
	return l
}

// After the first error nothing is written any more, and every Sync fails with that error, whatever the disk says now.
func TestFailedStaysFailed(t *testing.T) {
	defer goleak.VerifyNone(t)
	ctx := context.Background()
	s := newSampler()
	for n := 0; ; n++ {
		fsys := crashfs.New()
		st, err := s.open(ctx, fsys, true)
		if err != nil {
			t.Fatal(err)
		}
		f := &fault{n: n, err: syscall.EIO}
		l := newLedger()
		if err := sampleStore(ctx, st, 1, &l); err != nil {
			t.Fatal(err)
		}
		fsys.Inject(f.hook)
		first := st.Sync(ctx)
		fsys.Inject(nil)
		if f.hit() == (first == nil) {
			t.Errorf("%v failed: Sync returns %v", f.failed, first)
		}
		if f.hit() {
			before := fsys.Len()
			second := st.Sync(ctx)
			_, put := st.Blobs().Put(ctx, []byte("new"))
			tag := st.Tags().Set(ctx, store.Tag{Name: "t", Root: store.Node{Kind: store.KindFile}})
			for _, err := range []error{second, put, tag} {
				if !errors.Is(err, syscall.EIO) || !errors.Is(err, first) {
					t.Errorf("%v failed: later %v, want %v", f.failed, err, first)
				}
			}
			if fsys.Len() > before {
				t.Errorf("%v failed: later %v", f.failed, fsys.Ops()[before:])
			}
		}
		if err := st.Close(); err != nil || fsys.InUse() > 0 {
			t.Errorf("%v failed: Close returns %v, %d in use", f.failed, err, fsys.InUse())
		}
		if !f.hit() {
			break
		}
	}
}

// Whichever operation of a reader fails, it says so, and what it reads afterwards is right. Only a disk that cannot
// read is called damage, not a process that has too many files open.
func TestReadFaults(t *testing.T) {
	ctx := context.Background()
	s := newSampler()
	fsys := crashfs.New()
	r, err := s.run(fsys, asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	for _, injected := range []error{syscall.EIO, syscall.EMFILE} {
		for n := 0; ; n++ {
			f := &fault{n: n, err: injected}
			fsys := fsys.Clone()
			st, err := s.open(ctx, fsys, false)
			if err != nil {
				t.Fatal(err)
			}
			fsys.Inject(f.hook)
			err = verifyStore(ctx, st, r.final())
			fsys.Inject(nil)
			if !f.hit() {
				break
			}
			if ferr := checkFault(f, err); ferr != nil && !isLog(f.failed) {
				t.Errorf("operation %d: %v", n, ferr)
			}
			if store.IsCorrupt(err) && injected == syscall.EMFILE {
				t.Errorf("%v failed, and the error is %v", f.failed, err)
			}
			if err := verifyStore(ctx, st, r.final()); err != nil {
				t.Errorf("%v failed: later %v", f.failed, err)
			}
			st.Close()
		}
	}
}

// isLog reports whether the operation is one of the log, of which verifyStore forgives what it cannot read.
func isLog(op crashfs.Op) bool { return op.Name == sealed.LogName }

// What could not be written is still what was put, though the caller's buffer has changed.
func TestFailedPutKeepsNothingOfTheCaller(t *testing.T) {
	fsys := crashfs.New()
	st, err := newSampler().open(t.Context(), fsys, true)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	fsys.Inject(func(op crashfs.Op) error {
		if op.Kind == crashfs.Write {
			return syscall.ENOSPC
		}
		return nil
	})
	data := random(1, 100<<10)
	d := store.Sum(data)
	if err := st.PutWhole(pack.KindData, 0, d, data); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("error %v", err)
	}
	fsys.Inject(nil)
	for i := range data {
		data[i] = 0
	}
	if got, err := readBlob(t.Context(), st, d); err != nil || store.Sum(got) != d {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if names, err := fsys.ReadDir(pack.TempDir); len(names) > 0 || err != nil {
		t.Errorf("left in tmp/: %v, %v", names, err)
	}
}

// Whichever operation of a scrub fails, it says so, or has looked at everything nevertheless.
func TestScrubFaults(t *testing.T) {
	ctx, s := t.Context(), newSampler()
	r, err := s.run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	scrub := func(fsys *crashfs.FS) (all store.ScrubResult, damage int, err error) {
		st, err := openFS(ctx, fsys, Options{Tolerate: true})
		if err != nil {
			return all, 0, err
		}
		defer st.Close()
		st.Cutter, st.Packs.Coders = s.cutter, s.coders
		st.Writers = chunk.NewPool(st.Cutter, st.Slots)
		all, err = care.New(st).Scrub(ctx, store.ScrubOptions{}, func(d store.Damage) {
			if !d.Harmless {
				damage++
			}
		})
		return all, damage, err
	}
	want, damage, err := scrub(r.fsys.Clone())
	if err != nil || damage > 0 || want.Objects == 0 {
		t.Fatal(want, damage, err)
	}
	for _, injected := range []error{syscall.EIO, syscall.EMFILE} {
		for n := 0; ; n++ {
			f := &fault{n: n, err: injected}
			fsys := r.fsys.Clone()
			fsys.Inject(f.hook)
			got, damage, err := scrub(fsys)
			if !f.hit() {
				break
			}
			if err == nil && damage == 0 && (got.Objects < want.Objects || got.Assembled < want.Assembled) {
				t.Errorf("operation %d, %v: %v: nothing is said to be damaged, and %+v, want %+v", n, f.failed, injected, got, want)
			}
		}
	}
}

// Whichever operation fails when a scrub looks for what others committed, what it has stays.
func TestRefreshFaults(t *testing.T) {
	ctx, s := t.Context(), newSampler()
	for n := 0; ; n++ {
		fsys := crashfs.New()
		if _, err := s.run(fsys, asIs, newLedger()); err != nil {
			t.Fatal(err)
		}
		st, err := openFS(ctx, fsys, Options{Tolerate: true})
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		put(t, s, fsys, "more")
		f := &fault{n: n, err: syscall.EIO}
		fsys.Inject(f.hook)
		st.Refresh()
		fsys.Inject(nil)
		if _, _, err := st.Lookup(pack.KindData, store.Sum(sampleBlobs(1)[1]), false); err != nil {
			t.Errorf("%v failed: %v", f.failed, err)
		}
		if !f.hit() {
			break
		}
	}
}

// put stores a blob as another process would.
func put(t *testing.T, s *sampler, fsys *crashfs.FS, data string) {
	t.Helper()
	st, err := s.open(t.Context(), fsys, false)
	if err == nil {
		_, err = st.Blobs().Put(t.Context(), []byte(data))
	}
	if err == nil {
		err = st.Sync(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	closeStore(t, st)
}

package packed_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"castar/store"
	"castar/store/bucket"
	"castar/store/packed"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/tree"
)

// scenario is two writers, a gc, a repair and a reader at work in one bucket.
type scenario struct {
	m       *model
	grace   time.Duration
	options packed.BucketOptions
	roots   map[store.Digest]string // the texts of the files of each root, one after the other
	promise []store.Tag             // recorded, and told so
	wrong   []string                // what should not have happened
	small   bool                    // a writer and a gc are all
	from    int                     // how many steps are those of an earlier run, after which nothing is checked
	timely  bool                    // no process takes longer than the grace period, and none fails
	slow    bool                    // a writer may sleep for days: what it names and did not promise yet may be gone
}

func (sc *scenario) fail(format string, args ...any) {
	sc.m.mu.Lock()
	defer sc.m.mu.Unlock()
	sc.wrong = append(sc.wrong, fmt.Sprintf(format, args...))
}

// makeTree stores a directory with files of these texts, as an ingest does, and returns its root. What is there already is
// relied on.
func (sc *scenario) makeTree(ctx context.Context, st *store.Store, texts ...string) (store.Tag, error) {
	var dir store.Directory
	for i, text := range texts {
		d := store.Sum([]byte(text))
		if has, err := st.Blobs.Has(ctx, d); err != nil {
			return store.Tag{}, err
		} else if !has {
			if _, err := st.Blobs.Put(ctx, []byte(text)); err != nil {
				return store.Tag{}, err
			}
		}
		dir = append(dir, store.Node{Kind: store.KindFile, Name: fmt.Sprint(i), Digest: d, Size: uint64(len(text))})
	}
	root, err := st.Directories.Put(ctx, dir)
	sc.m.mu.Lock()
	defer sc.m.mu.Unlock()
	sc.roots[root] = strings.Join(texts, "")
	return store.Tag{Root: store.Node{Kind: store.KindDirectory, Digest: root, Size: uint64(len(dir))}, Time: time.Now()}, err
}

// ingest stores a tree and records it, and begins again if a gc was in its way.
func (sc *scenario) ingest(ctx context.Context, b bucket.Bucket, name string, texts ...string) error {
	st, err := packed.OpenBucket(ctx, b, sc.options)
	if err != nil {
		return err
	}
	defer st.Close()
	for range 4 {
		if err = sc.ingestOnce(ctx, st, name, texts); !errors.Is(err, store.ErrCollected) {
			break
		}
	}
	return err
}

func (sc *scenario) ingestOnce(ctx context.Context, st *store.Store, name string, texts []string) error {
	t, err := sc.makeTree(ctx, st, texts...)
	t.Name = name
	names := []func(context.Context, store.Tag) error{st.Tags.Record, st.Tags.Set}
	switch {
	case err != nil:
	case name == "one":
		err = st.Sync(ctx)
	default:
		err = st.Send(ctx)
		names = []func(context.Context, store.Tag) error{st.Keep}
	}
	for _, name := range names {
		if err == nil {
			err = name(ctx, t)
		}
		if err == nil {
			sc.m.mu.Lock()
			sc.promise = append(sc.promise, t)
			sc.m.mu.Unlock()
			sc.check("promise of " + t.Name)
		}
	}
	return err
}

// collect is a gc.
func (sc *scenario) collect(ctx context.Context, b bucket.Bucket) error {
	o := sc.options
	o.Exclusive = true
	st, err := packed.OpenBucket(ctx, b, o)
	if err != nil {
		return err
	}
	defer st.Close()
	for {
		keep := st.NewSet()
		kept := tree.ReadKept(ctx, st)
		if err := errors.Join(append(kept.TagErrors, kept.LogErrors...)...); err != nil {
			return err
		}
		roots, _ := kept.Roots(ctx, st)
		for n, err := range st.Sweeper.Held(ctx, sc.grace) {
			if err != nil {
				return err
			}
			roots = append(roots, tree.Root{Node: n})
		}
		err := tree.Mark(ctx, st, roots, keep)
		if err == nil {
			_, err = st.Sweeper.Sweep(ctx, keep, store.SweepOptions{Grace: sc.grace})
		}
		if !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
}

func (sc *scenario) repair(ctx context.Context, b bucket.Bucket) error {
	o := sc.options
	o.Exclusive, o.Tolerate = true, true
	st, err := packed.OpenBucket(ctx, b, o)
	if err != nil {
		return err
	}
	defer st.Close()
	_, err = st.Repairer.Repair(ctx, store.RepairOptions{})
	if errors.Is(err, store.ErrChanged) {
		err = nil // it says that it is to be run again
	}
	return err
}

// read exports what tags and log name, and returns an error if anything of that is not as it was.
func (sc *scenario) read(ctx context.Context, b bucket.Bucket) error {
	st, err := packed.OpenBucket(ctx, b, packed.BucketOptions{Options: packed.Options{ReadOnly: true}})
	if err != nil {
		return err
	}
	defer st.Close()
	return sc.readAll(ctx, st)
}

func (sc *scenario) readAll(ctx context.Context, st *store.Store) error {
	kept := tree.ReadKept(ctx, st)
	err := errors.Join(append(kept.TagErrors, kept.LogErrors...)...)
	roots, _ := kept.Roots(ctx, st)
	for _, r := range roots {
		err = errors.Join(err, sc.readRoot(ctx, st, r.Node.Digest))
	}
	return err
}

func (sc *scenario) readRoot(ctx context.Context, st *store.Store, root store.Digest) error {
	dir, err := st.Directories.Get(ctx, root)
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, n := range dir {
		blob, err := st.Blobs.Open(ctx, n.Digest)
		if err != nil {
			return fmt.Errorf("file %s: %w", n.Name, err)
		}
		_, err = blob.WriteTo(&text)
		if err = errors.Join(err, blob.Close()); err != nil {
			return fmt.Errorf("file %s: %w", n.Name, err)
		}
	}
	if text.String() != sc.roots[root] {
		return fmt.Errorf("%s has %q, want %q", root, text.String(), sc.roots[root])
	}
	return nil
}

// check looks at the bucket as it is between two steps: all that tags and log name is there, and all that was promised.
func (sc *scenario) check(what string) {
	ctx := context.Background()
	st, err := packed.OpenBucket(ctx, keepOpen{sc.m.b}, packed.BucketOptions{Options: packed.Options{ReadOnly: true}})
	if err != nil {
		sc.fail("open: %v", err)
		return
	}
	defer st.Close()
	if err := sc.readAll(ctx, st); err != nil && !sc.slow {
		sc.fail("after %s: %v", what, err)
		return
	}
	for _, t := range sc.promise {
		if err := sc.readRoot(ctx, st, t.Root.Digest); err != nil {
			sc.fail("after %s: %q was promised: %v", what, t.Name, err)
		}
	}
}

// clean checks that two more gcs, a grace period apart, leave nothing in the bucket that the head does not name, and no
// object that nobody reaches.
func (sc *scenario) clean() {
	ctx := context.Background()
	b := keepOpen{sc.m.b}
	sc.options = packed.BucketOptions{}
	for range 4 {
		time.Sleep(2 * sc.grace)
		if err := sc.collect(ctx, b); err != nil {
			sc.fail("gc in the end: %v", err)
			return
		}
	}
	if err := sc.read(ctx, b); err != nil {
		sc.fail("in the end: %v", err)
	}
	st, err := packed.OpenBucket(ctx, b, packed.BucketOptions{})
	if err != nil {
		sc.fail("in the end: %v", err)
		return
	}
	defer st.Close()
	if has, err := st.Blobs.Has(ctx, store.Sum([]byte("nobody keeps this"))); has || err != nil {
		sc.fail("garbage is left: %v", err)
	}
	if err := sc.named(ctx, b); err != nil {
		sc.fail("in the end: %v", err)
	}
}

// named returns an error unless the head names all files that there are, and condemns none.
func (sc *scenario) named(ctx context.Context, b bucket.Bucket) error {
	fsys, err := bucketfs.Open(ctx, b, "", false)
	if err != nil {
		return err
	}
	defer fsys.Close()
	h := fsys.Head()
	var indexes []*index.Index
	want := []string{"config", "head", "log"}
	for _, name := range h.Indexes {
		x, err := index.Open(fsys, name)
		if err != nil {
			return err
		}
		defer index.Close(x)
		indexes, want = append(indexes, x), append(want, index.Path(name))
	}
	for id := range index.NamedPacks(indexes) {
		want = append(want, id.Path())
	}
	got := slices.DeleteFunc(names(sc.m.t, b, ""), func(name string) bool { return strings.HasPrefix(name, "tags/") })
	slices.Sort(want)
	if !slices.Equal(got, want) || len(h.Condemned)+len(h.Pins) > 0 {
		return fmt.Errorf("there is %q, want %q; %d condemned, %d pins", got, want, len(h.Condemned), len(h.Pins))
	}
	return nil
}

// interleave runs the scenario with the given choices, and returns what went wrong.
func interleave(t *testing.T, sc scenario, b bucket.Bucket, choose func(*model, []*step) (*step, outcome)) (wrong, trace []string) {
	synctest.Test(t, func(t *testing.T) {
		sc.m = &model{t: t, b: b, choose: choose}
		sc.roots = map[store.Digest]string{}
		ctx := context.Background()
		free := keepOpen{b}
		first := sc.options
		sc.options.Create = true
		check(t, sc.ingest(ctx, free, "old", "shared by all", "shared by one", "nobody keeps this"))
		check(t, sc.ingest(ctx, free, "kept", "kept", "shared by all"))
		sc.options = first
		st := openBucket(t, free, sc.options)
		old := sc.promise[0]
		check(t, st.Tags.Delete(ctx, "old"))
		check(t, st.Tags.Forget(ctx, []store.Tag{old}))
		check(t, st.Close())
		sc.promise = slices.DeleteFunc(sc.promise, func(t store.Tag) bool { return t.Name == "old" })
		time.Sleep(2 * sc.grace)
		sc.m.after = func(s *step) {
			if len(sc.m.trace) > sc.from {
				sc.check(fmt.Sprintf("%s of %d", s.what, s.a.id))
			}
		}
		sc.m.start(func(a *actor) error {
			return sc.ingest(a.ctx, a.bucket(), "one", "shared by all", "shared by one", "one")
		})
		sc.m.start(func(a *actor) error { return sc.collect(a.ctx, a.bucket()) })
		if !sc.small {
			sc.m.start(func(a *actor) error { return sc.ingest(a.ctx, a.bucket(), "two", "shared by all", "two") })
			sc.m.start(func(a *actor) error { return sc.read(a.ctx, a.bucket()) })
			sc.m.start(func(a *actor) error {
				return errors.Join(sc.collect(a.ctx, a.bucket()), sc.repair(a.ctx, a.bucket()))
			})
		}
		if !sc.m.run() {
			sc.fail("no end")
		}
		for _, a := range sc.m.actors {
			if a.err != nil && !a.faults && sc.timely {
				sc.fail("actor %d: %v", a.id, a.err)
			}
			a.cancel()
		}
		synctest.Wait()
		sc.clean()
	})
	return sc.wrong, sc.m.trace
}

// tell reports what went wrong in a run.
func tell(t *testing.T, what string, wrong, trace []string) {
	t.Helper()
	if len(wrong) > 0 {
		t.Errorf("%s: %s\nsteps:\n%s", what, strings.Join(wrong, "\n"), strings.Join(trace, "\n"))
	}
}

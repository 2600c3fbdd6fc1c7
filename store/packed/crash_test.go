package packed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"castar/store"
	"castar/store/durable"
	"castar/store/durable/crashfs"
	"castar/store/packed/index"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/storetest"
)

// crashStates is how many states are tried of each crash: n, or a thirty-second under the race detector.
// CASTAR_CRASH_STATES asks for another number.
func crashStates(n int) int {
	if more, err := strconv.Atoi(os.Getenv("CASTAR_CRASH_STATES")); err == nil {
		return more
	}
	return storetest.Sample(n, (n+31)/32)
}

// statesAfterKill is how many states are tried of each crash that follows a kill. The first is the one in which nothing
// survived that was not synced.
func statesAfterKill() int { return storetest.Sample(3, 1) }

// killStep says how many operations lie between those after which a process is killed.
func killStep() int { return storetest.Sample(1, 23) }

// run is the sample ingest with all that it promised, in order.
type run struct {
	fsys     *crashfs.FS
	promised []ledger // the first is what was promised before
}

// wrapper makes a program's view of the file system.
type wrapper func(durable.FS) durable.FS

func asIs(fsys durable.FS) durable.FS { return fsys }

// run runs the ingest on fsys, as wrap shows it.
func (s *sampler) run(fsys *crashfs.FS, wrap wrapper, before ledger) (run, error) {
	_, there := fsys.Files()[sealed.ConfigName]
	before.at, s.makes = 0, !there
	r := run{fsys, []ledger{before}}
	err := s.ingest(context.Background(), wrap(fsys), func(l ledger) {
		all := before.clone()
		maps.Copy(all.blobs, l.blobs)
		maps.Copy(all.dirs, l.dirs)
		maps.Copy(all.tags, l.tags)
		all.id = cmp.Or(l.id, all.id)
		all.log = append(slices.Clip(all.log), l.log...)
		all.at = fsys.Len()
		r.promised = append(r.promised, all)
	})
	return r, err
}

// after returns what holds after k operations.
func (r run) after(k int) ledger {
	n := 0
	for n+1 < len(r.promised) && r.promised[n+1].at <= k {
		n++
	}
	return r.promised[n].or(r.promised[min(n+1, len(r.promised)-1)])
}

// final is what is promised in the end.
func (r run) final() ledger { return r.promised[len(r.promised)-1] }

// crasher tries states that crashes leave.
type crasher struct {
	*sampler
	wrap   wrapper
	limit  int // states of each crash
	again  int // one in so many recoveries is crashed as well; 0: none
	rng    *rand.Rand
	states int // how many crashes left
	tried  int // how many were opened: the others had been
	seen   map[store.Digest]bool
}

func newCrasher(wrap wrapper, limit, again int) *crasher {
	return &crasher{sampler: newSampler(), wrap: wrap, limit: limit, again: again, rng: rand.New(rand.NewPCG(1, 2)), seen: map[store.Digest]bool{}}
}

// crashes stops the machine after each operation of the run, and returns the first promise that was broken.
func (c *crasher) crashes(r run) error {
	for k := range r.fsys.Len() + 1 {
		l := r.after(k)
		for s := range r.fsys.States(k, c.limit, uint64(k)) {
			c.states++
			if !c.fresh(s, l) {
				continue
			}
			c.tried++
			if err := c.recover(s, l); err != nil {
				return fmt.Errorf("crash after %s: %w", upTo(r.fsys, k), err)
			}
		}
	}
	return nil
}

// kills ends the process after each operation of the run, or some of them under the race detector. The next process finds what it did, durable or not; what
// that one then promises must outlive a crash.
func (c *crasher) kills(r run) error {
	for i := 0; i < 2*(r.fsys.Len()+1); i += killStep() {
		k := i / 2
		c.late = i%2 == 0
		next, err := c.run(r.fsys.Kill(k), c.wrap, r.after(k))
		if err != nil {
			return fmt.Errorf("killed after %s: ingest again: %w", upTo(r.fsys, k), err)
		}
		for _, l := range next.promised[1:] {
			for s := range next.fsys.States(l.at, c.limit, uint64(k)) {
				c.tried++
				if err := c.verify(s, l); err != nil {
					return fmt.Errorf("killed after %s, crash after %s: %w", upTo(r.fsys, k), upTo(next.fsys, l.at), err)
				}
			}
		}
	}
	return nil
}

// upTo describes the first k operations.
func upTo(fsys *crashfs.FS, k int) string {
	if k == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%d operations, the last %v", k, fsys.Ops()[k-1])
}

// fresh reports whether to try a state: if none was that has the same files but in tmp/, and the same promises, or in
// one of many cases nevertheless.
func (c *crasher) fresh(s *crashfs.FS, l ledger) bool {
	b := fmt.Append(nil, l.at)
	for _, dir := range []string{pack.Dir, index.Dir, sealed.TagsDir, pack.TempDir} {
		_, err := s.Stat(dir)
		b = fmt.Append(b, err == nil)
	}
	files := s.Files()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasPrefix(name, pack.TempDir+"/") {
			continue
		}
		b = fmt.Appendf(b, "%s %d\n", name, len(files[name]))
		b = append(b, files[name]...)
	}
	d := store.Sum(b)
	known := c.seen[d]
	c.seen[d] = true
	return !known || c.rng.IntN(60) == 0
}

// recover opens the store that a crash left, checks it, ingests again, and checks that all is there.
func (c *crasher) recover(s *crashfs.FS, l ledger) error {
	if err := c.verify(s, l); err != nil {
		return err
	}
	r, err := c.run(s, c.wrap, l)
	if err != nil {
		return fmt.Errorf("ingest again: %w", err)
	}
	if err := c.verify(s, r.final()); err != nil {
		return fmt.Errorf("after the ingest was run again: %w", err)
	}
	if c.again == 0 || c.rng.IntN(c.again) > 0 {
		return nil
	}
	for range 3 {
		k := c.rng.IntN(s.Len() + 1)
		for s2 := range s.States(k, 3, c.rng.Uint64()) {
			c.tried++
			if err := c.verify(s2, r.after(k)); err != nil {
				return fmt.Errorf("recovery crashes after %s: %w", upTo(s, k), err)
			}
		}
	}
	return nil
}

// verify opens a store, which needs to be there only if something was promised, and checks it. Nothing is left open.
func (c *crasher) verify(s *crashfs.FS, l ledger) error {
	ctx := context.Background()
	st, err := c.open(ctx, c.wrap(s.Clone()), false)
	if errors.Is(err, store.ErrNoStore) && l.id == "" {
		return nil
	}
	if err != nil {
		return err
	}
	err = verifyStore(ctx, st, l)
	return errors.Join(err, st.Close())
}

func TestCrash(t *testing.T) {
	r, err := newSampler().run(crashfs.New(), asIs, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	c := newCrasher(asIs, crashStates(300), 10)
	if err := c.crashes(r); err != nil {
		t.Error(err)
	}
	crashed := c.tried
	c.limit = statesAfterKill()
	if err := c.kills(r); err != nil {
		t.Error(err)
	}
	t.Logf("%d operations, %d states, %d opened and recovered; and %d after kills", r.fsys.Len(), c.states, crashed, c.tried-crashed)
	if c.states < crashStates(300)*20 || crashed < crashStates(200) || c.tried < crashed+400/killStep()*statesAfterKill()/3 {
		t.Error("too few states were tried")
	}
}

// Without any one of its calls of fsync, the store breaks a promise, and the test above notices.
func TestCrashNeedsEverySync(t *testing.T) {
	storetest.NotUnderRace(t)
	var all omitter
	r, err := newSampler().run(crashfs.New(), all.wrap, newLedger())
	if err != nil {
		t.Fatal(err)
	}
	if err := newCrasher(all.wrap, 1, 0).kills(r); err != nil { // settle has more to do after a kill
		t.Fatal(err)
	}
	delete(all.sites, "live.(*Store).settle syncs quarantine") // TestQuarantineNeedsEverySync has something in it
	delete(all.sites, "live.Tags.giveUp syncs a file")         // what was given up is only for people to know; a bucket needs it
	for _, site := range slices.Sorted(maps.Keys(all.sites)) {
		t.Run(site, func(t *testing.T) {
			t.Parallel()
			without := omitter{omit: site}
			r, err := newSampler().run(crashfs.New(), without.wrap, newLedger())
			if err != nil {
				t.Fatal(err)
			}
			c := newCrasher(without.wrap, 150, 0)
			err = c.crashes(r)
			if err == nil {
				c.limit = 1
				err = c.kills(r)
			}
			if err == nil {
				t.Errorf("no state is wrong of %d", c.states+c.tried)
			}
			t.Log(err)
		})
	}
	if len(all.sites) < 10 {
		t.Errorf("only %d calls were found: %v", len(all.sites), all.sites)
	}
}

// omitter is a program from which one call of fsync was deleted.
type omitter struct {
	omit  string
	mu    sync.Mutex
	sites map[string]bool // all that were met
}

func (o *omitter) wrap(fsys durable.FS) durable.FS { return &omittingFS{fsys, o} }

// does reports whether the program has the call that is being made: it is named by the function of a package below
// this one that makes it, itself or through package durable.
func (o *omitter) does(call string) bool {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		_, name, ours := strings.Cut(f.Function, "store/packed")
		name = strings.TrimPrefix(strings.TrimLeft(name, "./"), "internal/") // "live.(*Store).settle", "pack.(*Writer).Publish"
		if ours && !strings.HasSuffix(f.File, "_test.go") {
			call = name + " " + call
			break
		}
		if !more {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sites == nil {
		o.sites = map[string]bool{}
	}
	o.sites[call] = true
	return call != o.omit
}

type omittingFS struct {
	durable.FS
	o *omitter
}

type omittingFile struct {
	durable.File
	o *omitter
}

func (f *omittingFS) Create(name string) (durable.File, error) {
	file, err := f.FS.Create(name)
	return &omittingFile{file, f.o}, err
}

func (f *omittingFS) Append(name string) (durable.File, error) {
	file, err := f.FS.Append(name)
	return &omittingFile{file, f.o}, err
}

func (f *omittingFS) SyncDir(name string) error {
	site := name
	if path.Dir(name) == pack.TempDir {
		site = pack.TempPath("*")
	}
	if !f.o.does("syncs " + site) {
		return nil
	}
	return f.FS.SyncDir(name)
}

func (f *omittingFile) Sync() error {
	if !f.o.does("syncs a file") {
		return nil
	}
	return f.File.Sync()
}

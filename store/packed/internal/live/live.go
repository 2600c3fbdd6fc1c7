// Package live reads and writes a packed store while other processes do the same. What is put goes into the current
// session (session.go), which a commit makes part of the store (commit.go). Lookups ask the sessions first and then the
// indexes (live.go). Nothing here removes objects: that is done by package care.
package live

import (
	"context"
	"errors"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"castar/store"
	"castar/store/chunk"
	"castar/store/durable"
	"castar/store/packed/index"
	"castar/store/packed/internal/bucketfs"
	"castar/store/packed/internal/sealed"
	"castar/store/packed/pack"
	"castar/store/zstd"
)

// Options are the Options of package packed, which says what they mean.
type Options struct {
	Create   bool
	New      bool
	SizeRule store.SizeRule

	ChunkSize   int
	Compression string

	ReadOnly  bool
	Exclusive bool
	Wait      time.Duration
	OnWait    func()
	Tolerate  bool
}

// Store is an open packed store. Its methods may be called concurrently.
type Store struct {
	Fs        durable.FS
	Bucket    *bucketfs.FS // the same, if the store is in a bucket; see inbucket.go
	CloseFS   func() error
	lock      durable.Lock
	Config    sealed.Config
	Cutter    *chunk.Cutter
	ReadOnly  bool
	tolerate  bool // leaves damaged indexes out
	Exclusive bool // opened exclusively
	Limits    Limits

	lanes   atomic.Uint32 // given out
	Slots   chan struct{} // one for each compression that may run
	Writers *chunk.Pool   // for blobs that are put in chunks
	Packs   *pack.Files
	loaded  sync.Pool // of *pack.Loaded

	messages  sync.Pool // of *[]byte, for directories that are put
	added     meter
	lately    sync.Map   // the paths of tags that were looked for in a bucket, and when; see mayReplace
	logging   sync.Mutex // held while the log changes
	commit    sync.Mutex // held during a commit
	Indexes   atomic.Pointer[[]*index.Index]
	passed    atomic.Pointer[[]string] // names in the folder of indexes that are no indexes in use; nil: none
	opened    time.Time
	looked    atomic.Int64 // when Has last looked for what others committed, in nanoseconds after opened
	setLooked atomic.Int64 // the same of sets, in a bucket that is only read
	// Nil if nothing is known to be damaged.
	Quarantine atomic.Pointer[sealed.Quarantine]
	Unjudged   error // that a newer program wrote a line of the quarantine, or nil

	Retired    []*index.Index // replaced, but perhaps still being read; under commit
	epoch      atomic.Uint64  // of the head whose indexes are in use
	wholeEpoch uint64         // the epoch in which all that was relied on is there; under commit
	aged       time.Time      // when ageReliance has last begun a period; under commit
	moved      bool           // the epoch has changed since the store was opened; under commit
	mu         sync.Mutex
	current    *session
	closing    []*session // being committed
	failure    error
}

// Bundle returns the store as its users see it, without what looks after it.
func (st *Store) Bundle() *store.Store {
	var keeper store.Keeper
	if st.Bucket != nil {
		keeper = st
	}
	return &store.Store{
		ID: st.Config.ID, SizeRule: st.Config.SizeRule, Blobs: st.Blobs(), Lanes: st.Blobs(), Groups: st.Blobs(), Joins: st.Blobs(), Takes: st.Blobs(),
		Directories: Directories{st}, Tags: Tags{st}, Lister: st, Sizer: st, Meter: &st.added,
		Clones: st.clones(), NewSet: st.NewSet, Room: st.Room, Barrier: st, Keeper: keeper, Far: st.Bucket != nil,
	}
}

// Open opens or makes the store in a folder.
func Open(ctx context.Context, fsys durable.FS, o Options) (st *Store, err error) {
	lock, cfg, err := lockAndConfigure(ctx, fsys, o)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	st = &Store{
		Fs: fsys, lock: lock, Config: cfg, ReadOnly: o.ReadOnly, tolerate: o.Tolerate, Exclusive: o.Exclusive,
		Limits: defaultLimits(), opened: time.Now(),
	}
	if st.Bucket, _ = fsys.(*bucketfs.FS); st.Bucket != nil {
		if err := st.openShared(); err != nil {
			return nil, err
		}
	}
	if st.Cutter, err = chunk.NewCutter(cfg.ChunkAvg); err != nil {
		return nil, err
	}
	jobs := runtime.GOMAXPROCS(0)
	level, err := zstd.Level(cfg.Level)
	if err != nil {
		level = zstd.Fast // of a later castar: any level is right
	}
	coders, err := pack.NewCoders(level, jobs, 2*jobs+laneCount)
	if err != nil {
		return nil, err
	}
	st.Slots = make(chan struct{}, jobs)
	st.Writers = chunk.NewPool(st.Cutter, st.Slots)
	st.Packs = pack.NewFiles(fsys, coders)
	st.current = newSession(st)
	if err := checkPacks(fsys); err != nil && !o.Tolerate {
		return nil, err
	}
	indexes, err := st.openIndexes(nil, o.Tolerate)
	if err != nil {
		return nil, err
	}
	st.Indexes.Store(&indexes)
	quarantine, _, damage, err := sealed.ReadQuarantine(fsys)
	st.Unjudged = sealed.FirstNewer(slices.Values(damage))
	if err == nil && !o.ReadOnly { // a writer must know what not to take for stored
		err = st.Unjudged
	}
	if err != nil && !o.Tolerate {
		index.Close(indexes...)
		return nil, err
	}
	st.Quarantine.Store(quarantine)
	return st, nil
}

// openIndexes opens all indexes, the newest first, except those in have, which are open. With tolerate it leaves out those
// that cannot be opened, unless they are of a newer program.
func (st *Store) openIndexes(have []*index.Index, tolerate bool) ([]*index.Index, error) {
	tries := 100 // another process may replace an index between the listing and the opening
	if st.Bucket != nil {
		tries = 3 // a gc must have deleted it, and that is long after
	}
	for try := 1; ; try++ {
		all, err := st.openListed(have, func(err error) bool {
			return tolerate && !errors.Is(err, pack.ErrFormat) && (try == tries || !errors.Is(err, fs.ErrNotExist))
		})
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == tries {
			return all, err
		}
		if st.Bucket != nil {
			if _, rerr := st.Bucket.Reload(); rerr != nil {
				return nil, rerr
			}
		}
	}
}

// Refresh takes in what other processes have committed since its last call, and reports whether there was anything. It reads
// the folder of indexes, and waits for a commit of this process only if there is something new. What it cannot read is left
// for the next call.
func (st *Store) Refresh() bool {
	if st.Exclusive {
		return false
	}
	if st.Bucket != nil {
		return st.refreshShared()
	}
	if !st.unseen() {
		return false
	}
	st.commit.Lock()
	defer st.commit.Unlock()
	if !st.unseen() {
		return true // another goroutine has taken it in
	}
	entries, err := st.Fs.ReadDir(index.Dir)
	if err != nil {
		return false
	}
	old := append([]*index.Index{}, *st.Indexes.Load()...) // not nil
	all, err := st.openIndexes(old, st.tolerate)
	if err != nil {
		return false
	}
	st.UseIndexes(all)
	var passed []string
	for _, e := range entries {
		if !index.HasName(all, e.Name()) {
			passed = append(passed, e.Name())
		}
	}
	st.passed.Store(&passed)
	return true
}

// unseen reports whether there are files in the folder of indexes that were neither taken in nor passed over. Their
// names are never used again.
func (st *Store) unseen() bool {
	entries, err := st.Fs.ReadDir(index.Dir)
	if err != nil {
		return false
	}
	all, passed := *st.Indexes.Load(), st.passed.Load()
	return slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !index.HasName(all, e.Name()) && (passed == nil || !slices.Contains(*passed, e.Name()))
	})
}

// openListed reads the folder once, and opens the indexes in it that no later epoch has replaced. Those in have are open. An
// index that fails with an error to be ignored is left out. That the folder cannot be read is ignored only if have is nil.
func (st *Store) openListed(have []*index.Index, ignore func(error) bool) (all []*index.Index, err error) {
	entries, err := st.Fs.ReadDir(index.Dir)
	if err != nil && (have != nil || !ignore(err)) {
		return nil, err
	}
	known := func(x *index.Index) bool { return slices.Contains(have, x) }
	for _, e := range slices.Backward(entries) {
		if !strings.HasSuffix(e.Name(), index.Ext) {
			continue // network file systems leave such files if an open file is removed
		}
		if n := slices.IndexFunc(have, func(x *index.Index) bool { return x.Name == e.Name() }); n >= 0 {
			all = append(all, have[n])
			continue
		}
		x, err := index.Open(st.Fs, e.Name())
		switch {
		case err == nil:
			if st.Bucket != nil && !st.ReadOnly {
				x.TrackReliance()
			}
			all = append(all, x)
		case !ignore(err):
			index.Close(slices.DeleteFunc(all, known)...)
			return nil, err
		}
	}
	epoch := index.Epoch(all)
	current := slices.DeleteFunc(slices.Clone(all), func(x *index.Index) bool { return x.Epoch < epoch })
	replaced := slices.DeleteFunc(all, func(x *index.Index) bool { return x.Epoch == epoch || known(x) })
	return current, index.Close(replaced...)
}

// find returns where an object is, or its bytes if it is not written yet and wantData asks for them.
func (st *Store) find(k pack.Kind, d *store.Digest, wantData bool) (l pack.Location, data []byte, ok bool) {
	// Sessions first: a session that is committed during the search is in the indexes before it leaves the list.
	st.mu.Lock()
	closing, current := st.closing, st.current
	st.mu.Unlock()
	if l, data, ok = current.find(k, d, wantData); ok {
		return l, data, true
	}
	return st.findBefore(closing, k, d, wantData)
}

// hasBefore is Has without the current session.
func (st *Store) hasBefore(k pack.Kind, d *store.Digest) bool {
	st.mu.Lock()
	closing := st.closing
	st.mu.Unlock()
	_, _, ok := st.findBefore(closing, k, d, false)
	return ok
}

// findBefore is find for the sessions that are being committed, and the indexes.
func (st *Store) findBefore(closing []*session, k pack.Kind, d *store.Digest, wantData bool) (l pack.Location, data []byte, ok bool) {
	for _, s := range closing {
		if l, data, ok = s.find(k, d, wantData); ok {
			return l, data, true
		}
	}
	for {
		all := st.Indexes.Load()
		l, ok = st.findStored(*all, k, d)
		if !ok || st.Bucket == nil || st.Indexes.Load() == all {
			return l, nil, ok
		}
		// The indexes were replaced: perhaps before it was noted that this object is relied on.
	}
}

// findStored returns where an object is by some indexes, and notes that this process relies on it.
func (st *Store) findStored(indexes []*index.Index, k pack.Kind, d *store.Digest) (l pack.Location, ok bool) {
	damaged := st.Quarantine.Load()
	for _, x := range indexes {
		if l, ok = x.Find(k, d); ok && !damaged.Holds(d, l) {
			x.Rely(k, d)
			return l, true
		}
	}
	return l, false
}

// Has reports whether an object is in a session, or in the store as far as it was looked at.
func (st *Store) Has(k pack.Kind, d *store.Digest) bool {
	_, _, ok := st.find(k, d, false)
	return ok
}

// Writable returns why the store cannot be written, or nil.
func (st *Store) Writable() error {
	_, err := st.taking()
	return err
}

// taking returns the session that takes objects, or why the store cannot be written.
func (st *Store) taking() (*session, error) {
	if st.ReadOnly {
		return nil, store.ErrReadOnly
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.current, st.failure
}

// Fail remembers the first error of a write. After it nothing more is written or committed, because what the session takes
// for written may not be.
func (st *Store) Fail(err error) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.failure == nil {
		st.failure = err
	}
	return err
}

// meter implements store.Meter.
type meter struct{ contents, stored atomic.Uint64 }

// Added implements store.Meter.
func (m *meter) Added() (contents, stored uint64) { return m.contents.Load(), m.stored.Load() }

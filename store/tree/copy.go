package tree

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"castar/store"
)

// CopyOptions say how to copy. All fields may be zero.
type CopyOptions struct {
	DryRun   bool            // count what is missing, and copy nothing
	SizeRule *store.SizeRule // count the sizes of directories in the destination by this rule; nil: copy them as they are
	Jobs     int             // how many blobs are copied at once; 0 is a good number
	Progress *CopyCounts
	Problem  func(path string, err error) // called for what cannot be copied, one call at a time; may be nil
}

// CopyCounts is what a copy has met, and how much of that was missing and was copied. Each blob and directory counts
// once. A directory counts as missing in a remote destination, without a question, if something that it reaches was
// missing there: servers keep closures. The counts may be read at any time.
type CopyCounts struct {
	Directories, Blobs, Bytes          atomic.Uint64
	NewDirectories, NewBlobs, NewBytes atomic.Uint64
	// Unchecked is how many sizes that directories record for blobs were not compared with the blobs: the destination had
	// the blobs, and neither store tells their length without reading them.
	Unchecked atomic.Uint64
}

// ErrIncomplete says that not all of a closure could be copied. What could not was reported as a problem.
var ErrIncomplete = errors.New("not everything could be copied")

// Copier copies closures from one store to another, one at a time. It remembers what it has seen, so it copies roots
// quickly that have much in common with earlier ones.
type Copier struct {
	from, to *store.Store
	o        CopyOptions
	slots    chan struct{}             // one for each goroutine
	jobs     chan struct{}             // one for each blob that is being copied
	groups   *groups                   // nil: each blob is copied by itself
	had      store.ObjectSet           // of what the destination had; nil: it has no set, or none that is quick to ask
	seen     store.ObjectSet           // blobs that to has or that are being copied, and directories that were met
	asked    store.ObjectSet           // blobs that a remote to was asked about; nil: to is near
	there    store.ObjectSet           // those of them that it had
	whole    map[store.Node]store.Node // roots that were copied, and what they are in to
	expected map[store.Node]struct{}   // roots that groups know the contents of

	mu      sync.Mutex
	failed  map[store.Digest]bool          // blobs that could not be copied
	sizes   map[store.Digest]uint64        // lengths of blobs, if neither store tells them
	copying map[store.Digest]chan struct{} // blobs that are being copied; a channel, if any, is closed when that ended
}

// copyJobs is how many blobs are copied at once by default: more than processors, for stores on a network.
const copyJobs = 32

// remoteJobs is how many blobs and directories are looked for at once in remote stores.
const remoteJobs = 1024

// NewCopier returns a Copier. The stores must have Blobs and Directories.
func NewCopier(from, to *store.Store, o CopyOptions) *Copier {
	if o.Jobs <= 0 {
		o.Jobs = max(copyJobs, runtime.GOMAXPROCS(0))
	}
	if o.Progress == nil {
		o.Progress = new(CopyCounts)
	}
	slots := o.Jobs
	if to.RemoteBlobs != nil && from.RemoteBlobs == nil {
		slots = max(slots, remoteJobs)
	}
	c := &Copier{
		from: from, to: to, o: o, seen: NewSet(from), slots: make(chan struct{}, slots), jobs: make(chan struct{}, o.Jobs),
		whole: map[store.Node]store.Node{}, failed: map[store.Digest]bool{}, sizes: map[store.Digest]uint64{},
		copying: map[store.Digest]chan struct{}{}, expected: map[store.Node]struct{}{},
	}
	if !o.DryRun {
		c.groups = newGroups(from, to)
	}
	if to.NewSet != nil && !to.Far {
		c.had = to.NewSet()
	}
	if to.RemoteBlobs != nil {
		c.asked, c.there = NewSet(from), NewSet(from)
	}
	return c
}

// Expect says that roots will be copied. Stores that compress blobs together can then pass them on together if several
// roots reach them.
func (c *Copier) Expect(ctx context.Context, roots ...Root) {
	if c.groups == nil {
		return
	}
	roots = slices.DeleteFunc(slices.Clone(roots), func(r Root) bool {
		_, known := c.expected[r.Node]
		c.expected[r.Node] = struct{}{}
		return known
	})
	c.groups.want(ctx, roots)
}

// syncInterval is how often what was copied is made durable. A copy that is interrupted can be begun again from there.
const syncInterval = 30 * time.Second

// Copy copies all that root reaches and the destination lacks: blobs before the directories that refer to them, and
// directories before their parents. When it returns nil, the destination has all of it, and after a Sync durably.
//
// Copy checks everything against its digest, and the sizes that directories and root record: of a directory at least
// what is counted by the documented rule, and of a blob its length, except for those that CopyCounts counts as
// unchecked. It reports what is missing, damaged or too deep (store.ErrTooDeep) in the source and copies the rest; then
// the error is ErrIncomplete. Any other error ends the copy.
func (c *Copier) Copy(ctx context.Context, root Root) (err error) {
	if _, ok := c.whole[root.Node]; ok {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &rootCopy{Copier: c, ctx: ctx, cancel: cancel, directories: map[store.Digest]*directoryCopy{}}
	if root.Node.Kind == store.KindDirectory && !c.o.DryRun {
		if r.upload, err = c.to.Directories.Upload(ctx); err != nil {
			return err
		}
		defer r.upload.Close()
	}
	c.readAhead(ctx, root)
	c.Expect(ctx, root)
	c.ask(ctx, root)
	stop := r.syncNowAndThen()
	as := []store.Node{root.Node}
	ok, _ := r.nodes(as, func(store.Node) *trail { return rootTrail(root.Name) })
	stop()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !ok:
		return ErrIncomplete
	}
	if r.upload != nil {
		if err := r.upload.Commit(ctx, as[0].Digest); err != nil {
			return err
		}
	}
	c.whole[root.Node] = as[0]
	return nil
}

// readAhead tells a remote source what will be read. If the destination is near, that is known before it is asked.
func (c *Copier) readAhead(ctx context.Context, root Root) {
	if c.o.DryRun || c.to.RemoteBlobs != nil {
		c.from.Expect(ctx, root.Node)
		return
	}
	Expect(ctx, c.from, []Root{root}, func(d store.Digest) bool {
		has, err := c.to.Blobs.Has(ctx, d)
		return has && err == nil
	})
}

// As returns what a root that was copied is in the destination: itself, unless the destination counts sizes by another
// rule.
func (c *Copier) As(root store.Node) store.Node {
	if as, ok := c.whole[root]; ok {
		return as
	}
	return root
}

// rootCopy is the copy of one closure.
type rootCopy struct {
	*Copier
	ctx    context.Context
	cancel context.CancelCauseFunc
	upload store.DirectoryWriter

	mu          sync.Mutex
	directories map[store.Digest]*directoryCopy
}

// directoryCopy is a directory that is being copied, or was.
type directoryCopy struct {
	done chan struct{}
	// Valid once done is closed:
	ok    bool
	isNew bool       // the destination lacked it, or something that it reaches
	size  uint64     // what a node has to record at least
	as    store.Node // the digest and, where it is counted again, the size in the destination
}

// syncNowAndThen syncs the destination from time to time until it is stopped.
func (r *rootCopy) syncNowAndThen() (stop func()) {
	if r.o.DryRun {
		return func() {}
	}
	quit := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		for {
			select {
			case <-time.After(syncInterval):
				if err := r.to.Sync(r.ctx); err != nil {
					r.cancel(err)
				}
			case <-quit:
				return
			}
		}
	})
	return func() {
		close(quit)
		working.Wait()
	}
}

// nodes copies what nodes refer to, and reports whether the destination has all of it, and whether it lacked any of it. It
// makes nodes what they are to be in the destination. Goroutines copy as long as slots are free; otherwise the caller
// copies one run after the other. So there are never more goroutines than slots.
func (r *rootCopy) nodes(nodes []store.Node, trailTo func(store.Node) *trail) (ok, isNew bool) {
	var working sync.WaitGroup
	var failed, lacked atomic.Bool
	for len(nodes) > 0 {
		run := nodes[:r.runLength(nodes)]
		nodes = nodes[len(run):]
		copyRun := func() {
			ok, isNew := r.run(run, trailTo)
			if !ok {
				failed.Store(true)
			}
			if isNew {
				lacked.Store(true)
			}
		}
		if !r.from.MayFork(&run[0]) {
			copyRun()
			continue
		}
		select {
		case r.slots <- struct{}{}:
			working.Go(func() {
				defer func() { <-r.slots }()
				copyRun()
			})
		default:
			copyRun()
		}
	}
	working.Wait()
	return !failed.Load() && r.ctx.Err() == nil, lacked.Load()
}

// runLength returns how many of nodes are copied one after the other: one, or files that take about a group. Goroutines that
// each want a file of the same group would wait for each other.
func (r *rootCopy) runLength(nodes []store.Node) (n int) {
	const mostFiles, mostBytes = 64, 2 << 20
	if r.groups == nil || r.to.RemoteBlobs != nil {
		return 1
	}
	for bytes := uint64(0); n < len(nodes) && n < mostFiles && bytes < mostBytes; n++ {
		if nodes[n].Kind == store.KindDirectory {
			return max(n, 1)
		}
		bytes += min(nodes[n].Size, mostBytes)
	}
	return n
}

// run copies what nodes refer to, one after the other, as nodes does.
func (r *rootCopy) run(nodes []store.Node, trailTo func(store.Node) *trail) (ok, isNew bool) {
	ok = true
	for i := range nodes {
		n := &nodes[i]
		copyNode := r.directory
		switch {
		case r.ctx.Err() != nil:
			return false, isNew
		case n.Kind == store.KindSymlink:
			continue
		case n.Kind == store.KindFile:
			copyNode = r.blob
		}
		whole, lacked := copyNode(n, trailTo(*n))
		ok, isNew = ok && whole, isNew || lacked
	}
	return ok, isNew
}

// directory copies the directory that n refers to, as nodes does, and makes n what it is to be in the destination.
func (r *rootCopy) directory(n *store.Node, at *trail) (ok, isNew bool) {
	if at.depth > store.MaxDepth {
		r.problem(at, store.ErrTooDeep)
		return false, false
	}
	dc := r.directoryOnce(n.Digest, at)
	if dc.ok && n.Size < dc.size {
		err := fmt.Errorf("has size %d, and is recorded with %d", dc.size, n.Size)
		r.problem(at, &store.CorruptError{Digest: n.Digest, Err: err})
		return false, dc.isNew
	}
	if dc.ok && r.o.SizeRule != nil {
		n.Digest, n.Size = dc.as.Digest, dc.as.Size
	}
	return dc.ok, dc.isNew
}

// directoryOnce copies a directory after all that it refers to. The first caller does, and the others wait.
func (r *rootCopy) directoryOnce(d store.Digest, at *trail) *directoryCopy {
	r.mu.Lock()
	dc, known := r.directories[d]
	if !known {
		dc = &directoryCopy{done: make(chan struct{})}
		r.directories[d] = dc
	}
	r.mu.Unlock()
	if known {
		<-dc.done // the first caller waits only for what is below the directory
		return dc
	}
	defer close(dc.done)
	dir, err := r.from.Directories.Get(r.ctx, d)
	if err != nil {
		r.problem(at, err)
		return dc
	}
	dc.size, _ = dir.Size(store.SizeDocumented) // valid ones have a size
	whole, isNew := r.nodes(dir, func(n store.Node) *trail { return at.child(n.Name) })
	dc.isNew = isNew
	if !whole {
		return dc
	}
	if err = r.put(dc, d, dir); err != nil {
		r.cancel(at.wrap(err))
		return dc
	}
	dc.ok = true
	return dc
}

// put adds the directory d to the upload, and counts it. dir is d as it is to be in the destination.
func (r *rootCopy) put(dc *directoryCopy, d store.Digest, dir store.Directory) error {
	dc.as.Digest = d
	if r.o.SizeRule != nil {
		message, err := store.EncodeDirectory(dir)
		if err == nil {
			dc.as.Size, err = dir.Size(*r.o.SizeRule)
		}
		if err != nil {
			return err
		}
		dc.as.Digest = store.Sum(message)
	}
	if added, err := r.seen.Add(store.KindDirectory, d); err != nil || added {
		if !dc.isNew || !r.to.Far {
			dc.isNew = r.lacks(dc.as.Digest)
		}
		r.o.Progress.Directories.Add(1)
		if dc.isNew {
			r.o.Progress.NewDirectories.Add(1)
		}
	}
	if r.upload == nil {
		return nil
	}
	got, err := r.upload.Put(r.ctx, dir)
	if err == nil && got != dc.as.Digest {
		err = &store.CorruptError{Digest: dc.as.Digest, Err: fmt.Errorf("destination calls it %s", got)}
	}
	return err
}

// lacks reports whether the destination lacks a directory that was not put in this copy. Most are found lacking by a set of
// what it had before, which does not look each time for what other processes have committed since.
func (r *rootCopy) lacks(d store.Digest) bool {
	if r.had != nil {
		if _, err := r.had.Add(store.KindDirectory, d); store.IsNotFound(err) {
			return true
		}
	}
	_, err := r.to.Directories.Get(r.ctx, d)
	return err != nil
}

// problem reports what the source lacks or has damaged, and what is too deep. Any other error ends the copy.
func (r *rootCopy) problem(at *trail, err error) {
	if !store.IsCorrupt(err) && !store.IsNotFound(err) && !errors.Is(err, store.ErrTooDeep) {
		r.cancel(at.wrap(err))
		return
	}
	r.Copier.mu.Lock()
	defer r.Copier.mu.Unlock()
	if r.o.Problem != nil && r.ctx.Err() == nil {
		r.o.Problem(at.String(), err)
	}
}

package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"castar/store"
)

// CopyOptions say how to copy. The zero CopyOptions are good.
type CopyOptions struct {
	DryRun   bool // count what is missing, and copy nothing
	Jobs     int  // how many blobs are copied at once; 0 is a good number
	Progress *CopyCounts
	Problem  func(path string, err error) // called for what cannot be copied, one call at a time; may be nil
}

// CopyCounts is how far a copy is: what it has met, and what of that was missing and was copied. Each blob and directory
// counts once.
type CopyCounts struct {
	Directories, Blobs, Bytes          atomic.Uint64
	NewDirectories, NewBlobs, NewBytes atomic.Uint64
}

// ErrIncomplete says that not all of a closure could be copied; what could not was reported as a problem.
var ErrIncomplete = errors.New("not everything could be copied")

// Copier copies closures from one store to another, one at a time. It remembers what it has seen, so that roots that have
// much in common are copied quickly one after the other.
type Copier struct {
	from, to *store.Store
	o        CopyOptions
	slots    chan struct{}
	seen     store.ObjectSet     // blobs that to has or that are being copied, and directories that were met
	whole    map[store.Node]bool // roots that were copied

	mu     sync.Mutex
	failed map[store.Digest]bool // blobs that could not be copied
	counts CopyCounts
}

// copyJobs is how many blobs are copied at once by default: more than processors, for stores on a network.
const copyJobs = 32

// NewCopier returns a Copier. The stores must have Blobs and Directories.
func NewCopier(from, to *store.Store, o CopyOptions) *Copier {
	c := &Copier{
		from: from, to: to, o: o, seen: NewSet(from),
		whole: make(map[store.Node]bool), failed: make(map[store.Digest]bool),
	}
	if c.o.Jobs <= 0 {
		c.o.Jobs = max(copyJobs, runtime.GOMAXPROCS(0))
	}
	if c.o.Progress == nil {
		c.o.Progress = &c.counts
	}
	c.slots = make(chan struct{}, c.o.Jobs)
	return c
}

// syncInterval is the time after which what was copied is made durable, so that a copy that is interrupted goes on from
// there when it is begun again.
const syncInterval = 30 * time.Second

// Copy copies all that root reaches and the destination lacks, blobs before the directories that refer to them, and
// directories before their parents; when it returns nil, all of it is there, and after a Sync durable. Everything is
// checked against its digest, and file sizes too. What is missing or damaged in the source is reported, the rest is
// copied, and the error is ErrIncomplete; any other error ended the copy. So is what is too deep (store.ErrTooDeep).
func (c *Copier) Copy(ctx context.Context, root Root) (err error) {
	if c.whole[root.Node] {
		return nil
	}
	defer func() { c.whole[root.Node] = err == nil }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &rootCopy{Copier: c, ctx: ctx, cancel: cancel, name: root.Name, directories: make(map[store.Digest]*directoryCopy)}
	if root.Node.Kind == store.KindDirectory && !c.o.DryRun {
		if r.upload, err = c.to.Directories.Upload(ctx); err != nil {
			return err
		}
		defer r.upload.Close()
	}
	stop := r.syncNowAndThen()
	ok := r.nodes([]store.Node{root.Node}, func(store.Node) *place { return rootPlace() })
	stop()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if r.upload != nil && ok {
		if err := r.upload.Commit(ctx, root.Node.Digest); err != nil {
			return err
		}
	}
	return incomplete(ok)
}

func incomplete(ok bool) error {
	if ok {
		return nil
	}
	return ErrIncomplete
}

// rootCopy is the copy of one closure.
type rootCopy struct {
	*Copier
	ctx    context.Context
	cancel context.CancelCauseFunc
	name   string // of the root
	upload store.DirectoryWriter

	mu          sync.Mutex
	directories map[store.Digest]*directoryCopy
}

// directoryCopy is a directory that is being copied, or was.
type directoryCopy struct {
	done chan struct{}
	ok   bool // valid once done is closed
}

// syncNowAndThen syncs the destination from time to time until it is stopped.
func (r *rootCopy) syncNowAndThen() (stop func()) {
	if r.o.DryRun {
		return func() {}
	}
	quit := make(chan struct{})
	var working sync.WaitGroup
	working.Go(func() {
		ticker := time.NewTicker(syncInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
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

// nodes copies what nodes refer to, and reports whether all of it is there. Blobs are copied by goroutines, as many as
// there are slots; so are directories as long as slots are free, and otherwise one after the other, so that there are
// never more goroutines than slots.
func (r *rootCopy) nodes(nodes []store.Node, place func(store.Node) *place) bool {
	var working sync.WaitGroup
	var failed atomic.Bool
	copyOne := func(n store.Node) {
		ok := false
		if at := place(n); n.Kind == store.KindFile {
			ok = r.blob(n, at)
		} else {
			ok = r.directory(n.Digest, at)
		}
		if !ok {
			failed.Store(true)
		}
	}
	for _, n := range nodes {
		if n.Kind == store.KindSymlink || r.ctx.Err() != nil {
			continue
		}
		select {
		case r.slots <- struct{}{}:
			working.Go(func() {
				defer func() { <-r.slots }()
				copyOne(n)
			})
		default:
			copyOne(n)
		}
	}
	working.Wait()
	return !failed.Load() && r.ctx.Err() == nil
}

// directory copies a directory after all that it refers to, once, whoever asks first.
func (r *rootCopy) directory(d store.Digest, at *place) bool {
	if at.depth > store.MaxDepth {
		r.problem(at, store.ErrTooDeep)
		return false
	}
	r.mu.Lock()
	dc, known := r.directories[d]
	if !known {
		dc = &directoryCopy{done: make(chan struct{})}
		r.directories[d] = dc
	}
	r.mu.Unlock()
	if known {
		<-dc.done // who copies it waits only for what is below it
		return dc.ok
	}
	defer close(dc.done)
	dir, err := r.from.Directories.Get(r.ctx, d)
	if err != nil {
		r.problem(at, err)
		return false
	}
	if !r.nodes(dir, func(n store.Node) *place { return at.child(n.Name) }) {
		return false
	}
	if err := r.put(d, dir); err != nil {
		r.cancel(fmt.Errorf("%s: %w", at.in(r.name), err))
		return false
	}
	dc.ok = true
	return true
}

// put adds a directory to the upload, and counts it.
func (r *rootCopy) put(d store.Digest, dir store.Directory) error {
	if added, err := r.seen.Add(store.KindDirectory, d); err != nil || added {
		r.o.Progress.Directories.Add(1)
		if _, err := r.to.Directories.Get(r.ctx, d); err != nil {
			r.o.Progress.NewDirectories.Add(1)
		}
	}
	if r.upload == nil {
		return nil
	}
	got, err := r.upload.Put(r.ctx, dir)
	if err == nil && got != d {
		err = &store.CorruptError{Digest: d, Err: fmt.Errorf("destination calls it %s", got)}
	}
	return err
}

// blob copies what a file node refers to, unless it is there.
func (r *rootCopy) blob(n store.Node, at *place) bool {
	if added, err := r.seen.Add(store.KindFile, n.Digest); err == nil && !added {
		r.Copier.mu.Lock()
		defer r.Copier.mu.Unlock()
		return !r.failed[n.Digest]
	}
	has, err := r.to.Blobs.Has(r.ctx, n.Digest)
	if err != nil {
		r.cancel(fmt.Errorf("%s: %w", at.in(r.name), err))
		return false
	}
	r.o.Progress.Blobs.Add(1)
	r.o.Progress.Bytes.Add(n.Size)
	if has {
		return true
	}
	if !r.o.DryRun {
		var from *sourceError
		if err := CopyBlob(r.ctx, r.from.Blobs, r.to.Blobs, n); errors.As(err, &from) {
			r.Copier.mu.Lock()
			r.failed[n.Digest] = true
			r.Copier.mu.Unlock()
			r.problem(at, from.error)
			return false
		} else if err != nil {
			r.cancel(fmt.Errorf("%s: %w", at.in(r.name), err))
			return false
		}
	}
	r.o.Progress.NewBlobs.Add(1)
	r.o.Progress.NewBytes.Add(n.Size)
	return true
}

// problem reports what the source does not have or has damaged, and what is too deep. Anything else that its stores say
// ends the copy.
func (r *rootCopy) problem(at *place, err error) {
	if _, ok := errors.AsType[*store.CorruptError](err); !ok && !store.IsNotFound(err) && !errors.Is(err, store.ErrTooDeep) {
		r.cancel(fmt.Errorf("%s: %w", at.in(r.name), err))
		return
	}
	r.Copier.mu.Lock()
	defer r.Copier.mu.Unlock()
	if r.o.Problem != nil && r.ctx.Err() == nil {
		r.o.Problem(at.in(r.name), err)
	}
}

// sourceError is an error of the store that is copied from.
type sourceError struct{ error }

func (e *sourceError) Unwrap() error { return e.error }

// CopyBlob copies the blob that a file node refers to. It is checked against its digest and the node's size before the
// destination has it.
func CopyBlob(ctx context.Context, from, to store.Blobs, n store.Node) error {
	const small = 1 << 20
	b, err := from.Open(ctx, n.Digest)
	if err != nil {
		return &sourceError{err}
	}
	defer b.Close()
	if b.Size() != n.Size {
		err := fmt.Errorf("has %d bytes, its directory says %d", b.Size(), n.Size)
		return &sourceError{&store.CorruptError{Digest: n.Digest, Err: err}}
	}
	var got store.Digest
	if n.Size <= small {
		buf := bytes.NewBuffer(make([]byte, 0, n.Size))
		if _, err := b.WriteTo(buf); err != nil {
			return &sourceError{err}
		}
		got, err = to.Put(ctx, buf.Bytes())
	} else {
		got, err = stream(ctx, b, to)
	}
	if err == nil && got != n.Digest {
		err = &store.CorruptError{Digest: n.Digest, Err: fmt.Errorf("destination calls it %s", got)}
	}
	return err
}

// stream copies a large blob.
func stream(ctx context.Context, b store.Blob, to store.Blobs) (d store.Digest, err error) {
	w, err := to.Create(ctx)
	if err != nil {
		return d, err
	}
	defer w.Close()
	t := &trackedWriter{w: w}
	if _, err := b.WriteTo(t); err != nil {
		if t.err != nil {
			return d, t.err
		}
		return d, &sourceError{err}
	}
	return w.Commit()
}

// trackedWriter remembers whether it was the destination that failed.
type trackedWriter struct {
	w   store.BlobWriter
	err error
}

func (t *trackedWriter) Write(p []byte) (int, error) {
	n, err := t.w.Write(p)
	t.err = err
	return n, err
}

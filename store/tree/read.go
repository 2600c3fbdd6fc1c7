package tree

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"castar/store"
)

const (
	readJobs = 16      // directories that a reader reads ahead at the same time: more than processors, for remote stores
	maxAhead = 1 << 10 // directories that it has begun and nobody has asked for
	manyRead = 64      // directories after which a reader expects to read most of them
	maxHeld  = 1 << 17 // entries of these that it holds, some 20 MB; a directory that is being read may exceed it
)

// reader reads directories for one goroutine. It reads those ahead that it is told will be asked for, several at a
// time, so that a walk in tree order does not wait for each answer of a remote store.
type reader struct {
	ctx     context.Context
	ds      store.Directories
	deepest int    // the last level that is read
	expect  func() // called when many directories were read; nil: nothing
	reads   int

	cancel context.CancelFunc
	slots  chan struct{}
	ahead  map[store.Digest]*aheadRead
	held   atomic.Int64
	work   sync.WaitGroup
}

// aheadRead is a directory that somebody will ask for. Whoever sets begun reads it.
type aheadRead struct {
	begun atomic.Bool
	done  chan struct{} // closed when dir and err are set
	dir   store.Directory
	err   error
}

// newReader returns a reader that must be closed.
func newReader(ctx context.Context, ds store.Directories, deepest int) *reader {
	r := &reader{ds: ds, deepest: deepest, slots: make(chan struct{}, readJobs), ahead: map[store.Digest]*aheadRead{}}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

func (r *reader) close() {
	r.cancel()
	r.work.Wait()
}

// begin says that get will be called for d, before long and below at.
func (r *reader) begin(at *trail, d store.Digest) {
	if r.ahead[d] != nil || len(r.ahead) >= maxAhead || r.held.Load() >= maxHeld || at.depth >= r.deepest {
		return
	}
	a := &aheadRead{done: make(chan struct{})}
	r.ahead[d] = a
	r.work.Go(func() {
		select {
		case r.slots <- struct{}{}:
		case <-r.ctx.Done():
			return
		}
		defer func() { <-r.slots }()
		if !a.begun.Swap(true) {
			a.dir, a.err = r.ds.Get(r.ctx, d)
			r.held.Add(int64(len(a.dir)))
			close(a.done)
		}
	})
}

// get returns the directory d, which is at the end of a trail. It reads none that is too deep.
func (r *reader) get(at *trail, d store.Digest) (dir store.Directory, err error) {
	switch err := r.ctx.Err(); {
	case r.ds == nil:
		return nil, fmt.Errorf("directories: %w", store.ErrUnsupported)
	case err != nil:
		return nil, err
	case at.depth > r.deepest:
		return nil, at.wrap(store.ErrTooDeep)
	}
	if r.expect != nil {
		if r.reads++; r.reads == manyRead {
			r.expect()
		}
	}
	if a := r.ahead[d]; a != nil && a.begun.Swap(true) {
		<-a.done
		r.held.Add(-int64(len(a.dir)))
		dir, err = a.dir, a.err
	} else {
		dir, err = r.ds.Get(r.ctx, d)
	}
	delete(r.ahead, d)
	switch {
	case store.IsNotFound(err):
		return nil, fmt.Errorf("%s: directory %s: %w", at, d, store.ErrNotFound)
	case err != nil:
		return nil, at.wrap(err)
	}
	return dir, nil
}

func getDirectory(ctx context.Context, ds store.Directories, at *trail, d store.Digest) (store.Directory, error) {
	return (&reader{ctx: ctx, ds: ds, deepest: store.MaxDepth}).get(at, d)
}

// OpenFile opens the contents of the file n. The caller must close them. If they have another size than n says, the
// error is a *store.CorruptError.
func OpenFile(ctx context.Context, st *store.Store, n store.Node) (store.Blob, error) {
	b, err := st.Blobs.Open(ctx, n.Digest)
	if err != nil {
		return nil, err
	}
	if b.Size() != n.Size {
		b.Close()
		return nil, wrongSize(n, b.Size())
	}
	return b, nil
}

func wrongSize(n store.Node, size uint64) error {
	return &store.CorruptError{Digest: n.Digest, Err: fmt.Errorf("%d bytes, but its directory says %d", size, n.Size)}
}

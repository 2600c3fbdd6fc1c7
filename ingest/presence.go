package ingest

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"castar/store"
)

const (
	// questionSize is how many blobs a remote store is asked about at once.
	questionSize = 4096
	// questionsAtOnce is how many such questions are on their way. Then the walk waits.
	questionsAtOnce = 4
	// maxAbsent is how many blobs that a store lacks are remembered, 50 MB of them.
	maxAbsent = 1 << 20
)

// presence finds out whether a remote store has the blobs that the cache knows, many in one question. A walk does not
// wait for the answers: it takes what the cache knows for stored. If that turns out to be wrong, the walk begins again,
// and reads the files whose blobs the store lacks. All methods may be called concurrently.
type presence struct {
	blobs store.RemoteBlobs

	mu     sync.Mutex
	absent map[store.Digest]struct{} // what the store lacks
	none   bool                      // it lacks more than is remembered, so believe nothing
	next   []store.Digest            // to be asked about
	asked  *errgroup.Group           // the questions of this walk
	ctx    context.Context           // of asked
	failed func(error)               // ends the walk
	lacks  bool                      // an answer to one of these was no
}

// newPresence returns what a walk begins with, or nil if the store is near.
func newPresence(st *store.Store, cache *Cache) *presence {
	if st.RemoteBlobs == nil || cache == nil {
		return nil
	}
	return &presence{blobs: st.RemoteBlobs, absent: map[store.Digest]struct{}{}}
}

// begin begins a walk, which ends with ctx. failed takes the error of a question.
func (p *presence) begin(ctx context.Context, failed func(error)) {
	p.failed = failed
	p.asked, p.ctx = errgroup.WithContext(ctx)
	p.asked.SetLimit(questionsAtOnce)
	p.next, p.lacks = nil, false
}

// believed reports whether to take the blob d for stored, and has the store asked about it.
func (p *presence) believed(d store.Digest) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, absent := p.absent[d]; absent || p.none {
		return false
	}
	if p.next = append(p.next, d); len(p.next) == questionSize {
		p.ask()
	}
	return true
}

// ask asks about what was collected. The caller holds p.mu.
func (p *presence) ask() {
	ds := p.next
	p.next = nil
	p.mu.Unlock() // Go waits while too many questions are on their way
	p.asked.Go(func() error {
		has, err := p.blobs.HasAll(p.ctx, ds)
		if err != nil {
			p.failed(err)
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		for i := range ds {
			if !has[i] {
				p.lack(ds[i])
			}
		}
		return nil
	})
	p.mu.Lock()
}

// lack notes that the store lacks a blob. The caller holds p.mu.
func (p *presence) lack(d store.Digest) {
	p.lacks = true
	if p.none = p.none || len(p.absent) >= maxAbsent; p.none {
		clear(p.absent)
		return
	}
	p.absent[d] = struct{}{}
}

// errAgain is the error for a walk that believed in a blob that the store lacks.
var errAgain = errors.New("the store lacks what the cache knows")

// confirm waits for all answers. The error is errAgain if the store lacks anything that was believed.
func (p *presence) confirm() error {
	p.mu.Lock()
	if len(p.next) > 0 {
		p.ask()
	}
	p.mu.Unlock()
	if err := p.asked.Wait(); err != nil || !p.lacks {
		return err
	}
	return errAgain
}

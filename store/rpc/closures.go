package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
)

// Some servers find a directory only if it is the root of an upload. The protocol allows that, and tvix and snix do it when
// they keep directories in an object store. Only a recursive Get of the root returns the directories below it.
//
// closures finds those. It remembers which directory refers to which. If the server does not find a directory, closures
// has it send the whole closure of one that refers to the directory, and keeps that.

const (
	maxKept       = 1 << 30 // bytes; if more are kept, they are dropped before the next closure is added
	maxKeptMemory = 8 << 20 // bytes of them in memory; the rest is in a file
	maxRoots      = 16      // how many closures are tried for a directory without a known parent
	retryAfter    = 10 * time.Second
)

// closures is what the client knows of the closures on a server. Its methods may be called concurrently.
type closures struct {
	fetch    func(ctx context.Context, root store.Digest, take func(store.Digest, []byte) error) error
	maxBytes int64
	parents  recentParents

	mu        sync.Mutex
	kept      keptDirectories
	loads     map[store.Digest]*load // by root; the closures of those that succeeded are kept
	running   int                    // loads that have not ended
	rootsOnly bool                   // the server has a directory that it does not find
	roots     []store.Digest         // of the last loads
}

// load is one attempt to keep a closure.
type load struct {
	done  chan struct{}
	err   error     // valid once done is closed
	ended time.Time // valid once done is closed
}

func newClosures(c *client) *closures {
	return &closures{fetch: directories{c}.fetch, loads: map[store.Digest]*load{}, maxBytes: maxKept}
}

// found remembers that dir refers to its directories, and that a recursive Get of parent returns them.
func (cs *closures) found(parent store.Digest, dir store.Directory) {
	for i := range dir {
		if dir[i].Kind == store.KindDirectory {
			cs.parents.add(dir[i].Digest, parent)
		}
	}
}

// get returns a kept directory, encoded.
func (cs *closures) get(d store.Digest) (message []byte, ok bool, err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.kept.get(d)
}

// look returns a directory that the server does not find, encoded. The error is store.ErrNotFound if no closure that may
// have it does.
func (cs *closures) look(ctx context.Context, d store.Digest) ([]byte, error) {
	for _, root := range cs.candidates(d) {
		message, err := cs.within(ctx, root, d)
		if !store.IsNotFound(err) {
			return message, err
		}
	}
	return nil, fmt.Errorf("%s: %w", d, store.ErrNotFound)
}

// candidates returns the roots of the closures that may have d.
func (cs *closures) candidates(d store.Digest) []store.Digest {
	if parent, ok := cs.parents.of(d); ok {
		return []store.Digest{parent}
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !cs.rootsOnly {
		return nil
	}
	return slices.Clone(cs.roots)
}

// within returns a directory of the closure of root, encoded.
func (cs *closures) within(ctx context.Context, root, d store.Digest) ([]byte, error) {
	for {
		l, err := cs.load(ctx, root)
		cs.mu.Lock()
		message, ok, perr := cs.kept.get(d)
		dropped := l != nil && cs.loads[root] != l
		cs.rootsOnly = cs.rootsOnly || ok
		cs.mu.Unlock()
		switch {
		case ok || perr != nil:
			return message, perr
		case dropped && err == nil: // another closure needed the room
			continue
		case err == nil || lacksSomething(err):
			return nil, fmt.Errorf("%s: %w", d, store.ErrNotFound)
		}
		return nil, cannotHave(d, root, err)
	}
}

// lacksSomething reports whether a closure ended early because the server does not have all of it.
func lacksSomething(err error) bool {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, errMissing) {
		return true
	}
	text := status.Convert(err).Message() // servers of tvix and snix call it an internal error
	return answered(err) && (strings.Contains(text, "not found") || strings.Contains(text, "missing"))
}

// cannotHave returns the error for d if err kept the closure of root from being read.
func cannotHave(d, root store.Digest, err error) error {
	told := fmt.Errorf("closure of directory %s: %w", root, fromStatus(tooLong(root, err), root))
	if answered(err) && status.Code(err) != codes.ResourceExhausted {
		return &store.CorruptError{Digest: d, Err: told}
	}
	return told
}

// load keeps the closure of root, as far as the server has it. One of several callers does the work. The error is that of
// the load, or of ctx.
func (cs *closures) load(ctx context.Context, root store.Digest) (*load, error) {
	for {
		cs.mu.Lock()
		l, known := cs.loads[root]
		if !known || l.stale() {
			known = false
			l = cs.begin(root)
		}
		cs.mu.Unlock()
		if !known {
			err := cs.fetch(ctx, root, cs.keep)
			cs.end(l, err)
			return l, err
		}
		select {
		case <-l.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if !l.stale() {
			return l, l.err
		}
	}
}

// keep keeps a directory.
func (cs *closures) keep(d store.Digest, message []byte) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.kept.put(d, message)
}

// begin begins a load. If too much is kept it drops that first, unless callers of other loads have yet to find in it what
// they want.
func (cs *closures) begin(root store.Digest) *load {
	if cs.kept.size > cs.maxBytes && cs.running == 0 {
		cs.kept.drop() // an error of closing does not matter
		clear(cs.loads)
	}
	l := &load{done: make(chan struct{})}
	cs.loads[root] = l
	cs.running++
	cs.roots = slices.DeleteFunc(cs.roots, func(r store.Digest) bool { return r == root })
	cs.roots = slices.Insert(cs.roots, 0, root)
	cs.roots = cs.roots[:min(len(cs.roots), maxRoots)]
	return l
}

func (cs *closures) end(l *load, err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.running--
	l.err, l.ended = err, time.Now()
	close(l.done)
}

// stale reports whether a load has failed and may be tried again: after a while, or at once if its caller gave up.
func (l *load) stale() bool {
	select {
	case <-l.done:
	default:
		return false
	}
	if l.err == nil {
		return false
	}
	gaveUp := errors.Is(l.err, context.Canceled) || errors.Is(l.err, context.DeadlineExceeded) ||
		slices.Contains([]codes.Code{codes.Canceled, codes.DeadlineExceeded}, status.Code(l.err))
	return gaveUp || time.Since(l.ended) > retryAfter
}

// close drops what is kept.
func (cs *closures) close() error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.kept.drop()
}

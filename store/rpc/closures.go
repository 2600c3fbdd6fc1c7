package rpc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"castar/store"
)

// Some servers find a directory only if it is the root of an upload: the protocol allows that, and so it is where tvix
// or snix keep directories in an object store. What is below such a root can be had with a recursive Get of the root, and
// in no other way.
//
// closures finds it. It remembers which directory on the server refers to which, and where the server says that it has
// no directory to which another refers, it has the server send all that is below that one.

const (
	maxPoolBytes  = 1 << 30 // where more is kept when a closure is to be added, all of it is dropped first
	maxPoolMemory = 8 << 20 // of this in memory; the rest is in a file
	maxRoots      = 16      // that are tried for a directory of which no parent is remembered
	retryAfter    = 10 * time.Second
)

// closures is what is known of the closures on a server. Its methods may be called concurrently.
type closures struct {
	fetch    func(ctx context.Context, root store.Digest, take func(store.Digest, []byte) error) error
	maxBytes int64
	parents  recentParents

	mu        sync.Mutex
	pool      pool
	loads     map[store.Digest]*load // by root; those that ended well are in the pool
	running   int                    // of the loads
	rootsOnly bool                   // the server has a directory that it does not find
	roots     []store.Digest         // of the last loads
}

// load is a closure that is being added to the pool, or was.
type load struct {
	done  chan struct{}
	err   error     // valid, as ended is, once done is closed
	ended time.Time // a load that failed may be tried again some time later
}

func newClosures(c *client) *closures {
	return &closures{fetch: directories{c}.fetch, loads: map[store.Digest]*load{}, maxBytes: maxPoolBytes}
}

// found remembers which directories dir refers to. A recursive Get of parent is how to get them.
func (cs *closures) found(parent store.Digest, dir store.Directory) {
	for i := range dir {
		if dir[i].Kind == store.KindDirectory {
			cs.parents.add(dir[i].Digest, parent)
		}
	}
}

// kept returns a directory of the pool, encoded.
func (cs *closures) kept(d store.Digest) (message []byte, ok bool, err error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.pool.get(d)
}

// look returns a directory that the server does not find, encoded. The error is store.ErrNotFound where no closure that
// may have it does.
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
		message, ok, perr := cs.pool.get(d)
		dropped := l != nil && cs.loads[root] != l
		cs.rootsOnly = cs.rootsOnly || ok
		cs.mu.Unlock()
		switch {
		case ok || perr != nil:
			return message, perr
		case dropped && err == nil: // the pool was full, and another closure was wanted
			continue
		case err == nil || lacksSomething(err):
			return nil, fmt.Errorf("%s: %w", d, store.ErrNotFound)
		}
		return nil, cannotHave(d, root, err)
	}
}

// lacksSomething reports whether a closure ended early since the server does not have all of it.
func lacksSomething(err error) bool {
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, errMissing) {
		return true
	}
	text := status.Convert(err).Message() // servers of tvix and snix call it an internal error
	return answered(err) && (strings.Contains(text, "not found") || strings.Contains(text, "missing"))
}

// answered reports whether err is what a server says, rather than that it says nothing.
func answered(err error) bool {
	s, ok := status.FromError(err)
	return ok && !slices.Contains(undecided(), s.Code())
}

// cannotHave returns the error for d where the closure of root cannot be read because of err.
func cannotHave(d, root store.Digest, err error) error {
	told := fmt.Errorf("closure of directory %s: %w", root, fromStatus(tooLong(root, err), root))
	if answered(err) && status.Code(err) != codes.ResourceExhausted {
		return &store.CorruptError{Digest: d, Err: told}
	}
	return told
}

// load adds the closure of root to the pool, as far as the server has it. Of several callers one does it. The error is
// that of the load, or of ctx.
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

// keep adds a directory to the pool.
func (cs *closures) keep(d store.Digest, message []byte) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.pool.put(d, message)
}

// begin begins a load. Where the pool is full it is emptied before, unless there are loads whose callers are yet to find
// in it what they want.
func (cs *closures) begin(root store.Digest) *load {
	if cs.pool.size > cs.maxBytes && cs.running == 0 {
		cs.pool.drop() // what cannot be closed is of no use either
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

// stale reports whether a load has failed and may be tried again: at once, where it was its caller who gave up.
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

// close ends the pool, with its file.
func (cs *closures) close() error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return cs.pool.drop()
}

// pool keeps encoded directories: the first in memory, the others in a file without a name. The zero pool is empty.
type pool struct {
	inMemory int // how many bytes at most; 0 is maxPoolMemory
	at       map[store.Digest]span
	memory   []byte
	file     *os.File
	size     int64 // of all directories
}

type span struct {
	start  int64 // what is not in memory begins there in the file, as if that had all
	length uint32
}

func (p *pool) get(d store.Digest) (message []byte, ok bool, err error) {
	s, ok := p.at[d]
	if !ok {
		return nil, false, nil
	}
	if end := s.start + int64(s.length); end <= int64(len(p.memory)) {
		return p.memory[s.start:end:end], true, nil
	}
	message = make([]byte, s.length)
	_, err = p.file.ReadAt(message, s.start-int64(len(p.memory)))
	return message, err == nil, err
}

func (p *pool) put(d store.Digest, message []byte) error {
	if _, ok := p.at[d]; ok {
		return nil
	}
	if p.at == nil {
		p.at = map[store.Digest]span{}
	}
	if p.file == nil && len(p.memory)+len(message) <= cmp.Or(p.inMemory, maxPoolMemory) {
		p.memory = append(p.memory, message...)
	} else if err := p.write(message); err != nil {
		return err
	}
	p.at[d] = span{p.size, uint32(len(message))}
	p.size += int64(len(message))
	return nil
}

// write adds what is not to be in memory.
func (p *pool) write(message []byte) (err error) {
	if p.file == nil {
		if p.file, err = nameless(); err != nil {
			return err
		}
	}
	_, err = p.file.WriteAt(message, p.size-int64(len(p.memory)))
	return err
}

// drop empties the pool.
func (p *pool) drop() (err error) {
	if p.file != nil {
		err = p.file.Close()
	}
	*p = pool{inMemory: p.inMemory}
	return err
}

// recentParents is for each of many directories one that refers to it. It forgets the older half when it is full.
type recentParents struct {
	mu       sync.Mutex
	new, old map[store.Digest]store.Digest
}

func (r *recentParents) of(d store.Digest) (parent store.Digest, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if parent, ok = r.new[d]; !ok {
		parent, ok = r.old[d]
	}
	return parent, ok
}

func (r *recentParents) add(d, parent store.Digest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.new == nil || len(r.new) >= recentSize {
		r.old, r.new = r.new, map[store.Digest]store.Digest{}
	}
	r.new[d] = parent
}

package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
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
	maxKept    = 1 << 30 // bytes; if more are kept, they are dropped before the next closure is added
	maxRoots   = 16      // how many closures are tried for a directory without a known parent
	retryAfter = 10 * time.Second
)

// closures is what the client knows of the closures on a server. Its methods may be called concurrently.
type closures struct {
	fetch    func(ctx context.Context, root store.Digest, take func(store.Digest, []byte) error) error
	maxBytes int64
	parents  recent[store.Digest]
	kept     *keptDirectories
	turn     chan struct{} // full while one caller asks for a closure; the next one may find in it what it wants

	// The next three belong to the caller that has its turn.
	ended     map[store.Digest]ended // by root; the closures that came whole are kept
	rootsOnly bool                   // the server has a directory that it does not find
	roots     []store.Digest         // the last that were asked for
}

// ended is how the last request for a closure ended.
type ended struct {
	err error
	at  time.Time
}

// found remembers that dir refers to its directories, and that a recursive Get of parent returns them.
func (cs *closures) found(parent store.Digest, dir store.Directory) {
	for i := range dir {
		if dir[i].Kind == store.KindDirectory {
			cs.parents.add(dir[i].Digest, parent)
		}
	}
}

// look returns a directory that the server does not find, encoded. The error is store.ErrNotFound if no closure that may
// have it does.
func (cs *closures) look(ctx context.Context, d store.Digest) ([]byte, error) {
	select {
	case cs.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-cs.turn }()
	for _, root := range cs.candidates(d) {
		if message, ok, err := cs.within(ctx, root, d); ok || err != nil {
			return message, err
		}
	}
	return nil, fmt.Errorf("%s: %w", d, store.ErrNotFound)
}

// candidates returns the roots of the closures that may have d.
func (cs *closures) candidates(d store.Digest) []store.Digest {
	if parent, ok := cs.parents.get(d); ok {
		return []store.Digest{parent}
	}
	if cs.rootsOnly {
		return slices.Clone(cs.roots)
	}
	return nil
}

// within returns a directory of the closure of root, encoded, if it is there.
func (cs *closures) within(ctx context.Context, root, d store.Digest) (message []byte, ok bool, err error) {
	message, ok, err = cs.kept.get(d)
	if last, asked := cs.ended[root]; !ok && err == nil {
		if !asked || last.err != nil && time.Since(last.at) > retryAfter {
			last.err = cs.load(ctx, root)
		}
		message, ok, err = cs.kept.get(d)
		if !ok && err == nil && last.err != nil && !lacksSomething(last.err) {
			err = cannotHave(d, root, last.err)
		}
	}
	cs.rootsOnly = cs.rootsOnly || ok
	return message, ok, err
}

// load keeps the closure of root, as far as the server has it. If too much is kept, it drops that first.
func (cs *closures) load(ctx context.Context, root store.Digest) error {
	if _, bytes := cs.kept.size(); bytes > cs.maxBytes {
		cs.kept.drop() // an error of closing does not matter
		clear(cs.ended)
	}
	cs.roots = slices.DeleteFunc(cs.roots, func(r store.Digest) bool { return r == root })
	cs.roots = slices.Insert(cs.roots, 0, root)
	cs.roots = cs.roots[:min(len(cs.roots), maxRoots)]
	err := cs.fetch(ctx, root, cs.kept.put)
	delete(cs.ended, root)
	if ctx.Err() == nil { // another caller may have more time
		cs.ended[root] = ended{err, time.Now()}
	}
	return err
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

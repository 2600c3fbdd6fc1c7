package rpc

import (
	"context"
	"sync"

	"castar/store"
)

const (
	// maxExpected is how many bytes of expected directories are kept, the first 8 MiB of them in memory.
	maxExpected = 256 << 20
	// manyExpected is how many expected directories are kept, or are known to come. Each takes some hundred bytes of memory.
	manyExpected = 1 << 20
)

// expected is the directories that callers will ask for. It has the server send closures, and keeps what comes. What it
// cannot keep, and what the server does not send, is asked for one by one. Its methods may be called concurrently.
type expected struct {
	ds    directories
	most  int // manyExpected
	mu    sync.Mutex
	kept  *keptDirectories
	loads map[*load]struct{}
}

// load is a closure that is being sent.
type load struct {
	root   store.Digest
	wanted map[store.Digest]chan struct{} // what will come, and who waits for it: nil if nobody does
}

// Expect implements store.RemoteDirectories.
func (ds directories) Expect(ctx context.Context, root store.Digest) {
	e := ds.c.expected
	l := &load{root, map[store.Digest]chan struct{}{root: nil}}
	if !e.add(l) {
		return
	}
	if !ds.c.outbox.run(func() { e.load(ctx, l) }) {
		e.end(l)
	}
}

// add adds a load unless its root has come or will come. If too much is kept, it drops that first.
func (e *expected) add(l *load) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n, bytes := e.kept.size(); len(e.loads) == 0 && (bytes >= maxExpected || n >= e.most) {
		e.kept.drop() // an error of closing does not matter
	}
	if e.kept.has(l.root) {
		return false
	}
	for other := range e.loads {
		if _, ok := other.wanted[l.root]; ok {
			return false
		}
	}
	e.loads[l] = struct{}{}
	return true
}

// load has a closure sent until ctx ends, the store is closed, or too much is kept.
func (e *expected) load(ctx context.Context, l *load) {
	defer e.end(l)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.ds.c.outbox.ctx, cancel)()
	_ = e.ds.closure(ctx, l.root, 0, func(named store.NamedDirectory, message []byte) error {
		return e.take(l, named, message)
	}) // whoever asks for what did not come meets the error again
}

// take keeps a directory that has come.
func (e *expected) take(l *load, named store.NamedDirectory, message []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n, bytes := e.kept.size(); bytes >= maxExpected || n+len(l.wanted) >= e.most {
		return errEnough
	}
	if err := e.kept.put(named.Digest, message); err != nil {
		return err
	}
	for i := range named.Directory {
		n := &named.Directory[i]
		if _, ok := l.wanted[n.Digest]; n.Kind == store.KindDirectory && !ok && !e.kept.has(n.Digest) {
			l.wanted[n.Digest] = nil
		}
	}
	l.arrived(named.Digest)
	return nil
}

// arrived lets those go on that wait for d. The caller holds expected.mu.
func (l *load) arrived(d store.Digest) {
	if waiting := l.wanted[d]; waiting != nil {
		close(waiting)
	}
	delete(l.wanted, d)
}

// end ends a load. Those that wait for what did not come go on, and ask for it.
func (e *expected) end(l *load) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.loads, l)
	for d := range l.wanted {
		l.arrived(d)
	}
}

// get returns an expected directory, encoded, and waits for one that is on its way.
func (e *expected) get(ctx context.Context, d store.Digest) (message []byte, ok bool, err error) {
	for {
		e.mu.Lock()
		message, ok, err = e.kept.get(d)
		waiting := e.coming(d)
		e.mu.Unlock()
		if ok || err != nil || waiting == nil {
			return message, ok && err == nil, nil // what cannot be read back is asked for again
		}
		select {
		case <-waiting:
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

// coming returns what is closed when d has come, or will not come, or nil if it is not on its way. The caller holds e.mu.
func (e *expected) coming(d store.Digest) chan struct{} {
	for l := range e.loads {
		if waiting, ok := l.wanted[d]; ok {
			if waiting == nil {
				waiting = make(chan struct{})
				l.wanted[d] = waiting
			}
			return waiting
		}
	}
	return nil
}
